//! The administrator's rules of egress: in the configuration, or in a file of their own.

use std::path::{Path, PathBuf};

use lakekeep_egress_rules::{EgressDoc, Level, Ruleset};
use lakekeep_identity::{Document, read_toml};

use super::{ConfigDoc, ConfigError, read, refused};

/// What may leave any sandbox at most, as it was read.
#[derive(Debug)]
pub struct Administrator {
    /// The document, if there is one.
    pub doc: Option<EgressDoc>,
    /// The files that it was read from: the configuration, and its own.
    pub files: Vec<PathBuf>,
    rules: Option<Ruleset>,
}

impl Administrator {
    /// Reads it again, as the configuration of this path says now.
    ///
    /// # Errors
    /// [`ConfigError`], with file, line and field of everything that is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let document = read_toml::<ConfigDoc>(&name, &read(path)?).map_err(refused)?;
        Self::of(&document, path)
    }

    /// That of a configuration which was read from `path`.
    pub(super) fn of(document: &Document<ConfigDoc>, path: &Path) -> Result<Self, ConfigError> {
        let name = path.display();
        let config = document.value();
        let mut files = vec![path.to_owned()];
        let (doc, place) = match (&config.egress, &config.profiles.egress) {
            (None, None) => {
                return Ok(Self {
                    doc: None,
                    files,
                    rules: None,
                });
            }
            (Some(_), Some(_)) => {
                return Err(refused(format!(
                    "{name}: egress: [egress] is here and profiles.egress names a file; keep one of the two"
                )));
            }
            (Some(inline), None) => (inline.clone(), Some(document)),
            (None, Some(path)) => {
                files.push(path.clone());
                let read = EgressDoc::from_toml(&path.display().to_string(), &read(path)?);
                (read.map_err(refused)?, None)
            }
        };
        // A file's places have its name and lines; a table's are the configuration's.
        let placed = |field: &str, text: String| match place {
            Some(document) => {
                let line = document.line_of(&format!("egress.{field}"));
                format!("{name}:{line}: egress.{text}")
            }
            None => text,
        };
        let rules = Ruleset::check(Level::Administrator, &doc);
        let rules = rules.map_err(|errors| {
            let errors = errors.errors().iter();
            let lines = errors.map(|error| placed(&error.place.field, error.to_string()));
            refused(lines.collect::<Vec<_>>().join("\n"))
        })?;
        if let Some((_, allowed, denied)) = rules.contradictions().first() {
            let text = format!(
                "{}: {}: it allows nothing, because of {}; leave one of the two out, or narrow the denial",
                allowed.place, allowed.rule, denied.rule
            );
            return Err(refused(placed(&allowed.place.field, text)));
        }
        Ok(Self {
            doc: Some(doc),
            files,
            rules: Some(rules),
        })
    }

    /// What is allowed and weak.
    pub fn warnings(&self) -> Vec<String> {
        let found = self.rules.as_ref().map(Ruleset::warnings);
        let told = found.into_iter().flatten().map(|warning| {
            let (place, message) = (&warning.place, &warning.message);
            format!("the administrator's rules of egress: {place}: {message}")
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lakekeep.toml");
        std::fs::write(&path, text).unwrap();
        let error = Administrator::read(&path).unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "")
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_file_and_line() {
        let table = refusal("name = \"a\"\n[egress]\nrules = [\n\"allow tcp *\",\n\"deny all\"]\n");
        assert!(
            table.starts_with("/lakekeep.toml:5: egress.rules[1]: "),
            "{table}"
        );
        let unknown = refusal("[egress]\nrule = []\n");
        assert!(unknown.starts_with("/lakekeep.toml:2"), "{unknown}");
        let idle =
            refusal("[egress]\nrules = [\"allow tls a.example\",\n\"deny tcp *.example\"]\n");
        assert!(idle.contains("lakekeep.toml:2: egress.rules[0]"), "{idle}");
    }

    #[test]
    fn so_is_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (path, own) = (folder.path().join("l.toml"), folder.path().join("e.toml"));
        std::fs::write(&own, "version = 1\nrules = [\n\"allow everything\"]\n").unwrap();
        std::fs::write(&path, format!("[profiles]\negress = {own:?}\n")).unwrap();
        let error = Administrator::read(&path).unwrap_err().to_string();
        assert!(error.contains("e.toml:3: rules[0]"), "{error}");
        std::fs::write(&own, "version = 1\nrules = [\"allow tcp *\"]\n").unwrap();
        let read = Administrator::read(&path).unwrap();
        assert_eq!(read.files, [path, own]);
        assert_eq!(read.warnings().len(), 1);
    }
}
