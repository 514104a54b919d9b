//! Text from outside, made safe to show in an error or a listing.

/// Longest value or name, in characters, that is repeated to the reader.
const SHOWN_CHARS: usize = 96;
/// Longest message of a parser, in characters.
const MESSAGE_CHARS: usize = 240;
/// A name longer than this is not compared with the known ones.
const LONGEST_COMPARED: usize = 64;

/// `text` with control characters escaped, so that it cannot move a terminal's
/// cursor or forge a line of a log, and cut where it stops being helpful.
pub(crate) fn shown(text: &str) -> String {
    shown_up_to(text, SHOWN_CHARS)
}

/// As [`shown`], for a message that may hold a value.
pub(crate) fn shown_message(text: &str) -> String {
    shown_up_to(text, MESSAGE_CHARS)
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

/// Characters that change how their neighbours are read: direction overrides
/// and isolates, zero-width characters, the byte order mark.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `did you mean "memory"?`, or the whole list if nothing is close.
pub(crate) fn suggestion(given: &str, known: &[&str]) -> String {
    match closest(given, known) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!("expected one of: {}", known.join(", ")),
    }
}

/// The known name that is at most a third of its own length away.
fn closest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    if given.len() > LONGEST_COMPARED {
        return None;
    }
    let given = given.to_lowercase();
    known
        .iter()
        .map(|name| (strsim::levenshtein(&given, name), *name))
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_escaped() {
        assert_eq!(
            shown("a\nb\u{1b}[2J\u{202e}"),
            "a\\u{a}b\\u{1b}[2J\\u{202e}"
        );
        assert_eq!(shown(&"x".repeat(5000)).chars().count(), SHOWN_CHARS + 1);
    }

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_lists_all() {
        let known = ["swap", "memory"];
        assert_eq!(suggestion("MEMRY", &known), "did you mean \"memory\"?");
        assert_eq!(suggestion("zzz", &known), "expected one of: swap, memory");
    }
}
