//! TOML documents, with the line, column and field of what was refused.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use crate::config::{ConfigErrors, Violation};
use crate::show::quoted;

/// Longest document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// A document that was read, and where its fields stand.
#[derive(Clone, Debug)]
pub struct Document<T> {
    value: T,
    name: String,
    text: String,
    fields: Vec<Field>,
}

/// A field's path and its place in the text.
#[derive(Clone, Debug)]
struct Field {
    path: String,
    span: Range<usize>,
}

/// What was refused in a document: for each field its line, why, and what to do.
///
/// Displays as `manager.toml:7:1: auth.jwt[0].issuer: …; …`, a line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    lines: Vec<String>,
}

impl DocumentError {
    /// The refusals, in the document's order.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for DocumentError {}

/// Reads a TOML document into a wire type, such as one with the fields `auth`
/// and `identity`; `name` is what errors call it. Performs no I/O.
///
/// # Errors
///
/// [`DocumentError`] if the text is not TOML, has an unknown field or a value of
/// the wrong kind, or is longer than [`MAX_DOCUMENT_BYTES`].
pub fn read_toml<T: DeserializeOwned>(
    name: &str,
    text: &str,
) -> Result<Document<T>, DocumentError> {
    let mut document = Document {
        value: (),
        name: name.to_owned(),
        text: text.to_owned(),
        fields: Vec::new(),
    };
    if text.len() > MAX_DOCUMENT_BYTES {
        let cause = format!("the document has {} bytes", text.len());
        let remedy = format!("write at most {MAX_DOCUMENT_BYTES} bytes");
        return Err(document.error(0, "", &cause, &remedy));
    }
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let cause = format!("not valid TOML: {}", one_line(error.message()));
        document.error(offset, "", &cause, "correct the line")
    })?;
    add_table(&mut document.fields, "", table.get_ref());
    let value = T::deserialize(toml::de::Deserializer::from(table)).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let field = document.innermost(offset).to_owned();
        let remedy = "correct the field, or remove it";
        document.error(offset, &field, &one_line(error.message()), remedy)
    })?;
    Ok(Document {
        value,
        name: document.name,
        text: document.text,
        fields: document.fields,
    })
}

impl<T> Document<T> {
    /// What was read.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Puts the place of each field to what a check refused.
    pub fn errors(&self, errors: &ConfigErrors) -> DocumentError {
        let mut placed: Vec<(usize, &Violation)> = errors
            .violations()
            .iter()
            .map(|violation| (self.offset(&violation.field), violation))
            .collect();
        placed.sort_by_key(|(offset, _)| *offset);
        let lines = placed
            .into_iter()
            .map(|(offset, one)| self.line(offset, &one.field, &one.cause, &one.remedy))
            .collect();
        DocumentError { lines }
    }

    /// The line of a field, counted from one, or else of the table that would hold it.
    pub fn line_of(&self, field: &str) -> usize {
        let before = self.text.get(..self.offset(field)).unwrap_or_default();
        before.matches('\n').count() + 1
    }

    fn error(&self, offset: usize, field: &str, cause: &str, remedy: &str) -> DocumentError {
        DocumentError {
            lines: vec![self.line(offset, field, cause, remedy)],
        }
    }

    fn line(&self, offset: usize, field: &str, cause: &str, remedy: &str) -> String {
        let before = self.text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |line| line.chars().count())
            + 1;
        let field = match field {
            "" => String::new(),
            field => format!("{field}: "),
        };
        format!("{}:{line}:{column}: {field}{cause}; {remedy}", self.name)
    }

    /// Where the field is, or else the table that would hold it.
    fn offset(&self, field: &str) -> usize {
        let mut path = field;
        loop {
            if let Some(found) = self.fields.iter().find(|known| known.path == path) {
                return found.span.start;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return 0,
            }
        }
    }

    /// The path of the deepest field at this place.
    fn innermost(&self, offset: usize) -> &str {
        let at = |field: &&Field| field.span.start <= offset && offset <= field.span.end;
        let deepest = self
            .fields
            .iter()
            .filter(at)
            .max_by_key(|field| field.path.len());
        deepest.map_or("", |field| field.path.as_str())
    }
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn add_table(fields: &mut Vec<Field>, above: &str, table: &DeTable<'_>) {
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let name = match name.chars().all(plain) && name.len() <= 64 {
            true => name.to_owned(),
            false => quoted(name),
        };
        let path = match above {
            "" => name,
            above => format!("{above}.{name}"),
        };
        // A table's own span is its header, which may stand elsewhere than the
        // key as it is spelt here: what covers both.
        let (key, whole) = (key.span(), value.span());
        let span = key.start.min(whole.start)..key.end.max(whole.end);
        add_value(fields, Field { path, span }, value.get_ref());
    }
}

fn add_value(fields: &mut Vec<Field>, field: Field, value: &DeValue<'_>) {
    let path = field.path.clone();
    fields.push(field);
    // Deeper fields are in no schema; the bound keeps paths short.
    if path.len() > 512 {
        return;
    }
    match value {
        DeValue::Table(table) => add_table(fields, &path, table),
        DeValue::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                let path = format!("{path}[{number}]");
                let span = item.span();
                add_value(fields, Field { path, span }, item.get_ref());
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{AuthDoc, IdentityDoc};

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Whole {
        auth: AuthDoc,
        identity: IdentityDoc,
    }

    fn refused(text: &str) -> String {
        read_toml::<Whole>("m.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn syntax_and_unknown_fields_have_a_place() {
        let text = refused("[auth.peer]\nenabled = \n");
        assert!(text.starts_with("m.toml:2:"), "{text}");
        let text = refused("[auth.peer]\nenabled = true\nadmin = 1\n");
        assert!(
            text.starts_with("m.toml:3:1: auth.peer.admin: unknown field"),
            "{text}"
        );
        let text = refused("\n[[identity.rule]]\nuser = 1\n");
        assert!(
            text.starts_with("m.toml:3:8: identity.rule[0].user: invalid type"),
            "{text}"
        );
        assert!(refused(&" ".repeat(MAX_DOCUMENT_BYTES + 1)).contains("at most"));
    }

    #[test]
    fn what_a_check_refuses_has_a_place() {
        let text = "[[auth.jwt]]\nissuer = \"x\"\naudiences = []\nuser_prefix = \"c:\"\n";
        let document = read_toml::<Whole>("m.toml", text).unwrap();
        let errors = document.value().auth.check().unwrap_err();
        let placed = document.errors(&errors);
        assert!(
            placed.lines()[0].starts_with("m.toml:2:1: auth.jwt[0].issuer: "),
            "{placed}"
        );
        assert!(
            placed.lines()[1].starts_with("m.toml:3:1: auth.jwt[0].audiences: "),
            "{placed}"
        );
        let document = read_toml::<Whole>("m.toml", "\n[[identity.rule]]\nuser = \"a\"\n").unwrap();
        let errors = document.value().identity.check().unwrap_err();
        let placed = document.errors(&errors).to_string();
        assert!(placed.starts_with("m.toml:2:"), "{placed}");
    }
}
