//! The outline of a document: which field stands where.
//!
//! serde reports a position or nothing; the outline turns it into the path of a
//! field.

use std::cmp::Reverse;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Fields deeper than this are not in the schema and not recorded.
const DEPTH: usize = 5;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A field: its place in the path and in the text.
///
/// Steps refer to their parent instead of repeating its path: the size of an
/// outline stays proportional to the text's.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    parent: Option<usize>,
    step: Step,
    /// How many steps lead here.
    depth: usize,
    /// From the start of the key to the end of the value, in bytes.
    pub(super) span: Range<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Outline {
    pub(super) entries: Vec<Entry>,
}

impl Outline {
    pub(super) fn of(table: &DeTable<'_>) -> Outline {
        let mut outline = Outline::default();
        outline.add_table(table, None, 1);
        outline
    }

    fn add_table(&mut self, table: &DeTable<'_>, parent: Option<usize>, depth: usize) {
        for (key, value) in table {
            let (key_span, value_span) = (key.span(), value.span());
            // A table's own span is its header, which may stand before the key
            // as it is spelt here: take whatever covers both.
            let span = key_span.start.min(value_span.start)..key_span.end.max(value_span.end);
            let step = Step::Key(key.get_ref().clone().into_owned());
            self.add(
                value.get_ref(),
                Entry {
                    parent,
                    step,
                    depth,
                    span,
                },
            );
        }
    }

    fn add(&mut self, value: &DeValue<'_>, entry: Entry) {
        let below = entry.depth + 1;
        if entry.depth > DEPTH {
            return;
        }
        let parent = Some(self.entries.len());
        self.entries.push(entry);
        match value {
            DeValue::Table(table) => self.add_table(table, parent, below),
            DeValue::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    let entry = Entry {
                        parent,
                        step: Step::Index(number),
                        depth: below,
                        span: item.span(),
                    };
                    self.add(item.get_ref(), entry);
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
            .max_by_key(|entry| (entry.depth, Reverse(entry.span.len())))
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

/// `quotas.memory`, `volume[0].target`.
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

/// Takes the field at `path` out, so that what else is wrong can be found.
///
/// A list is taken out whole: its other items would change their numbers.
pub(super) fn prune(table: &mut DeTable<'_>, path: &[&Step]) -> bool {
    let Some((Step::Key(key), rest)) = path.split_first().map(|(first, rest)| (*first, rest))
    else {
        return false;
    };
    match rest {
        [] | [Step::Index(_)] => table.remove(key.as_str()).is_some(),
        [Step::Index(number), rest @ ..] => {
            let list = table.get_mut(key.as_str()).map(|value| value.get_mut());
            let Some(DeValue::Array(items)) = list else {
                return false;
            };
            match items.get_mut(*number).map(|item| item.get_mut()) {
                Some(DeValue::Table(inner)) => prune(inner, rest),
                _ => table.remove(key.as_str()).is_some(),
            }
        }
        _ => match table.get_mut(key.as_str()).map(|value| value.get_mut()) {
            Some(DeValue::Table(inner)) => prune(inner, rest),
            _ => false,
        },
    }
}

/// Finds lines and columns, both from one, for offsets in any order.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Lines<'a> {
        let feeds = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines {
            text,
            starts: std::iter::once(0).chain(feeds).collect(),
        }
    }

    pub(super) fn at(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..offset.min(self.text.len()));
        (line, before.map_or(1, |before| before.chars().count() + 1))
    }
}
