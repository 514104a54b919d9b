//! The public Rust API: make a sandbox, run a task in it, learn how it ended
//! and what was enforced.
//!
//! The stages consume each other: [`lakekeep_policy::PolicyDoc`] → `Policy` →
//! [`lakekeep_plan::Plan`] → [`Sandbox`] → [`Task`] → [`Outcome`]. An invalid
//! order does not compile.
//!
//! ```no_run
//! use lakekeep_plan::Command;
//! use lakekeep_policy::{Policy, PolicyDoc};
//! use lakekeep_sandbox::{Launcher, Stdio, host, plan_for};
//!
//! let facts = host::probe()?;
//! let policy = Policy::check(PolicyDoc::default())?;
//! let command = Command {
//!     arguments: vec![b"/usr/bin/id".to_vec()],
//!     path: "/usr/bin".to_owned(),
//!     ..Command::default()
//! };
//! let plan = plan_for(&policy, &facts, &command, None)?;
//! let sandbox = Launcher::start(&facts)?.create(plan)?;
//! let outcome = sandbox.spawn(Stdio::null()?)?.wait()?;
//! println!("{:?}", outcome.verdict);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod claimed;
pub mod doctor;
mod egress;
mod error;
pub mod host;
mod image;
mod launcher;
pub mod live;
pub mod look;
mod planning;
mod pool;
mod receipt;
mod relay;
mod sandbox;
pub mod service;
mod task;
mod verdict;
mod zygote;

pub use claimed::{Claimed, Job};
pub use egress::{Traffic, relay_command};
pub use error::SandboxError;
pub use image::{Additions, ImageError};
pub use lakekeep_protocol::relay::{FlowKind, FlowReceipt, FlowVerdict};
pub use lakekeep_sys::error::chain;
pub use launcher::{Launcher, service_command, state_directory};
pub use planning::{PlanningError, plan_for, plan_with, zygote_for, zygote_with};
pub use pool::Pool;
pub use receipt::{LayerReceipt, LayerState, Receipt};
pub use relay::{Console, Interaction};
pub use sandbox::Sandbox;
pub use task::{Interference, Outcome, Stdio, Task};
pub use verdict::{Kind, Verdict};
pub use zygote::HeldZygote;
