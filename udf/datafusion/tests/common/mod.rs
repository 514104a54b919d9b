//! Who makes workers for a test: plain processes of the real worker, and sandboxes where
//! `LAKEKEEP_BIN` names a lakekeep of this source. `LAKEKEEP_TESTS_PYTHON` names a Python with
//! pyarrow and cloudpickle; `/usr/bin/python3` else. Without one these tests are skipped, and
//! say so, or fail where `LAKEKEEP_TESTS_REQUIRE` has `datafusion`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};
use lakekeep_datafusion::Sandboxed;
use lakekeep_udf_client::{Broker, Code, Environment, Function, Kind};

/// Where functions run in a test.
pub struct Maker {
    broker: Arc<Broker>,
    environment: Environment,
    /// What a test without sandboxes starts its broker from.
    _folder: Option<tempfile::TempDir>,
}

fn python() -> Option<PathBuf> {
    let named = std::env::var_os("LAKEKEEP_TESTS_PYTHON");
    let python = PathBuf::from(named.unwrap_or_else(|| "/usr/bin/python3".into()));
    let mut asked = Command::new(&python);
    asked.args(["-c", "import cloudpickle, pyarrow"]);
    let found = asked.stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    let python = python.display();
    let required = std::env::var("LAKEKEEP_TESTS_REQUIRE").unwrap_or_default();
    if required
        .split(',')
        .any(|it| matches!(it, "datafusion" | "all"))
    {
        panic!("{python} has no pyarrow, and LAKEKEEP_TESTS_REQUIRE asks for it");
    }
    eprintln!("SKIP: {python} has no pyarrow; set LAKEKEEP_TESTS_PYTHON");
    None
}

/// A program that is called as `lakekeep` is, and makes plain processes.
fn bare(python: &Path, folder: &Path) -> PathBuf {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../python/tests/udf/edges/bare_lakekeep.py"
    );
    let program = folder.join("lakekeep");
    let text = format!("#!/bin/sh\nexec {} {script} \"$@\"\n", python.display());
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    program
}

/// All that this host has.
pub fn makers() -> Vec<Maker> {
    let Some(python) = python() else {
        return Vec::new();
    };
    let folder = tempfile::tempdir().unwrap();
    let environment = Environment::of(&python);
    let mut makers = vec![Maker {
        broker: Arc::new(Broker::start(bare(&python, folder.path())).unwrap()),
        environment: environment.clone(),
        _folder: Some(folder),
    }];
    if let Some(lakekeep) = std::env::var_os("LAKEKEEP_BIN") {
        let broker = Arc::new(Broker::start(PathBuf::from(lakekeep)).unwrap());
        makers.push(Maker {
            broker,
            environment,
            _folder: None,
        });
    }
    makers
}

/// Columns, which may be null.
pub fn columns(fields: &[(&str, DataType)]) -> SchemaRef {
    let fields = fields.iter();
    let fields = fields.map(|(name, kind)| Field::new(*name, kind.clone(), true));
    Schema::new(fields.collect::<Vec<_>>()).into()
}

impl Maker {
    /// The function `name` of a module, of numbers to numbers.
    pub fn numbers(&self, name: &str, kind: Kind, text: &str) -> Sandboxed {
        let one = columns(&[("x", DataType::Int64)]);
        self.of((name, kind, text), (one.clone(), one))
    }

    /// The function `name` of a module.
    pub fn of(
        &self,
        (name, kind, text): (&str, Kind, &str),
        (arguments, returns): (SchemaRef, SchemaRef),
    ) -> Sandboxed {
        let function = Function {
            name: name.to_owned(),
            kind,
            code: Code::Source {
                text: text.to_owned(),
                name: name.to_owned(),
            },
            arguments,
            returns,
        };
        Sandboxed::new(self.broker.clone(), self.environment.clone(), function)
    }
}

/// A context with `t(x)`: the numbers 0 to 999 in four partitions, each of some batches.
pub fn context() -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(4)
        .with_batch_size(100);
    let context = SessionContext::new_with_config(config);
    let schema = columns(&[("x", DataType::Int64)]);
    let partition = |from: i64| -> Vec<RecordBatch> {
        let starts = (from..from + 250).step_by(50);
        let batches = starts
            .map(|start| -> ArrayRef { Arc::new(Int64Array::from_iter_values(start..start + 50)) });
        let batches = batches.map(|it| RecordBatch::try_new(schema.clone(), vec![it]).unwrap());
        batches.collect()
    };
    let partitions = (0..1000).step_by(250).map(partition).collect();
    let table = MemTable::try_new(schema.clone(), partitions).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    context
}

/// The rows of a query with one column of numbers, as they come.
pub async fn rows(context: &SessionContext, query: &str) -> Result<Vec<Option<i64>>> {
    let batches = context.sql(query).await?.collect().await?;
    let of = |batch: &RecordBatch| -> Vec<Option<i64>> {
        let column = batch.column(0).as_any().downcast_ref::<Int64Array>();
        column.unwrap().iter().collect()
    };
    Ok(batches.iter().flat_map(of).collect())
}
