//! From text to document.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{DocumentError, DocumentErrors, EgressDoc, Origin, Place};
use crate::show::one_line;

/// Longest document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;
/// The version of the schema that is read.
const DOCUMENT_VERSION: u32 = 1;

impl EgressDoc {
    /// Reads a TOML document; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// [`DocumentErrors`] if it is not TOML, has an unknown field or a value of the wrong
    /// kind, lacks `version = 1`, or is longer than [`MAX_DOCUMENT_BYTES`].
    pub fn from_toml(name: &str, text: &str) -> Result<EgressDoc, DocumentErrors> {
        let source = Source {
            name: Arc::from(name),
            text,
        };
        source.check_size()?;
        let at = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let table = DeTable::parse(text).map_err(|error| {
            let cause = format!("not valid TOML: {}", one_line(error.message()));
            source.error(source.line_at(at(&error)), "", (&cause, "correct the line"))
        })?;
        let lines = source.rule_lines(table.get_ref());
        let deserializer = toml::de::Deserializer::from(table);
        let doc = serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let line = source.line_at(at(error.inner()));
            source.refused(line, &error.path().to_string(), error.inner().message())
        })?;
        source.accepted(doc, lines)
    }

    /// Reads a JSON document; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// As [`EgressDoc::from_toml`].
    pub fn from_json(name: &str, text: &str) -> Result<EgressDoc, DocumentErrors> {
        let source = Source {
            name: Arc::from(name),
            text,
        };
        source.check_size()?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let doc = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| source.json(&error.path().to_string(), error.inner()))?;
        deserializer
            .end()
            .map_err(|error| source.json("", &error))?;
        source.accepted(doc, Vec::new())
    }
}

/// A text and its name.
struct Source<'a> {
    name: Arc<str>,
    text: &'a str,
}

impl Source<'_> {
    fn check_size(&self) -> Result<(), DocumentErrors> {
        if self.text.len() <= MAX_DOCUMENT_BYTES {
            return Ok(());
        }
        let cause = format!("the document has {} bytes", self.text.len());
        let remedy = format!("write at most {MAX_DOCUMENT_BYTES}");
        Err(self.error(1, "", (&cause, &remedy)))
    }

    /// `why` is cause and remedy.
    fn error(&self, line: usize, field: &str, why: (&str, &str)) -> DocumentErrors {
        let place = Place {
            document: self.name.clone(),
            line: Some(line),
            field: one_line(field),
        };
        let (cause, remedy) = (why.0.to_owned(), why.1.to_owned());
        DocumentErrors(vec![DocumentError {
            place,
            cause,
            remedy,
        }])
    }

    /// A field that is none, or whose value is of the wrong kind.
    fn refused(&self, line: usize, path: &str, message: &str) -> DocumentErrors {
        let field = if path == "." { "" } else { path };
        self.error(
            line,
            field,
            (&one_line(message), "correct the field, or remove it"),
        )
    }

    fn json(&self, path: &str, error: &serde_json::Error) -> DocumentErrors {
        let line = error.line().max(1);
        let message = error.to_string();
        if error.is_data() {
            return self.refused(line, path, &message);
        }
        let cause = format!("not valid JSON: {}", one_line(&message));
        self.error(line, "", (&cause, "correct the line"))
    }

    fn accepted(&self, doc: EgressDoc, lines: Vec<usize>) -> Result<EgressDoc, DocumentErrors> {
        if doc.version != Some(DOCUMENT_VERSION) {
            let cause = match doc.version {
                None => "missing".to_owned(),
                Some(other) => format!("there is no version {other}"),
            };
            return Err(self.error(1, "version", (&cause, "write version = 1")));
        }
        let origin = Origin {
            name: self.name.clone(),
            list: "rules",
            lines,
        };
        Ok(EgressDoc { origin, ..doc })
    }

    /// The line of each of `rules`.
    fn rule_lines(&self, table: &DeTable<'_>) -> Vec<usize> {
        let rules = table.get("rules").map(|value| value.get_ref());
        let Some(DeValue::Array(rules)) = rules else {
            return Vec::new();
        };
        let (mut line, mut counted) = (1, 0);
        let mut lines = Vec::with_capacity(rules.len());
        for rule in rules.iter() {
            let start = rule.span().start;
            line += newlines(self.text.as_bytes().get(counted..start).unwrap_or_default());
            counted = start;
            lines.push(line);
        }
        lines
    }

    fn line_at(&self, offset: usize) -> usize {
        newlines(self.text.as_bytes().get(..offset).unwrap_or_default()) + 1
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}
