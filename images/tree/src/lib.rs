//! Environments in the content store: each a folder under its digest, made once and then
//! mounted read-only.
//!
//! ```text
//! manifest        the manifest's text
//! trees/N/        the manifest's trees, by number
//! files/N         its single files
//! lib/SONAME      its shared libraries
//! ```
//!
//! Every content is hashed while it is written and compared with the manifest, whoever gives
//! it. What another environment of the store has already is linked from there. A folder
//! appears whole or not at all (`lakekeep_content`), and nothing in it is executed here.
//!
//! A manager has a [`Domain`] for each of its users: a store of their own, to which contents are
//! sent ([`send`], [`receive`]).

mod collect;
mod domain;
mod error;
mod inbox;
mod make;
mod neighbours;
mod pack;
mod place;
mod stored;
mod view;

pub use collect::{Collected, collect};
pub use domain::{Arrival, Bounds, Domain};
pub use error::TreeError;
pub use make::{Contents, Made, make};
pub use neighbours::Held;
pub use pack::{receive, send};
pub use stored::{Environment, Mount, list, look, open, pin, remove};
