//! What a worker tells in words: bounded, and without characters that act on a terminal.

use serde_json::{Map, Value};

use crate::UdfError;
use crate::error::{Crash, Raised};
use crate::wire::JSON_LIMIT;

/// At most `limit` characters, without those that control.
pub(crate) fn text(value: &str, limit: usize) -> String {
    let clean = |it: char| match it {
        '\t' | '\n' => it,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        it if it.is_control() => char::REPLACEMENT_CHARACTER,
        it => it,
    };
    value.chars().take(limit).map(clean).collect()
}

/// The JSON object that a frame has.
pub(crate) fn document(content: &[u8]) -> Result<Map<String, Value>, UdfError> {
    if content.len() > JSON_LIMIT {
        let size = content.len();
        let text = format!("{size} bytes of JSON; {JSON_LIMIT} are allowed");
        return Err(UdfError::Protocol(text));
    }
    match serde_json::from_slice(content) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(UdfError::Protocol("JSON that is no object".to_owned())),
        Err(_) => Err(UdfError::Protocol("text that is no JSON".to_owned())),
    }
}

fn word(object: &Map<String, Value>, name: &str, limit: usize) -> String {
    let value = object.get(name).and_then(Value::as_str);
    value.map(|value| text(value, limit)).unwrap_or_default()
}

/// The numbers of a list; what else is in it is passed over.
pub(crate) fn numbers(object: &Map<String, Value>, name: &str) -> impl Iterator<Item = usize> {
    let values = object.get(name).and_then(Value::as_array);
    let numbers = values.into_iter().flatten().filter_map(Value::as_u64);
    numbers.filter_map(|number| usize::try_from(number).ok())
}

/// The error that an ERROR frame tells of.
pub(crate) fn failure(content: &[u8]) -> UdfError {
    let told = match document(content) {
        Ok(told) => told,
        Err(error) => return error,
    };
    let message = word(&told, "message", 4096);
    if told.get("refused") == Some(&Value::Bool(true)) {
        let by_worker = true;
        return UdfError::Refused { message, by_worker };
    }
    let kind = match word(&told, "type", 256) {
        kind if kind.is_empty() => "an exception".to_owned(),
        kind => kind,
    };
    UdfError::Raised(Box::new(Raised {
        kind,
        message,
        traceback: word(&told, "traceback", 16_384),
        row: told.get("row").and_then(Value::as_u64),
        output: String::new(),
    }))
}

/// The error that a CRASHED frame tells of.
pub(crate) fn crash(content: &[u8]) -> Result<Crash, UdfError> {
    let told = document(content)?;
    let signal = word(&told, "signal", 32);
    Ok(Crash {
        what: format!("the function crashed with {signal}"),
        signal,
        library: word(&told, "library", 4096),
        stack: word(&told, "stack", 4096),
        remedy: String::new(),
        output: String::new(),
    })
}

/// How faulthandler begins.
const FATAL: &str = "Fatal Python error: ";

/// The Python frames of a crash, outermost first, from what the process has printed of it:
/// the words of a process that may print what it likes, for people to read.
pub(crate) fn fatal_stack(printed: &str) -> String {
    let Some((_, words)) = printed.rsplit_once(FATAL) else {
        return String::new();
    };
    let mut blocks = words.split("\n\n");
    let frames = blocks.nth(1).unwrap_or_default().lines();
    let users = frames.filter(|line| line.starts_with("  File \"") && !ours(line));
    let mut users: Vec<String> = users.map(|line| format!("{line}\n")).take(32).collect();
    users.reverse();
    text(&users.concat(), 4096)
}

/// Whether a line names a frame of the worker's program, or of what it was forked from.
fn ours(line: &str) -> bool {
    line.contains("\"<string>\"") || line.contains("\"<lakekeep>\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_replaced() {
        let bell = text("a\u{7}\u{1b}[31m\u{202e}\tb\nc\u{9b}", 100);
        assert_eq!(bell, "a\u{fffd}\u{fffd}[31m\u{fffd}\tb\nc\u{fffd}");
        assert_eq!(text("ééé", 2), "éé");
    }

    #[test]
    fn a_failure_is_told_as_far_as_it_is_one() {
        let UdfError::Raised(raised) =
            failure(br#"{"type": 7, "message": "no", "row": -1, "traceback": "x"}"#)
        else {
            panic!("another error");
        };
        assert_eq!((raised.kind.as_str(), raised.row), ("an exception", None));
        assert_eq!(raised.to_string(), "an exception: no\nx");
        for text in [&b"[]"[..], b"", b"{", &[b' '; JSON_LIMIT + 1]] {
            assert!(matches!(failure(text), UdfError::Protocol(_)));
        }
    }

    #[test]
    fn the_frames_of_a_crash_come_outermost_first() {
        let printed = "before\nFatal Python error: Segmentation fault\n\n\
            Current thread 0x1 (most recent call first):\n  File \"a.py\", line 2 in inner\n  \
            File \"a.py\", line 9 in outer\n  File \"<string>\", line 1 in main\n  File \"<lakekeep>\", line 5 in main\n\nmore";
        let stack = fatal_stack(printed);
        assert_eq!(
            stack,
            "  File \"a.py\", line 9 in outer\n  File \"a.py\", line 2 in inner\n"
        );
    }
}
