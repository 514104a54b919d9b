//! Text from outside, made safe to show in an error or a log.

/// Longest text, in characters, that is repeated to the reader.
const SHOWN_CHARS: usize = 96;

/// `text` in quotation marks, with everything that could move a cursor or forge
/// a line of a log escaped, and cut where it stops being helpful.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    out.extend(cut.escape_debug());
    if cut.len() < text.len() {
        out.push('…');
    }
    out.push('"');
    out
}

/// `a, b and c`-like lists stay short: the first eight, then how many more.
pub(crate) fn listed<T: std::fmt::Display>(items: &[T]) -> String {
    const MOST: usize = 8;
    let mut out = items
        .iter()
        .take(MOST)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if items.len() > MOST {
        out.push_str(&format!(" and {} more", items.len() - MOST));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_long_text_is_cut() {
        assert_eq!(quoted("a\u{1b}[2J\n"), r#""a\u{1b}[2J\n""#);
        assert_eq!(quoted(&"x".repeat(200)).chars().count(), SHOWN_CHARS + 3);
    }
}
