//! Spark's language-agnostic UDF worker protocol: one process is one worker, each Execute
//! stream of it is a function in a sandbox of its own. docs/udf-spark.md has the rules.
//!
//! | module | |
//! |---|---|
//! | `door` | the Unix socket, and whose connections are taken |
//! | `service` | Execute and Manage, as tonic calls them |
//! | `execute` | drives one stream: channels, back-pressure |
//! | `order` | the rules of a stream, without doing anything |
//! | `asked`, `data` | Init, schemas and batches, checked |
//! | `work` | the session of a stream, in threads of its own |

mod args;
mod asked;
mod data;
mod door;
mod execute;
mod failure;
mod figures;
mod order;
mod serve;
mod service;
mod sessions;
mod work;

pub use args::{SparkArgs, run};

/// The messages and the service of `org.apache.spark.udf.worker`.
#[allow(
    missing_docs,
    clippy::doc_markdown,
    clippy::too_many_lines,
    reason = "generated; the proto file carries the documentation"
)]
mod proto {
    tonic::include_proto!("org.apache.spark.udf.worker");
}
