//! The functions that a file declares.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::{Field, Schema, SchemaRef};
use lakekeep_policy::{Bytes, Cpus, parse_duration};
use lakekeep_udf_client::{Code, Environment, Function, Kind, Limits, Options};
use serde::Deserialize;
use toml::Spanned;

use crate::types;

/// Sessions at once of one function, where the file does not say.
const SESSIONS: usize = 4;

/// Most of a file of functions, and of a function's source, bytes.
const LARGEST: u64 = 4 << 20;

/// Why a file declares no functions.
#[derive(Debug, thiserror::Error)]
pub enum FunctionsError {
    /// A file cannot be read.
    #[error("{}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A file is too large.
    #[error("{}: {size} bytes; {LARGEST} are allowed", path.display())]
    Large {
        /// Which.
        path: PathBuf,
        /// Bytes.
        size: u64,
    },
    /// It is not as it should be; with line and field.
    #[error("{}: {}", path.display(), error.to_string().trim_end())]
    Document {
        /// Which.
        path: PathBuf,
        /// Why.
        error: Box<toml::de::Error>,
    },
    /// A function is not as it should be.
    #[error("{}:{line}: function {name}: {why}", path.display())]
    Function {
        /// The file.
        path: PathBuf,
        /// Where the function is.
        line: usize,
        /// Which.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A function with all that its sessions need.
#[derive(Debug, Clone)]
pub struct Declared {
    /// What is called.
    pub function: Function,
    /// The Python it runs in.
    pub environment: Environment,
    /// How its sessions are run.
    pub options: Options,
    /// Most sessions at once.
    pub sessions: usize,
    /// Sessions that are opened before the first call.
    pub warm: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    environment: Option<EnvironmentDoc>,
    function: Vec<FunctionDoc>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvironmentDoc {
    interpreter: PathBuf,
    modules: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionDoc {
    name: Spanned<String>,
    source: PathBuf,
    attribute: Option<String>,
    kind: KindDoc,
    arguments: Vec<Column>,
    returns: Vec<Column>,
    environment: Option<EnvironmentDoc>,
    user: Option<String>,
    profile: Option<String>,
    code_owner: Option<String>,
    memory: Option<Bytes>,
    cpus: Option<Cpus>,
    timeout: Option<Span>,
    sessions: Option<usize>,
    warm: Option<usize>,
    #[serde(default)]
    skip_nulls: bool,
}

/// How a function of an edge may be called.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindDoc {
    Scalar,
    Pandas,
    Rows,
    Table,
}

/// A column: `int64`, or `name int64`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Column {
    name: Option<String>,
    kind: arrow_schema::DataType,
}

impl TryFrom<String> for Column {
    type Error = types::TypeError;

    fn try_from(text: String) -> Result<Self, types::TypeError> {
        let text = text.trim();
        // A type has a space only within its brackets.
        let bracket = text.find(['<', '(']).unwrap_or(text.len());
        let name = text.get(..bracket).and_then(|head| head.split_once(' '));
        let (name, kind) = match name {
            Some((name, _)) => (Some(name.to_owned()), text.get(name.len()..).unwrap_or("")),
            None => (None, text),
        };
        Ok(Self {
            name,
            kind: types::parse(kind)?,
        })
    }
}

/// A span of time, such as `5s`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Span(Duration);

impl TryFrom<String> for Span {
    type Error = lakekeep_policy::DurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse_duration(&text).map(Self)
    }
}

/// The functions of a file.
///
/// # Errors
/// [`FunctionsError`], with the line and the field.
pub fn read(path: &Path) -> Result<Vec<Declared>, FunctionsError> {
    let text = file(path)?;
    let document: Document = toml::from_str(&text).map_err(|error| FunctionsError::Document {
        path: path.to_owned(),
        error: Box::new(error),
    })?;
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for one in document.function {
        let name = one.name.get_ref().clone();
        let before = text.get(..one.name.span().start).unwrap_or_default();
        let line = before.lines().count().max(1);
        let failed = |why: String| FunctionsError::Function {
            path: path.to_owned(),
            line,
            name: name.clone(),
            why,
        };
        if !names.insert(name.clone()) {
            return Err(failed("there is another of this name".to_owned()));
        }
        let declared = one.declared(path, document.environment.as_ref());
        found.push(declared.map_err(failed)?);
    }
    Ok(found)
}

fn file(path: &Path) -> Result<String, FunctionsError> {
    let failed = |error| FunctionsError::Read {
        path: path.to_owned(),
        error,
    };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > LARGEST {
        let path = path.to_owned();
        return Err(FunctionsError::Large { path, size });
    }
    fs::read_to_string(path).map_err(failed)
}

impl FunctionDoc {
    fn declared(
        self,
        beside: &Path,
        environment: Option<&EnvironmentDoc>,
    ) -> Result<Declared, String> {
        let name = self.name.into_inner();
        let environment = self.environment.as_ref().or(environment);
        let environment = environment.ok_or(
            "environment: which Python runs it is not said; give [environment] an interpreter",
        )?;
        let source = beside.parent().unwrap_or(beside).join(&self.source);
        let text = file(&source).map_err(|error| format!("source: {error}"))?;
        let function = Function {
            kind: self.kind.into(),
            code: Code::Source {
                text,
                name: self.attribute.unwrap_or_else(|| name.clone()),
            },
            arguments: schema(self.arguments, "argument"),
            // ClickHouse looks for its answer by this name.
            returns: schema(self.returns, "result"),
            name,
        };
        function.check().map_err(|error| error.to_string())?;
        let sessions = self.sessions.unwrap_or(SESSIONS);
        if sessions == 0 {
            return Err("sessions: at least 1".to_owned());
        }
        Ok(Declared {
            function,
            environment: environment.environment()?,
            options: Options {
                limits: Limits {
                    memory: self.memory.map(|it| it.get()),
                    cpu: self.cpus.map(|it| f64::from(it.millis()) / 1000.0),
                    wall_time_ms: None,
                },
                user: self.user,
                profile: self.profile,
                code_owner: self.code_owner,
                call_timeout: self.timeout.map(|it| it.0),
                skip_nulls: self.skip_nulls,
                ..Options::default()
            },
            sessions,
            warm: self.warm.unwrap_or(0).min(sessions),
        })
    }
}

impl EnvironmentDoc {
    fn environment(&self) -> Result<Environment, String> {
        let interpreter = &self.interpreter;
        if !interpreter.is_absolute() {
            let interpreter = interpreter.display();
            return Err(format!(
                "environment.interpreter: {interpreter} is not absolute"
            ));
        }
        let mut environment = Environment::of(interpreter);
        if let Some(modules) = &self.modules {
            environment.modules.clone_from(modules);
        }
        Ok(environment)
    }
}

impl From<KindDoc> for Kind {
    fn from(kind: KindDoc) -> Self {
        match kind {
            KindDoc::Scalar => Self::Scalar,
            KindDoc::Pandas => Self::Pandas,
            KindDoc::Rows => Self::Rows,
            KindDoc::Table => Self::Table,
        }
    }
}

fn schema(columns: Vec<Column>, otherwise: &str) -> SchemaRef {
    let one = columns.len() == 1;
    let fields = columns.into_iter().enumerate().map(|(index, column)| {
        let numbered = || match one {
            true => otherwise.to_owned(),
            false => format!("{otherwise}{index}"),
        };
        Field::new(column.name.unwrap_or_else(numbered), column.kind, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[environment]
interpreter = "/usr/bin/python3"

[[function]]
name = "gcd"
source = "gcd.py"
kind = "rows"
arguments = ["x int32", "y int32"]
returns = ["int32"]
memory = "256MiB"
timeout = "5s"

[[function]]
name = "series"
source = "gcd.py"
attribute = "other"
kind = "table"
arguments = ["int32"]
returns = ["at timestamp(us, UTC)", "value decimal128(10, 2)"]
"#;

    fn read_text(text: &str) -> Result<Vec<Declared>, FunctionsError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gcd.py"), "def gcd(x, y): ...").unwrap();
        let path = folder.path().join("functions.toml");
        fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn functions_are_read_as_they_are_declared() {
        let found = read_text(GOOD).unwrap();
        let [gcd, series] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(gcd.function.kind, Kind::Rows);
        assert_eq!(gcd.function.arguments.field(1).name(), "y");
        assert_eq!(gcd.options.limits.memory, Some(256 << 20));
        assert_eq!(gcd.options.call_timeout, Some(Duration::from_secs(5)));
        let code = Code::Source {
            text: "def gcd(x, y): ...".to_owned(),
            name: "other".to_owned(),
        };
        assert_eq!(series.function.code, code);
        assert_eq!(series.function.returns.field(1).name(), "value");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (good, bad, line, words) in [
            (
                "returns = [\"int32\"]",
                "returns = [\"int\"]",
                "line 10",
                "no type",
            ),
            (
                "kind = \"rows\"",
                "kind = \"row\"",
                "line 8",
                "unknown variant",
            ),
            ("timeout", "time_out", "line 12", "unknown field"),
            ("256MiB", "lots", "line 11", ""),
            ("name = \"series\"", "name = \"gcd\"", ":15:", "another"),
            ("\"gcd.py\"", "\"none.py\"", ":6:", "none.py"),
            ("\"/usr/bin/python3\"", "\"python3\"", ":6:", "not absolute"),
            (
                "returns = [\"int32\"]",
                "returns = [\"int8\", \"int8\"]",
                ":6:",
                "one column",
            ),
        ] {
            let error = read_text(&GOOD.replacen(good, bad, 1))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(line) && error.contains(words),
                "{bad}: {error}"
            );
        }
    }
}
