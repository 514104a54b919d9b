//! Image layers into folders.
//!
//! A layer is somebody else's archive: every byte of it is hostile until proven otherwise. [`unpack`]
//! reads one, once, from front to back:
//!
//! 1. decompression, within [`Limits`]: bytes, and how many come out of one;
//! 2. the archive ([`archive`]): only what one reading of it allows. Where tar's dialects can
//!    be read in two ways, or where an entry says something twice, it is refused: two readers that
//!    disagree are how one check is passed and another thing done (CVE-2025-62518);
//! 3. the names ([`path`]): below the root, no longer and no deeper than allowed;
//! 4. the files: made by descriptor, parents through no link (`openat2(2)`), nothing ever replaced;
//! 5. the digest of all that was decompressed, the layer's diff ID.
//!
//! What an image could do with owners, set-user-ID bits, capabilities and devices is not kept:
//! everything belongs to who unpacks, and the process needs no right for it. [`merge`] lays unpacked
//! layers over each other into one tree of hard links.

pub mod archive;
mod blocks;
mod compression;
mod error;
mod header;
mod layer;
mod limits;
mod merge;
pub mod path;
mod pax;
mod writer;

pub use compression::Decompressed;
pub use error::{MergeError, Refusal, UnpackError};
pub use layer::{Unpacked, unpack};
pub use limits::Limits;
pub use merge::merge;
