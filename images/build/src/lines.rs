//! Lines of a requirements file: joined where a backslash ends them, without comments.

/// What is on one or several lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The first of them, counted from one.
    pub(crate) number: usize,
    /// Not empty, without spaces around it.
    pub(crate) text: String,
}

/// A comment begins at a `#` that is first in its line or after a space (pip's rule).
fn without_comment(line: &str) -> &str {
    let begins = line.char_indices().find(|(at, character)| {
        let before = line.get(..*at).unwrap_or_default();
        *character == '#' && (before.is_empty() || before.ends_with([' ', '\t']))
    });
    begins.map_or(line, |(at, _)| line.get(..at).unwrap_or_default())
}

pub(crate) fn lines(text: &str) -> Vec<Line> {
    let mut out = Vec::new();
    let mut open: Option<Line> = None;
    for (at, line) in text.lines().enumerate() {
        let line = without_comment(line).trim();
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part.trim_end(), true),
            None => (line, false),
        };
        let joined = match open.take() {
            Some(Line { number, text }) => Line {
                number,
                text: format!("{text} {part}"),
            },
            None => Line {
                number: at + 1,
                text: part.to_owned(),
            },
        };
        match goes_on {
            true => open = Some(joined),
            false => out.push(joined),
        }
    }
    out.extend(open);
    for line in &mut out {
        line.text = line.text.trim().to_owned();
    }
    out.retain(|line| !line.text.is_empty());
    out
}

/// The name that a requirement begins with (PEP 508), and what follows it.
pub(crate) fn name(text: &str) -> Option<(&str, &str)> {
    let inner = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let end = text.find(|character| !inner(character));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let outer = |character: char| character.is_ascii_alphanumeric();
    (name.starts_with(outer) && name.ends_with(outer)).then_some((name, rest))
}

/// `[a,b]` and what follows it; nothing where there is no bracket.
pub(crate) fn extras(text: &str) -> Option<&str> {
    let Some(rest) = text.strip_prefix('[') else {
        return Some(text);
    };
    let (inner, rest) = rest.split_once(']')?;
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || "._-, ".contains(character);
    inner.chars().all(allowed).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_and_comments_dropped() {
        let text = "# all\na==1 \\\n    --hash=x \\\n  --hash=y\n\nb#c  # d\n e\\\n";
        let found: Vec<(usize, String)> = lines(text)
            .into_iter()
            .map(|line| (line.number, line.text))
            .collect();
        let expected = [(2, "a==1 --hash=x --hash=y"), (6, "b#c"), (7, "e")];
        assert_eq!(found, expected.map(|(at, text)| (at, text.to_owned())));
    }

    #[test]
    fn names_end_where_pep_508_says() {
        assert_eq!(name("a-b.c[x]>=1"), Some(("a-b.c", "[x]>=1")));
        assert_eq!(extras("[x, y] >=1"), Some(" >=1"));
        for none in ["", "./a", "-e .", "/x", "a-"] {
            assert_eq!(name(none), None, "{none}");
        }
        assert_eq!(extras("[x"), None);
    }
}
