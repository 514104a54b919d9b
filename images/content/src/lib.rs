//! A content-addressed store: blobs and folders under the digests of what they hold.
//!
//! - A [`Store`] is a folder of one user's. Everything below it is opened from its
//!   descriptor, through no link and never out of it (openat2(2)).
//! - **Blobs** ([`Store::put`], [`Store::open_blob`]) are files. They appear whole, durable and
//!   proven, or not at all: written aside, synced, then renamed. They are proven again when
//!   they are read.
//!   One that comes in pieces ([`Store::resume`]) keeps its beginning when its process is killed.
//! - **Folders** ([`Store::stage`], [`Store::folder`]) are trees, such as unpacked layers. They
//!   are filed under a digest of the caller's choice and carry a seal, the digest of what is in
//!   them ([`Seal`]), against which [`Store::fsck`] holds them.
//! - **Names** ([`Store::set_name`]) lead from a text to a digest.
//! - Whatever is in use is **pinned** ([`Pin`]): a lock of the kernel's, which ends with the process.
//!   What is pinned is not removed.
//!
//! Nothing here knows about OCI or environments.

mod beneath;
mod blob;
mod digest;
mod draft;
mod error;
mod folder;
mod fsck;
mod listing;
mod names;
mod partial;
mod pin;
mod seal;
mod store;
mod tree;

pub use blob::{Blob, Expected};
pub use digest::{Algorithm, Digest, Hasher, Hashing, NotADigest};
pub use error::ContentError;
pub use folder::{Folder, Staging};
pub use fsck::{Damage, FsckReport};
pub use listing::{Kind, Removed, Stored};
pub use names::{Name, NotAName, Space};
pub use partial::Partial;
pub use pin::Pin;
pub use seal::Seal;
pub use store::{Guard, Store};
