//! The manager's state, in SQLite.
//!
//! What is acknowledged is on the disk: changes are committed with
//! `synchronous=FULL`. Only [`Store::touch`] is not worth a write to the disk.
//! Rows are what was recorded, not what is: after a start the manager compares
//! them with the kernel ([`Store::reconcile`]).

mod connection;
mod error;
mod history;
mod ids;
mod migrate;
mod page;
mod prune;
mod reconcile;
mod requests;
mod rows;
mod sandboxes;
mod tasks;
mod variables;
mod vocabulary;

pub use connection::Store;
pub use error::StoreError;
pub use history::{Past, PastFilter, PastTask, Record};
pub use page::{LONGEST_PAGE, Page, PageOf};
pub use prune::{Pruned, Retention};
pub use reconcile::{Foreign, ForeignWhy, Found, Lost, LostWhy, Reconciled};
pub use requests::{Inserted, RequestKey};
pub use sandboxes::{Ending, NewSandbox, Sandbox, SandboxFilter};
pub use tasks::{NewTask, Task, TaskEnding, arguments_digest};
pub use variables::{
    Effective, LONGEST_VALUE, Levels, MOST_VARIABLES, NameError, SetVariable, Variable, check_name,
    check_secret_name,
};
pub use vocabulary::{SandboxKind, SandboxState, Scope, TaskState};

pub(crate) use connection::{connect, open, transaction};
pub(crate) use error::Sql;
pub(crate) use migrate::Schema;
pub(crate) use variables::{check_count, check_owner};
