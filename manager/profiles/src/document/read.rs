//! From text to document, with everything that is wrong in it.
//!
//! serde stops at the first refusal. The reader then takes the refused field
//! out and reads again, until nothing is refused: each refusal is reported, and
//! the document is given back only if there was none.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::de::DeTable;

use super::outline::{Lines, Outline, Step, prune, render};
use super::schema::Schema;
use super::table::TableOnly;
use crate::fault::{Fault, Origin, Place, ProfileErrors};
use crate::show::{shown, shown_message, suggestion};

/// Longest document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 256 << 10;

/// Most faults that are reported for one document; each costs one more reading.
pub const MOST_FAULTS: usize = 20;

/// Reads `text`; `name` is what errors call it.
pub(crate) fn read<T: DeserializeOwned>(
    name: &str,
    text: &str,
    schema: Schema,
) -> Result<(T, Origin), ProfileErrors> {
    let source = Source {
        name: Arc::from(name),
        lines: Lines::new(text),
        schema,
    };
    if text.len() > MAX_DOCUMENT_BYTES {
        let why = format!("the document has {} bytes", text.len());
        let remedy = format!("write at most {MAX_DOCUMENT_BYTES} bytes");
        return Err(ProfileErrors::one(source.fault(
            0,
            String::new(),
            (why, remedy),
        )));
    }
    let (mut table, errors) = DeTable::parse_recoverable(text);
    let outline = Outline::of(table.get_ref());
    let faults = errors.iter().take(MOST_FAULTS);
    let faults = faults.map(|error| source.syntax(&outline, error)).collect();
    if let Some(errors) = ProfileErrors::some(faults) {
        return Err(errors);
    }
    let mut faults = Vec::new();
    loop {
        match TableOnly::deserialize_from(table.clone()) {
            Ok(TableOnly(doc)) => {
                let origin = source.origin(&outline);
                return ProfileErrors::some(faults).map_or(Ok((doc, origin)), Err);
            }
            Err(error) => {
                let (fault, path) = source.refused(&outline, &error);
                faults.push(fault);
                if faults.len() == MOST_FAULTS || !prune(table.get_mut(), &path) {
                    return Err(ProfileErrors::some(faults).unwrap_or_else(|| source.nothing()));
                }
            }
        }
    }
}

impl<T: DeserializeOwned> TableOnly<T> {
    fn deserialize_from(
        table: toml::Spanned<DeTable<'_>>,
    ) -> Result<TableOnly<T>, toml::de::Error> {
        serde::Deserialize::deserialize(toml::de::Deserializer::from(table))
    }
}

/// A text, its name, and what may stand in it.
struct Source<'a> {
    name: Arc<str>,
    lines: Lines<'a>,
    schema: Schema,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Place {
        let (line, column) = self.lines.at(offset);
        Place {
            name: self.name.clone(),
            line,
            column,
        }
    }

    fn fault(&self, offset: usize, field: String, why: (String, String)) -> Fault {
        Fault {
            place: Some(self.place(offset)),
            field,
            value: String::new(),
            why: why.0,
            remedy: why.1,
        }
    }

    /// For the branch that a list with a fault in it cannot reach.
    fn nothing(&self) -> ProfileErrors {
        let why = ("not a document".to_owned(), "correct the file".to_owned());
        ProfileErrors::one(self.fault(0, String::new(), why))
    }

    /// The text is not TOML.
    fn syntax(&self, outline: &Outline, error: &toml::de::Error) -> Fault {
        let offset = error.span().map_or(0, |span| span.start);
        let field = outline.innermost(offset);
        let field = field.map_or(String::new(), |entry| shown(&render(&outline.path(entry))));
        let why = (
            format!("not valid TOML: {}", shown_message(error.message())),
            "correct the line".to_owned(),
        );
        self.fault(offset, field, why)
    }

    /// The text is well formed, and one field was refused.
    fn refused<'o>(&self, outline: &'o Outline, error: &toml::de::Error) -> (Fault, Vec<&'o Step>) {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message();
        let Some(entry) = outline.innermost(offset) else {
            let why = (shown_message(message), "write a table of fields".to_owned());
            return (self.fault(offset, String::new(), why), Vec::new());
        };
        let path = outline.path(entry);
        let why = self.explain(&path, message);
        let fault = self.fault(entry.span.start, shown(&render(&path)), why);
        (fault, path)
    }

    /// The cause and the remedy for the field at `path`.
    fn explain(&self, path: &[&Step], message: &str) -> (String, String) {
        let keys: Vec<&str> = path
            .iter()
            .filter_map(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::Index(_) => None,
            })
            .collect();
        let Some((name, table)) = keys.split_last() else {
            return (shown_message(message), "write a table of fields".to_owned());
        };
        let table = table.join(".");
        if table == "env" || (table.is_empty() && *name == "env") {
            // serde's own message would repeat the value, which may be private.
            return (
                "not a name and a text value".to_owned(),
                "write NAME = \"value\" beneath [env]".to_owned(),
            );
        }
        match self.schema.expects(&table, name) {
            None if table == "egress" && *name == "allow" => (
                "the form of an earlier version".to_owned(),
                "write rules = [\"allow tcp HOST:PORT\", …] beneath [egress]".to_owned(),
            ),
            None => {
                let remedy = suggestion(name, &self.schema.names(&table));
                ("unknown field".to_owned(), remedy)
            }
            Some(expects) => {
                // An unknown name brings a better remedy along.
                let (cause, remedy) = message.split_once('\n').unwrap_or((message, expects));
                (shown_message(cause), remedy.to_owned())
            }
        }
    }

    fn origin(&self, outline: &Outline) -> Origin {
        let mut origin = Origin::default();
        origin.insert(String::new(), self.place(0));
        for entry in &outline.entries {
            origin.insert(render(&outline.path(entry)), self.place(entry.span.start));
        }
        origin
    }
}
