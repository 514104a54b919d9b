//! The JSON form of a profile. Unknown fields are refused, with their line.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Visitor};
use serde_json::value::RawValue;

use crate::{Arch, ProfileError};

/// A profile or an included file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// What it is for; for readers only.
    #[serde(rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    pub(crate) include: Vec<String>,
    pub(crate) rules: Vec<RuleDocument>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleDocument {
    pub(crate) syscalls: Vec<String>,
    pub(crate) action: ActionDocument,
    #[serde(default)]
    pub(crate) when: Vec<ConditionDocument>,
    #[serde(default)]
    pub(crate) comment: String,
    pub(crate) arch: Option<Vec<Arch>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ActionDocument {
    Allow,
    Errno(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConditionDocument {
    pub(crate) arg: u8,
    pub(crate) op: OperatorDocument,
    pub(crate) mask: Option<Number>,
    pub(crate) value: Number,
    #[serde(default = "sixty_four")]
    pub(crate) bits: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OperatorDocument {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    MaskedEq,
}

fn sixty_four() -> u8 {
    64
}

/// A JSON number, or a string in base 16 (`0x`) or 8 (`0o`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(pub(crate) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an unsigned number, or a string such as \"0x10\" or \"0o6000\"")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number, E> {
        Ok(Number(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
        let number = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
            (Some(digits), _) => u64::from_str_radix(digits, 16),
            (_, Some(digits)) => u64::from_str_radix(digits, 8),
            _ => text.parse(),
        };
        number
            .map(Number)
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl Document {
    /// Reads one document; `name` is for the error.
    pub(crate) fn read(name: &str, text: &str) -> Result<Self, ProfileError> {
        serde_json::from_str(text).map_err(|source| ProfileError::Syntax {
            document: name.to_owned(),
            line: source.line(),
            column: source.column(),
            source,
        })
    }
}

/// The line on which a rule of a well-formed document begins. Only errors ask for it.
pub(crate) fn line_of_rule(text: &str, rule: usize) -> usize {
    #[derive(Deserialize)]
    struct Raw<'a> {
        #[serde(borrow)]
        rules: Vec<&'a RawValue>,
    }
    let offset = serde_json::from_str::<Raw<'_>>(text)
        .ok()
        .and_then(|raw| {
            raw.rules
                .get(rule)
                .map(|found| found.get().as_ptr() as usize - text.as_ptr() as usize)
        })
        .unwrap_or(0);
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_refused_with_their_line() {
        let text = "{\n \"rules\": [\n  {\"syscalls\": [\"read\"], \"action\": \"allow\",\n   \"wehn\": []}]}";
        let Err(ProfileError::Syntax { line, source, .. }) = Document::read("p", text) else {
            panic!("accepted");
        };
        assert_eq!(line, 4);
        assert!(source.to_string().contains("wehn"), "{source}");
    }

    #[test]
    fn numbers_are_read_in_three_bases() {
        for (text, value) in [
            ("12", 12),
            ("\"0x7e020000\"", 0x7e02_0000),
            ("\"0o6000\"", 0o6000),
            ("\"7\"", 7),
        ] {
            assert_eq!(serde_json::from_str::<Number>(text).unwrap().0, value);
        }
        for text in ["-1", "1.5", "\"0x\"", "\"six\"", "null"] {
            assert!(serde_json::from_str::<Number>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rules_are_found_by_line() {
        let text = "{\"rules\": [\n{\"a\": 1},\n\n{\"b\":\n2}]}";
        assert_eq!((line_of_rule(text, 0), line_of_rule(text, 1)), (2, 4));
    }
}
