//! From text to document.

use std::sync::Arc;

use serde::Deserialize;
use toml::de::DeTable;

use super::error::DocumentError;
use super::origin::{Origin, Place};
use super::outline::{Entry, Outline, Step, line_at, render};
use super::schema::{self, find};
use super::table::TableOnly;
use super::{PolicyDoc, outline_json};
use crate::DOCUMENT_VERSION;
use crate::names::suggestion;
use crate::show::{shown, shown_message};

/// Longest document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

impl PolicyDoc {
    /// Reads a TOML document; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// [`DocumentError`] if `text` is not TOML, has an unknown field or a value
    /// of the wrong kind, lacks `version`, or is longer than
    /// [`MAX_DOCUMENT_BYTES`].
    pub fn from_toml(name: &str, text: &str) -> Result<PolicyDoc, DocumentError> {
        let source = Source::new(name, text)?;
        let table = DeTable::parse(text).map_err(|error| source.toml_syntax(&error))?;
        let outline = Outline::of_toml(table.get_ref());
        match TableOnly::deserialize(toml::de::Deserializer::from(table)) {
            Ok(TableOnly(doc)) => source.accepted(doc, &outline),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                Err(source.refused(&outline, offset, error.message()))
            }
        }
    }

    /// Reads a JSON document; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// As [`PolicyDoc::from_toml`].
    pub fn from_json(name: &str, text: &str) -> Result<PolicyDoc, DocumentError> {
        let source = Source::new(name, text)?;
        let outline = outline_json::scan(text);
        match serde_json::from_str(text) {
            Ok(TableOnly(doc)) => source.accepted(doc, &outline),
            Err(error) => Err(source.json(&outline, &error)),
        }
    }
}

/// A text and its name.
struct Source<'a> {
    name: Arc<str>,
    text: &'a str,
}

impl<'a> Source<'a> {
    fn new(name: &str, text: &'a str) -> Result<Source<'a>, DocumentError> {
        let source = Source {
            name: Arc::from(name),
            text,
        };
        if text.len() > MAX_DOCUMENT_BYTES {
            let cause = format!("the document has {} bytes", text.len());
            let remedy = format!("write at most {MAX_DOCUMENT_BYTES} bytes");
            return Err(source.error(1, String::new(), (cause, remedy)));
        }
        Ok(source)
    }

    fn place(&self, line: usize) -> Place {
        Place {
            name: self.name.clone(),
            line,
        }
    }

    fn error(&self, line: usize, field: String, why: (String, String)) -> DocumentError {
        DocumentError {
            place: self.place(line),
            field,
            cause: why.0,
            remedy: why.1,
        }
    }

    /// The text is not TOML.
    fn toml_syntax(&self, error: &toml::de::Error) -> DocumentError {
        let offset = error.span().map_or(0, |span| span.start);
        let why = (
            format!("not valid TOML: {}", shown_message(error.message())),
            "correct the line".to_owned(),
        );
        let (partial, _) = DeTable::parse_recoverable(self.text);
        let outline = Outline::of_toml(partial.get_ref());
        let line = line_at(self.text, offset);
        self.error(line, field_at(&outline, offset), why)
    }

    /// The text is not JSON, or not this document.
    fn json(&self, outline: &Outline, error: &serde_json::Error) -> DocumentError {
        let offset = offset_of(self.text, error.line(), error.column());
        let message = error.to_string();
        let suffix = format!(" at line {} column {}", error.line(), error.column());
        let message = message.strip_suffix(&suffix).unwrap_or(&message);
        if error.is_data() {
            return self.refused(outline, offset, message);
        }
        let why = (
            format!("not valid JSON: {}", shown_message(message)),
            "correct the line".to_owned(),
        );
        self.error(error.line().max(1), field_at(outline, offset), why)
    }

    /// The text is well formed, and the field at `offset` was refused.
    fn refused(&self, outline: &Outline, offset: usize, message: &str) -> DocumentError {
        let Some(entry) = outline.innermost(offset) else {
            let line = line_at(self.text, offset);
            return self.error(line, String::new(), explain(&[], message));
        };
        let path = outline.path(entry);
        let line = line_at(self.text, entry.span.start);
        self.error(line, shown(&render(&path)), explain(&path, message))
    }

    /// Notes where the fields are, and requires the version.
    fn accepted(&self, doc: PolicyDoc, outline: &Outline) -> Result<PolicyDoc, DocumentError> {
        if doc.version.is_none() {
            let why = (
                "missing".to_owned(),
                format!("add version = {DOCUMENT_VERSION}"),
            );
            return Err(self.error(1, "version".to_owned(), why));
        }
        let origin = self.origin(outline);
        Ok(PolicyDoc { origin, ..doc })
    }

    fn origin(&self, outline: &Outline) -> Origin {
        let mut starts: Vec<&Entry> = outline.entries.iter().collect();
        starts.sort_by_key(|entry| entry.span.start);
        let (mut line, mut counted, mut origin) = (1, 0, Origin::default());
        for entry in starts {
            let between = self.text.as_bytes().get(counted..entry.span.start);
            line += between.map_or(0, |bytes| bytes.iter().filter(|b| **b == b'\n').count());
            counted = entry.span.start;
            origin.insert(render(&outline.path(entry)), self.place(line));
        }
        origin
    }
}

/// The path of the innermost field at `offset`, or nothing.
fn field_at(outline: &Outline, offset: usize) -> String {
    outline
        .innermost(offset)
        .map_or(String::new(), |entry| shown(&render(&outline.path(entry))))
}

/// The cause and the remedy for the field at `path`.
fn explain(path: &[&Step], message: &str) -> (String, String) {
    let keys: Vec<&str> = path.iter().filter_map(|step| step.key()).collect();
    match keys.as_slice() {
        // serde's own message would repeat the value, which may be a secret.
        ["env"] => (
            "not a table of names and text values".to_owned(),
            "write NAME = \"value\" beneath [env]".to_owned(),
        ),
        ["env", ..] => (
            shown_message(message),
            "write each name once, with its value in quotation marks".to_owned(),
        ),
        ["mounts"] if path.len() == 2 => (
            shown_message(message),
            "write a table with source, target and, if wanted, mode".to_owned(),
        ),
        [name] => explain_field("", name, message),
        [table, name, ..] => explain_field(table, name, message),
        [] => (shown_message(message), "write a table of fields".to_owned()),
    }
}

fn explain_field(table: &str, name: &str, message: &str) -> (String, String) {
    let Some(info) = find(table, name) else {
        let remedy = suggestion(name, &schema::names(table));
        return ("unknown field".to_owned(), remedy);
    };
    // An unknown name brings a better remedy along.
    let (cause, remedy) = message.split_once('\n').unwrap_or((message, info.expects));
    (shown_message(cause), remedy.to_owned())
}

/// The offset in bytes of serde_json's line and column.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    (before + column).min(text.len())
}
