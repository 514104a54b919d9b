//! Patterns of names, and the texts made from what they captured.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// Longest pattern and longest template, in bytes.
pub(crate) const MAX_PATTERN: usize = 1024;
/// Largest compiled pattern, in bytes: a bound on `(a{1000}){1000}`.
const MAX_COMPILED: usize = 1 << 20;

/// A pattern of whole names.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Exact,
    /// Anchored at both ends.
    Matches(Regex),
}

/// What a pattern captured: the whole name first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Captures(Vec<Option<String>>);

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("empty")]
    Empty,
    #[error("longer than {MAX_PATTERN} bytes")]
    Long,
    #[error("not a regular expression: {0}")]
    Regex(String),
}

impl Pattern {
    /// A name, or a glob if it holds `*` (any text, also none) or `?` (one
    /// character); each captures what it stood for. No name holds these itself.
    pub(crate) fn glob(text: &str) -> Result<Pattern, PatternError> {
        check_length(text)?;
        if !text.contains(['*', '?']) {
            return Ok(Pattern {
                text: text.to_owned(),
                kind: Kind::Exact,
            });
        }
        let mut regex = String::new();
        for c in text.chars() {
            match c {
                '*' => regex.push_str("(.*)"),
                '?' => regex.push_str("(.)"),
                _ => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            }
        }
        Pattern::compiled(text, &regex)
    }

    /// A regular expression that must match the whole name.
    pub(crate) fn regex(text: &str) -> Result<Pattern, PatternError> {
        check_length(text)?;
        // By itself first: "a)|(b" would leave the group that anchors it.
        build(text)?;
        Pattern::compiled(text, text)
    }

    fn compiled(text: &str, regex: &str) -> Result<Pattern, PatternError> {
        let kind = Kind::Matches(build(&format!(r"\A(?:{regex})\z"))?);
        Ok(Pattern {
            text: text.to_owned(),
            kind,
        })
    }

    /// What was captured, if the pattern matches the whole of `name`.
    pub(crate) fn captures(&self, name: &str) -> Option<Captures> {
        let Kind::Matches(regex) = &self.kind else {
            return (self.text == name).then(|| Captures(vec![Some(name.to_owned())]));
        };
        let found = regex.captures(name)?;
        // The anchors say so already; what follows rests on it.
        if found.get_match().as_str() != name {
            return None;
        }
        let texts = found
            .iter()
            .map(|group| group.map(|m| m.as_str().to_owned()));
        Some(Captures(texts.collect()))
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.captures(name).is_some()
    }

    /// Whether every name matches.
    pub(crate) fn is_everything(&self) -> bool {
        matches!(self.text.as_str(), "*" | "**" | ".*" | ".+")
    }

    /// The index of a group that is named or numbered in a template.
    fn group(&self, name: &str) -> Option<usize> {
        let regex = match &self.kind {
            Kind::Exact => return (name == "0").then_some(0),
            Kind::Matches(regex) => regex,
        };
        match name.parse::<usize>() {
            Ok(index) => (index < regex.captures_len()).then_some(index),
            Err(_) => regex.capture_names().position(|group| group == Some(name)),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::show::quoted(&self.text))
    }
}

fn check_length(text: &str) -> Result<(), PatternError> {
    match text.len() {
        0 => Err(PatternError::Empty),
        length if length > MAX_PATTERN => Err(PatternError::Long),
        _ => Ok(()),
    }
}

fn build(text: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(text)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| {
            // The last line says what is wrong; those before it draw the pattern.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            PatternError::Regex(last.trim_start_matches("error: ").to_owned())
        })
}

/// A text with places for what was captured: `$1`, `${1}`, `${name}`; `$$` is a
/// dollar sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Group(usize),
    Value(usize),
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("empty")]
    Empty,
    #[error("longer than {MAX_PATTERN} bytes")]
    Long,
    #[error("a dollar sign without a number or a name in braces; write $$ for the sign itself")]
    Dollar,
    #[error("{} is neither captured by the rule's user pattern nor known here", crate::show::quoted(.0))]
    Unknown(String),
}

impl Template {
    /// Reads a template whose places are groups of `pattern` and `values` by name.
    pub(crate) fn parse(
        text: &str,
        pattern: &Pattern,
        values: &[&str],
    ) -> Result<Template, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        if text.len() > MAX_PATTERN {
            return Err(TemplateError::Long);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            push_literal(&mut parts, before);
            rest = match place(after)? {
                Place::Sign(after) => {
                    push_literal(&mut parts, "$");
                    after
                }
                Place::Name(name, after) => {
                    parts.push(find(name, pattern, values)?);
                    after
                }
            };
        }
        push_literal(&mut parts, rest);
        Ok(Template {
            text: text.to_owned(),
            parts,
        })
    }

    /// The text with its places filled; `None` if a group took no part in the
    /// match.
    pub(crate) fn fill(&self, captures: &Captures, values: &[&str]) -> Option<String> {
        let mut out = String::new();
        for part in &self.parts {
            out.push_str(match part {
                Part::Literal(text) => text,
                Part::Group(index) => captures.0.get(*index)?.as_ref()?,
                Part::Value(index) => values.get(*index)?,
            });
        }
        Some(out)
    }

    /// The template as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is one place and nothing else.
    pub(crate) fn is_one_place(&self) -> bool {
        matches!(self.parts.as_slice(), [Part::Group(_) | Part::Value(_)])
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Literal(text.to_owned()));
    }
}

