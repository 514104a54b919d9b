//! Takes up the environment of a Python interpreter: the client's side.
//!
//! It runs as the client, whose own interpreter it asks where things are ([`ask`]); a
//! manager never does. Then it reads the folders itself: nothing is imported.
//!
//! 1. [`ask`]: executable, versions, `sys.path`.
//! 2. [`capture`]: which folders that is, what is in them, what hashes to what. Files whose
//!    stat says that they are the ones of the last capture are not read ([`StatCache`]).
//! 3. Shared libraries that the extension modules need from elsewhere are looked up as the
//!    dynamic loader does, and recorded.
//!
//! The result is a checked [`Manifest`](lakekeep_environment::Manifest), and for each file
//! in it where its content is ([`Captured::source`]).

mod ask;
mod built;
mod bytecode;
mod cache;
mod capture;
mod distributions;
mod elf;
mod error;
mod hash;
mod loader;
mod roots;
mod walk;

pub use ask::{Answer, PATIENCE, ask, ask_within};
pub use built::Built;
pub use bytecode::{HEADER_BYTES, unchecked};
pub use cache::StatCache;
pub use capture::{Captured, Request, Source, capture};
pub use error::CaptureError;
