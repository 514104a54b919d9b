//! The images of a store.
//!
//! A [`Library`] keeps images by name: [`Library::load`] takes them from OCI layouts and from
//! the archives of `docker save`, proves every digest, unpacks each layer once (under its diff ID) and
//! lays the layers of an image over each other as one tree of hard links. A sandbox is given that tree,
//! read-only ([`Library::root`]); it stays while somebody holds it.
//!
//! [`Library::collect`] removes what has not been used for long, and what nothing leads to; never what
//! is in use.

mod archive;
mod collect;
mod error;
mod layout;
mod library;
mod load;
mod rights;
mod rootfs;

pub use collect::{Collected, Keep};
pub use error::ImageError;
pub use library::{Image, Library, Listed};
pub use load::{Layer, Loaded, Source};
pub use rights::{give_up_rights, store_place};