enum Place<'a> {
    Sign(&'a str),
    Name(&'a str, &'a str),
}

/// What follows a dollar sign.
fn place(after: &str) -> Result<Place<'_>, TemplateError> {
    if let Some(rest) = after.strip_prefix('$') {
        return Ok(Place::Sign(rest));
    }
    if let Some(rest) = after.strip_prefix('{') {
        let (name, rest) = rest.split_once('}').ok_or(TemplateError::Dollar)?;
        return Ok(Place::Name(name, rest));
    }
    let end = after
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(after.len());
    if end == 0 {
        return Err(TemplateError::Dollar);
    }
    let (name, rest) = after.split_at(end);
    Ok(Place::Name(name, rest))
}

fn find(name: &str, pattern: &Pattern, values: &[&str]) -> Result<Part, TemplateError> {
    // A value's name is fixed; a group of the same name would hide it.
    if let Some(index) = values.iter().position(|value| *value == name) {
        return Ok(Part::Value(index));
    }
    pattern
        .group(name)
        .map(Part::Group)
        .ok_or_else(|| TemplateError::Unknown(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(pattern: &Pattern, template: &str, name: &str) -> Option<String> {
        let template = Template::parse(template, pattern, &["user"]).unwrap();
        template.fill(&pattern.captures(name)?, &["U"])
    }

    #[test]
    fn a_pattern_matches_whole_names_only() {
        let exact = Pattern::glob("alice").unwrap();
        assert!(exact.matches("alice") && !exact.matches("alice2") && !exact.matches("Alice"));
        let glob = Pattern::glob("corp:*").unwrap();
        assert!(glob.matches("corp:") && glob.matches("corp:a.b") && !glob.matches("xcorp:a"));
        let dots = Pattern::glob("a.c*").unwrap();
        assert!(!dots.matches("abc"));
        let either = Pattern::regex("a|ab").unwrap();
        assert!(either.matches("ab") && !either.matches("abc") && !either.matches("xa"));
        let lines = Pattern::regex("(?m)^a$").unwrap();
        assert!(!lines.matches("a\nb"));
    }

    #[test]
    fn a_regex_cannot_leave_its_anchors() {
        for text in ["a)|(b", "(?x)a # comment", "(", "a{4000}{4000}"] {
            assert!(Pattern::regex(text).is_err(), "{text}");
        }
        assert_eq!(Pattern::regex("").unwrap_err(), PatternError::Empty);
        assert_eq!(
            Pattern::glob(&"a".repeat(1025)).unwrap_err(),
            PatternError::Long
        );
    }

    #[test]
    fn templates_are_filled() {
        let glob = Pattern::glob("corp:*@?").unwrap();
        assert_eq!(fill(&glob, "p_$1-${2}$$", "corp:al@x").unwrap(), "p_al-x$");
        assert_eq!(
            fill(&glob, "$0/${user}", "corp:al@x").unwrap(),
            "corp:al@x/U"
        );
        let named = Pattern::regex("(?<first>[a-z]+)(?:[.](?<last>[a-z]+))?").unwrap();
        assert_eq!(fill(&named, "${first}", "al").unwrap(), "al");
        assert_eq!(fill(&named, "${last}", "al"), None);
    }

    #[test]
    fn a_capture_is_not_read_as_a_template() {
        let regex = Pattern::regex("(.*)").unwrap();
        assert_eq!(fill(&regex, "$1", "$0${user}").unwrap(), "$0${user}");
    }

    #[test]
    fn places_that_nothing_fills_are_refused() {
        let exact = Pattern::glob("alice").unwrap();
        for (text, error) in [
            ("$1", TemplateError::Unknown("1".to_owned())),
            ("${x}", TemplateError::Unknown("x".to_owned())),
            (
                "$99999999999999999999",
                TemplateError::Unknown("99999999999999999999".to_owned()),
            ),
            ("a$", TemplateError::Dollar),
            ("${1", TemplateError::Dollar),
            ("$x", TemplateError::Dollar),
            ("", TemplateError::Empty),
        ] {
            assert_eq!(Template::parse(text, &exact, &[]), Err(error), "{text}");
        }
    }
}
