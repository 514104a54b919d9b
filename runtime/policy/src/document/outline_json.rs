//! The outline of a JSON text: a scanner that needs no valid text, since it is
//! mostly asked about texts that are not.

use super::outline::{DEPTH, Entry, Outline, Step};

/// An object or array that has not ended.
struct Open {
    is_array: bool,
    /// Number of the next element of an array.
    next: usize,
    /// The field that this container is the value of.
    holder: Option<usize>,
    /// The key that has been read and whose value has not ended.
    pending: Option<usize>,
}

struct Scanner<'a> {
    text: &'a str,
    outline: Outline,
    open: Vec<Open>,
    /// Containers open beyond [`DEPTH`]: counted, not recorded.
    deeper: usize,
}

/// Scans as much of `text` as there is.
pub(super) fn scan(text: &str) -> Outline {
    let mut scanner = Scanner {
        text,
        outline: Outline::default(),
        open: Vec::new(),
        deeper: 0,
    };
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => scanner.string(at),
            b'{' | b'[' => scanner.begin(at, *byte == b'['),
            b'}' | b']' => scanner.end(at + 1),
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' => at + 1,
            _ => scanner.word(at),
        };
    }
    scanner.outline
}

impl Scanner<'_> {
    /// A key, or a value, that starts at the quotation mark `start`.
    fn string(&mut self, start: usize) -> usize {
        let end = string_end(self.text.as_bytes(), start);
        let in_object = self.open.last().is_some_and(|open| !open.is_array);
        let keyed = self.open.last().is_some_and(|open| open.pending.is_some());
        if in_object && !keyed && self.deeper == 0 {
            self.key(start, end);
        } else {
            self.value(start, end);
        }
        end
    }

    fn key(&mut self, start: usize, end: usize) {
        let token = self.text.get(start..end).unwrap_or_default();
        let key = serde_json::from_str(token).unwrap_or_else(|_| token.to_owned());
        // Until the value is seen to end, the field lasts to the end of the text.
        let span = start..self.text.len();
        let Some(open) = self.open.last_mut() else {
            return;
        };
        open.pending = Some(self.outline.entries.len());
        let (parent, step) = (open.holder, Step::Key(key));
        self.outline.entries.push(Entry { parent, step, span });
    }

    /// A value without parts, from `start` to `end`.
    fn value(&mut self, start: usize, end: usize) {
        if self.deeper > 0 {
            return;
        }
        self.element(start);
        self.finish(end);
    }

    /// Anything else: a number, a keyword or a fault.
    fn word(&mut self, start: usize) -> usize {
        let rest = self.text.as_bytes().iter().skip(start);
        let len = rest
            .take_while(|byte| !b"\"{}[],: \t\r\n".contains(byte))
            .count();
        let end = start + len.max(1);
        self.value(start, end);
        end
    }

    fn begin(&mut self, start: usize, is_array: bool) -> usize {
        if self.deeper > 0 || self.open.len() == DEPTH {
            self.deeper += 1;
            return start + 1;
        }
        self.element(start);
        let holder = self.open.last().and_then(|open| open.pending);
        self.open.push(Open {
            is_array,
            next: 0,
            holder,
            pending: None,
        });
        start + 1
    }

    fn end(&mut self, end: usize) -> usize {
        if self.deeper > 0 {
            self.deeper -= 1;
        } else {
            self.open.pop();
            self.finish(end);
        }
        end
    }

    /// Inside an array, a value at `start` is a field of its own.
    fn element(&mut self, start: usize) {
        let index = self.outline.entries.len();
        let Some(open) = self.open.last_mut().filter(|open| open.is_array) else {
            return;
        };
        let (parent, step) = (open.holder, Step::Index(open.next));
        open.next += 1;
        open.pending = Some(index);
        let span = start..self.text.len();
        self.outline.entries.push(Entry { parent, step, span });
    }

    /// The pending field's value ended at `end`.
    fn finish(&mut self, end: usize) {
        let pending = self.open.last_mut().and_then(|open| open.pending.take());
        if let Some(entry) = pending.and_then(|index| self.outline.entries.get_mut(index)) {
            entry.span.end = end.max(entry.span.start);
        }
    }
}

/// The offset after the closing quotation mark, or the end of the text.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::super::outline::render;
    use super::*;

    fn at(text: &str, needle: &str) -> String {
        let outline = scan(text);
        let entry = outline.innermost(text.find(needle).unwrap());
        entry.map_or(String::new(), |entry| render(&outline.path(entry)))
    }

    #[test]
    fn fields_are_found_by_position() {
        let text = r#"{"a": 1, "b": {"c": "}{", "d\u0065": [10, {"x": true}]}, "z": null}"#;
        assert_eq!(at(text, "1,"), "a");
        assert_eq!(at(text, "}{"), "b.c");
        assert_eq!(at(text, "10"), "b.de[0]");
        assert_eq!(at(text, "true"), "b.de[1].x");
        assert_eq!(at(text, "null"), "z");
    }

    #[test]
    fn an_unfinished_text_has_an_outline() {
        assert_eq!(at(r#"{"limits": {"memory": "5"#, "5"), "limits.memory");
        assert_eq!(at("}]{", "{"), "");
    }

    #[test]
    fn depth_is_bounded() {
        let text = "[".repeat(1 << 20);
        assert!(scan(&text).entries.len() <= DEPTH);
    }
}
