//! User functions of DataFusion's that run in sandboxes: Python code that nobody has to trust,
//! called in SQL like any other function.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use datafusion::arrow::datatypes::{DataType, Field, Schema};
//! use datafusion::prelude::SessionContext;
//! use lakekeep_datafusion::Sandboxed;
//! use lakekeep_udf_client::{Broker, Code, Environment, Function, Kind};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let one = |name| Arc::new(Schema::new(vec![Field::new(name, DataType::Int64, true)]));
//! let double = Function {
//!     name: "double".to_owned(),
//!     kind: Kind::Scalar,
//!     code: Code::Source {
//!         text: "import pyarrow.compute as pc\ndef double(x): return pc.multiply(x, 2)".to_owned(),
//!         name: "double".to_owned(),
//!     },
//!     arguments: one("x"),
//!     returns: one("doubled"),
//! };
//! let broker = Arc::new(Broker::start("/usr/local/bin/lakekeep")?);
//! let environment = Environment::of("/opt/venv/bin/python");
//!
//! let context = SessionContext::new();
//! context.register_udf(Sandboxed::new(broker, environment, double).scalar()?);
//! context.sql("SELECT double(21)").await?.show().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Calls need tokio's runtime, in which DataFusion runs anyway. docs/datafusion.md tells the
//! rest: sessions and partitions, types, cancelling, what is not there.

mod call;
mod error;
mod pool;
mod sandboxed;
mod scalar;
mod table;

pub use error::CallError;
pub use sandboxed::Sandboxed;
