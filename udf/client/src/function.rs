//! A user's function as it is declared, and how it is run.

use std::fmt;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};

use crate::UdfError;

pub use lakekeep_udf_packets::Limits;

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Arrays in, one array of as many values out.
    Scalar,
    /// As [`Kind::Scalar`], with pandas' Series.
    Pandas,
    /// Values in, a row at a time; one value out.
    Rows,
    /// Arrays in, one value out.
    Aggregate,
    /// One whole group in, a table out.
    Grouped,
    /// A stream of batches in, a stream of batches out.
    Batches,
    /// The arguments in one row in, a stream of batches out.
    Table,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Scalar,
        Self::Pandas,
        Self::Rows,
        Self::Aggregate,
        Self::Grouped,
        Self::Batches,
        Self::Table,
    ];

    /// Its word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Pandas => "pandas",
            Self::Rows => "rows",
            Self::Aggregate => "aggregate",
            Self::Grouped => "grouped",
            Self::Batches => "batches",
            Self::Table => "table",
        }
    }

    /// Whether it is called with [`Session::stream`](crate::Session::stream).
    #[must_use]
    pub fn streams(self) -> bool {
        matches!(self, Self::Batches | Self::Table)
    }

    /// Whether it answers a table, and not one column.
    #[must_use]
    pub fn tabular(self) -> bool {
        self.streams() || self == Self::Grouped
    }
}

/// What runs; opened in the sandbox, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Code {
    /// A function as cloudpickle has it.
    Pickled(Vec<u8>),
    /// A module of Python, and which of its names is the function.
    Source {
        /// The module.
        text: String,
        /// A name in it.
        name: String,
    },
}

/// A function that can be sent.
#[derive(Debug, Clone)]
pub struct Function {
    /// For people.
    pub name: String,
    /// How it is called.
    pub kind: Kind,
    /// What runs.
    pub code: Code,
    /// The columns of a call.
    pub arguments: SchemaRef,
    /// The columns of an answer; one, for kinds that answer a column.
    pub returns: SchemaRef,
}

/// The Python of a function, and what it has imported before any user's code arrives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Environment {
    /// Absolute; it has pyarrow and cloudpickle.
    pub interpreter: PathBuf,
    /// Names of modules.
    pub modules: Vec<String>,
}

impl Environment {
    /// An interpreter whose workers have imported pyarrow.
    #[must_use]
    pub fn of(interpreter: impl Into<PathBuf>) -> Self {
        Self {
            interpreter: interpreter.into(),
            modules: vec!["pyarrow".to_owned()],
        }
    }
}

