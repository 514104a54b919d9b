//! User functions for an engine in Rust: each session is one function in one sandbox, record
//! batches in and out. Blocking, without an asynchronous runtime; one thread at a time for
//! each session, as many sessions as wanted.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use arrow_array::{Int64Array, RecordBatch};
//! use arrow_schema::{DataType, Field, Schema};
//! use lakekeep_udf_client::{Broker, Code, Environment, Function, Kind, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let arguments = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)]));
//! let function = Function {
//!     name: "double".to_owned(),
//!     kind: Kind::Scalar,
//!     code: Code::Source {
//!         text: "import pyarrow.compute as pc\ndef double(x): return pc.multiply(x, 2)".to_owned(),
//!         name: "double".to_owned(),
//!     },
//!     arguments: arguments.clone(),
//!     returns: arguments.clone(),
//! };
//! let broker = Broker::start("/usr/local/bin/lakekeep")?;
//! let environment = Environment::of("/usr/bin/python3");
//! let mut session = broker.open(&environment, &function, Options::default())?;
//! let batch = RecordBatch::try_new(arguments, vec![Arc::new(Int64Array::from(vec![1, 2]))])?;
//! let doubled = session.call(&batch)?;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing that a worker answers is believed: see [`check`]. docs/udf-wire.md is the contract
//! of the wire, docs/udf.md tells who talks to whom.

mod aside;
mod broker;
mod channel;
pub mod check;
pub mod encode;
mod error;
mod explain;
mod function;
mod link;
mod look;
mod opening;
mod outgoing;
mod output;
mod session;
mod stream;
mod told;
mod wire;

pub use broker::Broker;
pub use error::{Crash, Raised, UdfError};
pub use function::{Code, Environment, Function, Kind, Limits, Options, bare};
pub use lakekeep_udf_packets::Verdict;
pub use link::End;
pub use opening::{Asked, Opening};
pub use session::{Canceller, Map, Session};
pub use stream::{Input, Results, Stream};
