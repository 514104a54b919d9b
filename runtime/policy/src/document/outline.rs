//! The outline of a document: which field stands where.
//!
//! serde reports a position or nothing; the outline turns it into the path of a
//! field, in the same way for TOML and JSON.

use std::cmp::Reverse;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Fields deeper than this are not in the schema and not recorded.
pub(super) const DEPTH: usize = 4;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Step::Key(key) => Some(key),
            Step::Index(_) => None,
        }
    }
}

/// A field: its place in the path and in the text.
///
/// Steps refer to their parent instead of repeating its path: the size of an
/// outline stays proportional to the text's.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) parent: Option<usize>,
    pub(super) step: Step,
    /// From the start of the key to the end of the value, in bytes.
    pub(super) span: Range<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Outline {
    pub(super) entries: Vec<Entry>,
}

impl Outline {
    pub(super) fn of_toml(table: &DeTable<'_>) -> Outline {
        let mut outline = Outline::default();
        outline.add_table(table, None, DEPTH);
        outline
    }

    fn add_table(&mut self, table: &DeTable<'_>, parent: Option<usize>, depth: usize) {
        for (key, value) in table {
            let (key_span, value_span) = (key.span(), value.span());
            // A table's own span is its header, which may stand before the key
            // as it is spelt here: take whatever covers both.
            let span = key_span.start.min(value_span.start)..key_span.end.max(value_span.end);
            let step = Step::Key(key.get_ref().clone().into_owned());
            self.add_value(value.get_ref(), Entry { parent, step, span }, depth);
        }
    }

    fn add_value(&mut self, value: &DeValue<'_>, entry: Entry, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        let index = self.entries.len();
        self.entries.push(entry);
        match value {
            DeValue::Table(table) => self.add_table(table, Some(index), depth),
            DeValue::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    let step = Step::Index(number);
                    let (parent, span) = (Some(index), item.span());
                    self.add_value(item.get_ref(), Entry { parent, step, span }, depth);
                }
            }
            _ => {}
        }
    }

    /// The innermost field whose text holds `offset`; of two that meet there,
    /// the shorter.
    pub(super) fn innermost(&self, offset: usize) -> Option<&Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.span.start <= offset && offset <= entry.span.end)
            .max_by_key(|entry| (self.path(entry).len(), Reverse(entry.span.len())))
    }

    /// The steps from the top to `entry`.
    pub(super) fn path<'a>(&'a self, entry: &'a Entry) -> Vec<&'a Step> {
        let mut steps = vec![&entry.step];
        let mut parent = entry.parent;
        while let Some(above) = parent.and_then(|index| self.entries.get(index)) {
            steps.push(&above.step);
            parent = above.parent;
        }
        steps.reverse();
        steps
    }
}

/// `limits.memory`, `mounts[0].target`.
pub(super) fn render(path: &[&Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(number) => text.push_str(&format!("[{number}]")),
        }
    }
    text
}

/// The number of the line that holds `offset`, counted from one.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, needle: &str) -> String {
        let table = DeTable::parse(text).unwrap();
        let outline = Outline::of_toml(table.get_ref());
        let entry = outline.innermost(text.find(needle).unwrap());
        entry.map_or(String::new(), |entry| render(&outline.path(entry)))
    }

    #[test]
    fn fields_are_found_by_position() {
        let text = "a.b = 1\n[t]\nx = [10, {y = true}]\n[[m]]\n[[m]]\nz = 3\n";
        assert_eq!(at(text, "1\n"), "a.b");
        assert_eq!(at(text, "10"), "t.x[0]");
        assert_eq!(at(text, "true"), "t.x[1].y");
        assert_eq!(at(text, "3"), "m[1].z");
    }

    #[test]
    fn lines_are_counted_from_one() {
        assert_eq!(line_at("a\nb\n", 0), 1);
        assert_eq!(line_at("a\nb\n", 2), 2);
        assert_eq!(line_at("a\nb\n", 99), 3);
    }
}