/// How a session is run. Its `Debug` tells whether there is a token, and never the token.
#[derive(Clone, PartialEq)]
pub struct Options {
    /// What its sandbox may use.
    pub limits: Limits,
    /// For whom it runs; the engine's own user, when none.
    pub user: Option<String>,
    /// A manager's token that says that one may act for `user`.
    pub delegation: Option<String>,
    /// The profile whose policy holds.
    pub profile: Option<String>,
    /// Who wrote the function, where that is not the user.
    pub code_owner: Option<String>,
    /// The engine's name of its query, for the audit.
    pub query: Option<String>,
    /// Until the sandbox has the function ready; 60 seconds.
    pub open_timeout: Duration,
    /// For each call, and in a stream until the next batch comes back; none: any time.
    pub call_timeout: Option<Duration>,
    /// Most bytes of one answered batch; 256 MiB.
    pub max_bytes: u64,
    /// Most rows of one answered batch; 2^24.
    pub max_rows: u64,
    /// Calls that [`Session::map`](crate::Session::map) sends before the first is answered;
    /// 4. At least 1.
    pub ahead: usize,
    /// For which both ends look for what comes next before they sleep, while it keeps coming
    /// that soon; 250 µs, at most a second. Nobody looks where there is one processor, where
    /// the sandbox may have less than one, or where this is zero.
    pub look: Duration,
    /// For [`Kind::Rows`]: no call where an argument is null; the answer is null.
    pub skip_nulls: bool,
    /// For [`Kind::Grouped`]: the group is a `DataFrame`.
    pub pandas: bool,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart whole, so that no field that comes later is forgotten, or shown unasked.
        let Self {
            limits,
            user,
            delegation,
            profile,
            code_owner,
            query,
            open_timeout,
            call_timeout,
            max_bytes,
            max_rows,
            ahead,
            look,
            skip_nulls,
            pandas,
        } = self;
        let delegation = delegation.as_ref().map(|_| format_args!("(hidden)"));
        f.debug_struct("Options")
            .field("limits", limits)
            .field("user", user)
            .field("delegation", &delegation)
            .field("profile", profile)
            .field("code_owner", code_owner)
            .field("query", query)
            .field("open_timeout", open_timeout)
            .field("call_timeout", call_timeout)
            .field("max_bytes", max_bytes)
            .field("max_rows", max_rows)
            .field("ahead", ahead)
            .field("look", look)
            .field("skip_nulls", skip_nulls)
            .field("pandas", pandas)
            .finish()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            user: None,
            delegation: None,
            profile: None,
            code_owner: None,
            query: None,
            open_timeout: Duration::from_secs(60),
            call_timeout: None,
            max_bytes: 256 << 20,
            max_rows: 1 << 24,
            ahead: 4,
            // Longer than to wake the other end and hear of it: so one that looks alone is paid.
            look: Duration::from_micros(250),
            skip_nulls: false,
            pandas: false,
        }
    }
}

/// The longest that an end may look.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

impl Options {
    /// Whether a session can be run so.
    ///
    /// # Errors
    /// [`UdfError::BadFunction`], which names the option.
    pub fn check(&self) -> Result<(), UdfError> {
        if self.look > LONGEST_LOOK {
            let (look, most) = (self.look, LONGEST_LOOK);
            return Err(UdfError::BadFunction(format!(
                "the option look is {look:?}; {most:?} are allowed"
            )));
        }
        Ok(())
    }

    /// The time of looking; zero where whoever looks would be in the way of whoever answers,
    /// or use up what the sandbox may have.
    pub(crate) fn looking(&self) -> Duration {
        // Where that is not known, there may be one.
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let scarce = self.limits.cpu.is_some_and(|cpu| cpu < 1.0);
        match processors < 2 || scarce {
            true => Duration::ZERO,
            false => self.look,
        }
    }
}

impl Function {
    /// Whether it can be sent as declared.
    ///
    /// # Errors
    /// [`UdfError::BadFunction`], which names the field.
    pub fn check(&self) -> Result<(), UdfError> {
        for (what, schema) in [("argument", &self.arguments), ("result", &self.returns)] {
            for field in schema.fields() {
                plain(field).map_err(|kind| self.bad(what, field, kind))?;
            }
        }
        if !self.kind.tabular() && self.returns.fields().len() != 1 {
            let (name, kind, count) = (&self.name, self.kind.word(), self.returns.fields().len());
            return Err(UdfError::BadFunction(format!(
                "{name}: a function of kind {kind} returns one column, not {count}"
            )));
        }
        Ok(())
    }

    fn bad(&self, what: &str, field: &Field, kind: &DataType) -> UdfError {
        UdfError::BadFunction(format!(
            "{}: {what} {}: values of type {kind} are not sent; declare what they stand for",
            self.name,
            field.name()
        ))
    }
}

/// Which type of a field's cannot be sent: those by which one value could stand for many.
fn plain(field: &Field) -> Result<(), &DataType> {
    match field.data_type() {
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::FixedSizeList(inner, _)
        | DataType::Map(inner, _) => plain(inner),
        DataType::Struct(inner) => inner.iter().try_for_each(|field| plain(field)),
        kind @ (DataType::Dictionary(..)
        | DataType::RunEndEncoded(..)
        | DataType::Union(..)
        | DataType::Utf8View
        | DataType::BinaryView
        | DataType::ListView(_)
        | DataType::LargeListView(_)) => Err(kind),
        _ => Ok(()),
    }
}

