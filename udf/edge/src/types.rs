//! Types of columns as people write them: `int64`, `list<utf8>`, `decimal128(10, 2)`.

use std::str::FromStr;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, TimeUnit};

/// How deep types may be nested.
const DEEPEST: usize = 16;

/// Why a text is no type.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TypeError {
    /// There is no type of this name.
    #[error(
        "there is no type {0:?}; int64, float64, bool, utf8, binary, date32, timestamp(us), decimal128(10, 2), list<int64>, struct<a int64, b utf8>, map<utf8, int64> are some"
    )]
    Unknown(String),
    /// Something else should stand there.
    #[error("{wanted} should stand at {rest:?}")]
    Expected {
        /// What.
        wanted: &'static str,
        /// What stands there.
        rest: String,
    },
    /// It is nested too deeply.
    #[error("types are nested more than {DEEPEST} deep")]
    Deep,
}

/// The type that a text names.
///
/// # Errors
/// [`TypeError`], which names the place.
pub fn parse(text: &str) -> Result<DataType, TypeError> {
    let mut words = Words(text);
    let found = words.kind(0)?;
    match words.0.trim() {
        "" => Ok(found),
        rest => Err(expected("the end", rest)),
    }
}

fn expected(wanted: &'static str, rest: &str) -> TypeError {
    let rest = rest.chars().take(64).collect();
    TypeError::Expected { wanted, rest }
}

/// What is left to read.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn take(&mut self, sign: char) -> bool {
        let rest = self.0.trim_start();
        let found = rest.strip_prefix(sign);
        self.0 = found.unwrap_or(rest);
        found.is_some()
    }

    fn expect(&mut self, sign: char, wanted: &'static str) -> Result<(), TypeError> {
        match self.take(sign) {
            true => Ok(()),
            false => Err(expected(wanted, self.0)),
        }
    }

    fn word(&mut self) -> Result<&'a str, TypeError> {
        let rest = self.0.trim_start();
        let end = rest
            .find(|it: char| !(it.is_alphanumeric() || "_-+:/".contains(it)))
            .unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        if word.is_empty() {
            return Err(expected("a name", rest));
        }
        self.0 = rest;
        Ok(word)
    }

    fn number<T: FromStr>(&mut self) -> Result<T, TypeError> {
        let before = self.0;
        let word = self.word()?;
        word.parse().map_err(|_| expected("a number", before))
    }

    fn kind(&mut self, depth: usize) -> Result<DataType, TypeError> {
        if depth > DEEPEST {
            return Err(TypeError::Deep);
        }
        let name = self.word()?;
        if self.take('<') {
            let found = self.nested(name, depth + 1)?;
            self.expect('>', "\">\"")?;
            return Ok(found);
        }
        if self.take('(') {
            let found = self.measured(name)?;
            self.expect(')', "\")\"")?;
            return Ok(found);
        }
        simple(name).ok_or_else(|| TypeError::Unknown(name.to_owned()))
    }

    fn nested(&mut self, name: &str, depth: usize) -> Result<DataType, TypeError> {
        match name {
            "list" => Ok(DataType::List(item(self.kind(depth)?))),
            "large_list" => Ok(DataType::LargeList(item(self.kind(depth)?))),
            "map" => {
                let key = self.kind(depth)?;
                self.expect(',', "\",\"")?;
                let entries = vec![
                    Field::new("key", key, false),
                    Field::new("value", self.kind(depth)?, true),
                ];
                let entries = DataType::Struct(entries.into());
                Ok(DataType::Map(
                    Field::new("entries", entries, false).into(),
                    false,
                ))
            }
            "struct" => {
                let mut fields = Vec::new();
                loop {
                    let name = self.word()?;
                    fields.push(Field::new(name, self.kind(depth)?, true));
                    if !self.take(',') {
                        return Ok(DataType::Struct(Fields::from(fields)));
                    }
                }
            }
            other => Err(TypeError::Unknown(other.to_owned())),
        }
    }

    fn measured(&mut self, name: &str) -> Result<DataType, TypeError> {
        match name {
            "fixed_size_binary" => Ok(DataType::FixedSizeBinary(self.number()?)),
            "decimal128" | "decimal256" => {
                let precision = self.number()?;
                let scale = match self.take(',') {
                    true => self.number()?,
                    false => 0,
                };
                Ok(match name {
                    "decimal128" => DataType::Decimal128(precision, scale),
                    _ => DataType::Decimal256(precision, scale),
                })
            }
            "timestamp" | "duration" | "time32" | "time64" => {
                let unit = self.unit()?;
                let zone = match self.take(',') {
                    true => Some(Arc::from(self.word()?)),
                    false => None,
                };
                match (name, zone) {
                    ("timestamp", zone) => Ok(DataType::Timestamp(unit, zone)),
                    ("duration", None) => Ok(DataType::Duration(unit)),
                    ("time32", None) => Ok(DataType::Time32(unit)),
                    ("time64", None) => Ok(DataType::Time64(unit)),
                    _ => Err(expected("\")\"", self.0)),
                }
            }
            other => Err(TypeError::Unknown(other.to_owned())),
        }
    }

    fn unit(&mut self) -> Result<TimeUnit, TypeError> {
        let before = self.0;
        match self.word()? {
            "s" => Ok(TimeUnit::Second),
            "ms" => Ok(TimeUnit::Millisecond),
            "us" => Ok(TimeUnit::Microsecond),
            "ns" => Ok(TimeUnit::Nanosecond),
            _ => Err(expected("s, ms, us or ns", before)),
        }
    }
}

fn item(kind: DataType) -> Arc<Field> {
    Field::new("item", kind, true).into()
}

fn simple(name: &str) -> Option<DataType> {
    Some(match name {
        "null" => DataType::Null,
        "bool" | "boolean" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float16" => DataType::Float16,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "utf8" | "string" => DataType::Utf8,
        "large_utf8" | "large_string" => DataType::LargeUtf8,
        "binary" => DataType::Binary,
        "large_binary" => DataType::LargeBinary,
        "date32" => DataType::Date32,
        "date64" => DataType::Date64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_they_are_written() {
        assert_eq!(parse(" int64 "), Ok(DataType::Int64));
        assert_eq!(
            parse("decimal128(10, -2)"),
            Ok(DataType::Decimal128(10, -2))
        );
        let zone = Some("Europe/Vienna".into());
        let found = parse("timestamp(us, Europe/Vienna)");
        assert_eq!(found, Ok(DataType::Timestamp(TimeUnit::Microsecond, zone)));
        let fields = vec![
            Field::new("a", DataType::Int8, true),
            Field::new("b", DataType::List(item(DataType::Utf8)), true),
        ];
        let found = parse("struct<a int8, b list<string>>");
        assert_eq!(found, Ok(DataType::Struct(fields.into())));
        assert!(matches!(parse("map<utf8, int64>"), Ok(DataType::Map(..))));
    }

    #[test]
    fn what_is_no_type_is_refused_at_its_place() {
        for (text, place) in [
            ("int", "\"int\""),
            ("", "a name"),
            ("list<int64", "\">\" should stand at \"\""),
            ("int64 x", "the end should stand at \"x\""),
            ("decimal128(x)", "a number should stand at \"x)\""),
            ("timestamp(min)", "s, ms, us or ns"),
            ("time32(s, UTC)", "\")\""),
            ("tree<int8>", "\"tree\""),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(place), "{text}: {error}");
        }
        let deep = format!("{}int8{}", "list<".repeat(99), ">".repeat(99));
        assert_eq!(parse(&deep), Err(TypeError::Deep));
    }
}
