//! Environments from lists of packages, as far as that needs no sandbox.
//!
//! `uv` resolves and installs, in sandboxes that somebody else makes. Here is
//!
//! 1. what is to be built: a [`Spec`], read whole and checked before anything runs;
//! 2. where packages may come from: [`Indexes`], and the rules of egress that they need;
//! 3. what uv is asked, step by step: [`Asker`];
//! 4. what of its answer is believed: a [`Lock`], exact versions with hashes and nothing else;
//! 5. where it works: a [`Workplace`], gone when dropped, and found by the next build if its
//!    maker was killed;
//! 6. where the result's things are, which nobody has to be asked for: [`environment`];
//! 7. what a failure means: [`explain`].
//!
//! No package's code runs in this process, and no interpreter that a package could have changed.

mod answer;
mod error;
mod explain;
mod index;
mod lines;
mod lock;
mod program;
mod spec;
mod uv;
mod workplace;

pub use answer::environment;
pub use error::BuildError;
pub use explain::{Failure, explain};
pub use index::{Index, Indexes};
pub use lock::{Lock, Locked, MAX_LOCK_BYTES};
pub use program::uv_program;
pub use spec::{Choice, Kind, Spec, includes};
pub use uv::{Asker, CERTIFICATES, Step, UV, VENV};
pub use workplace::{Workplace, private_folder};
