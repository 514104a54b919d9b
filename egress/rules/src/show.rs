//! Text from outside, made safe to show in an error or a listing.

/// Longest text, in characters, that is repeated to the reader.
const SHOWN_CHARS: usize = 96;

/// `text` in quotation marks, with characters that move a cursor or change how their
/// neighbours are read escaped, and cut where it stops being helpful.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN_CHARS {
            out.push('…');
            break;
        }
        if hidden(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out.push('"');
    out
}

/// A parser's message on one line, without what could forge another.
pub(crate) fn one_line(message: &str) -> String {
    let visible = message.chars().take(2 * SHOWN_CHARS);
    let plain = |c: char| {
        if hidden(c) { ' ' } else { c }
    };
    visible.map(plain).collect()
}

/// What a reader does not see, or what changes how its neighbours are read.
pub(crate) fn hidden(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

/// Direction overrides and isolates, zero-width characters, the byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