/// A schema as it is sent, and as the answers' is: without metadata, which could make its
/// values extensions. Whoever has one with metadata compares it with this.
#[must_use]
pub fn bare(schema: &Schema) -> SchemaRef {
    Schema::new(bare_fields(schema.fields())).into()
}

fn bare_fields(fields: &Fields) -> Fields {
    fields.iter().map(|field| bare_field(field)).collect()
}

fn bare_field(field: &Field) -> Field {
    let inner = |field: &Field| bare_field(field).into();
    let kind = match field.data_type() {
        DataType::List(of) => DataType::List(inner(of)),
        DataType::LargeList(of) => DataType::LargeList(inner(of)),
        DataType::FixedSizeList(of, size) => DataType::FixedSizeList(inner(of), *size),
        DataType::Map(of, sorted) => DataType::Map(inner(of), *sorted),
        DataType::Struct(of) => DataType::Struct(bare_fields(of)),
        other => other.clone(),
    };
    Field::new(field.name(), kind, field.is_nullable())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(kind: Kind, returns: Vec<Field>) -> Function {
        Function {
            name: "f".to_owned(),
            kind,
            code: Code::Pickled(Vec::new()),
            arguments: Schema::empty().into(),
            returns: Schema::new(returns).into(),
        }
    }

    #[test]
    fn what_stands_for_something_else_is_refused_with_its_field() {
        let kind = DataType::Dictionary(DataType::Int8.into(), DataType::Utf8.into());
        let inner = Field::new("inner", kind, true);
        let list = Field::new("outer", DataType::List(inner.into()), true);
        let error = function(Kind::Scalar, vec![list]).check().unwrap_err();
        assert!(matches!(error, UdfError::BadFunction(_)));
        assert!(error.to_string().contains("result outer"), "{error}");
    }

    #[test]
    fn a_token_is_never_printed() {
        let options = Options {
            user: Some("ada".to_owned()),
            delegation: Some("eyJhbGciOi".to_owned()),
            ..Options::default()
        };
        for printed in [format!("{options:?}"), format!("{options:#?}")] {
            assert!(!printed.contains("eyJ"), "{printed}");
            assert!(printed.contains("(hidden)"), "{printed}");
            assert!(printed.contains("ada"), "{printed}");
        }
        let none = format!("{:?}", Options::default());
        assert!(none.contains("delegation: None"), "{none}");
    }

    #[test]
    fn a_look_has_a_bound_and_is_none_where_processors_are_scarce() {
        let mut options = Options::default();
        assert!(options.check().is_ok());
        options.limits.cpu = Some(0.5);
        assert_eq!(options.looking(), Duration::ZERO);
        options.look = Duration::from_millis(1001);
        let error = options.check().unwrap_err();
        assert!(error.to_string().contains("look"), "{error}");
    }

    #[test]
    fn a_column_is_one() {
        let two = || {
            vec![
                Field::new("a", DataType::Int8, true),
                Field::new("b", DataType::Int8, true),
            ]
        };
        assert!(function(Kind::Rows, two()).check().is_err());
        assert!(function(Kind::Grouped, two()).check().is_ok());
    }

    #[test]
    fn metadata_is_not_sent_however_deep() {
        let extension = [("ARROW:extension:name".to_owned(), "x".to_owned())];
        let deep = Field::new("deep", DataType::Utf8, true).with_metadata(extension.into());
        let schema = Schema::new(vec![Field::new(
            "a",
            DataType::Struct(vec![deep].into()),
            true,
        )]);
        let found = bare(&schema);
        assert!(!format!("{found:?}").contains("extension"), "{found:?}");
        assert_eq!(found.field(0).name(), "a");
    }
}
