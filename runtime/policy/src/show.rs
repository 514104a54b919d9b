//! Text from outside, made safe to show in an error or a listing.

/// Longest value or name, in characters, that is repeated to the reader.
const SHOWN_CHARS: usize = 96;
/// Longest message of a parser, in characters.
const MESSAGE_CHARS: usize = 240;

/// `text` with control characters escaped, so that it cannot move a terminal's
/// cursor or forge a line of a log, and cut where it stops being helpful.
pub(crate) fn shown(text: &str) -> String {
    shown_up_to(text, SHOWN_CHARS)
}

/// As [`shown`], for a message that may hold a value.
pub(crate) fn shown_message(text: &str) -> String {
    shown_up_to(text, MESSAGE_CHARS)
}

/// The whole of `text`, with the same characters escaped as in a policy's errors: it moves
/// no terminal's cursor and forges no line of a log.
#[must_use]
pub fn printable(text: &str) -> String {
    shown_up_to(text, usize::MAX)
}

fn shown_up_to(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == most {
            out.push('…');
            break;
        }
        if c.is_control() || is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// `text` as [`shown`], in quotation marks.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// The whole of `text` as a basic string of TOML, with the same characters
/// escaped.
pub(crate) fn toml_string(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            _ if c.is_control() || is_invisible(c) => {
                out.push_str(&format!("\\U{:08X}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Characters that change how their neighbours are read: direction overrides
/// and isolates, zero-width characters, the byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_unchanged() {
        assert_eq!(shown("/data/x y.csv"), "/data/x y.csv");
    }

    #[test]
    fn control_and_direction_characters_are_escaped() {
        assert_eq!(
            shown("a\nb\u{1b}[2J\u{202e}"),
            "a\\u{a}b\\u{1b}[2J\\u{202e}"
        );
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(shown(&"x".repeat(5000)).chars().count(), SHOWN_CHARS + 1);
    }
}
