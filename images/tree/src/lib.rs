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

mod error;
mod held;
mod make;
mod place;
mod stored;
mod view;

pub use error::TreeError;
pub use held::Held;
pub use make::{Contents, Made, make};
pub use stored::{Environment, Mount, list, open, remove};
