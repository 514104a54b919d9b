//! A client of a lakekeep manager: sandboxes, the tasks in them, and accounts.
//!
//! | module | is about |
//! |---|---|
//! | `target` | where the manager is, and what shows it who asks |
//! | `client` | the connection; sandboxes |
//! | `build` | what sandboxes and tasks are asked for |
//! | `session` | a task's streams, which outlive connections |
//! | `files`, `follow` | streams of files, events, figures |
//! | `flows` | what left sandboxes and what was refused |
//! | `environments` | environments, sent to the manager |
//! | `accounts` | identities, profiles, variables, the audit log |
//! | `error` | why something failed |
//!
//! ```no_run
//! use lakekeep_client::{Client, Command, Create, Event, Target};
//!
//! # async fn example() -> Result<(), lakekeep_client::ClientError> {
//! let client = Client::connect(Target::unix("/run/lakekeep/lakekeep.sock")).await?;
//! let sandbox = client.create(Create::new().profile("churn")).await?;
//! let mut session = client.exec(Command::new(&sandbox.id, ["wc", "-c"])).await?;
//! session.stdin.write(b"12345").await?;
//! session.stdin.end().await?;
//! while let Some(event) = session.output.next().await? {
//!     match event {
//!         Event::Stdout(bytes) => println!("{}", String::from_utf8_lossy(&bytes)),
//!         Event::Stderr(_) => {}
//!         Event::Ended(end) => println!("exit code {}", end.exit_code),
//!     }
//! }
//! client.kill(&sandbox.id).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It needs a tokio runtime with I/O and time; one thread is enough.

mod accounts;
mod backoff;
mod build;
mod client;
mod environments;
mod error;
mod files;
mod flows;
mod follow;
mod session;
mod target;

pub use build::{Attach, Command, Create};
pub use client::Client;
pub use environments::{Pack, Push, Pushed, Pushing};
pub use error::{Cause, ClientError};
pub use files::{FileReader, FileWriter, WriteFile};
pub use flows::Flows;
pub use follow::{Audit, Events, Samples};
pub use lakekeep_api::{CHUNK, Reason, SOCKET_VARIABLE, v1};
pub use session::{Control, Ending, Event, Output, Session, Stdin};
pub use target::{Target, TargetError, Token};

/// How long a lost connection is tried again where nothing else is said.
pub const RECONNECT_FOR: std::time::Duration = std::time::Duration::from_secs(30);
