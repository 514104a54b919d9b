//! uv's words, on their way to whoever waits.

use std::io::{BufRead, BufReader, Read};

use crate::remote::clean::clean;
use crate::report::Messages;

/// Longest line; a longer one is shown in pieces.
const LINE: usize = 8 << 10;
/// Most that is shown, in bytes: code that is built can write for as long as it has time.
const SHOWN: usize = 64 << 20;
/// What is kept of the end.
const KEPT: usize = 64 << 10;

/// The last of what was said.
#[derive(Debug, Default)]
pub struct Tail(String);

impl Tail {
    fn keep(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
        if self.0.len() > KEPT {
            let mut from = self.0.len() - KEPT / 2;
            while !self.0.is_char_boundary(from) {
                from += 1;
            }
            self.0 = self.0.split_off(from);
        }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Reads to the end; each line goes to `show`, without what steers a terminal.
pub fn listen(from: impl Read, mut show: impl FnMut(&str)) -> std::io::Result<Tail> {
    let mut from = BufReader::new(from);
    let mut tail = Tail::default();
    let mut shown = 0;
    loop {
        let mut line = Vec::new();
        from.by_ref()
            .take(LINE as u64)
            .read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(tail);
        }
        let line = String::from_utf8_lossy(&line);
        let line = clean(line.trim_end_matches(['\n', '\r']));
        tail.keep(&line);
        shown += line.len();
        if shown <= SHOWN {
            show(&line);
        }
    }
}

/// Writes a line to standard error.
pub fn print(json: bool, line: &str) {
    use std::io::Write;
    if json {
        return Messages { json }.say("log", line);
    }
    if writeln!(std::io::stderr(), "{line}").is_err() {
        // Nobody listens; the build goes on.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_without_what_steers_a_terminal() {
        let mut lines = Vec::new();
        let said = b"one\n\x1b[2Jtwo\xff\r\nlast".as_slice();
        let tail = listen(said, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "\\u{1b}[2Jtwo\u{fffd}", "last"]);
        assert!(tail.text().ends_with("last\n"));
    }

    #[test]
    fn of_much_the_end_is_kept() {
        let said = "é".repeat(200_000) + "\nthe end";
        let tail = listen(said.as_bytes(), |_| ()).unwrap();
        assert!(tail.text().len() <= KEPT && tail.text().ends_with("the end\n"));
    }
}
