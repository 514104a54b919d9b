//! Documents of images: indexes, manifests, configurations (OCI image-spec 1.1; Docker's schema 2),
//! read from bytes that anybody may have made. Pure: it opens nothing.
//!
//! Fields that are not known are passed over, as the specification demands. Known ones are checked:
//! number and length of what is listed, digests, media types, and that a document is not two kinds at
//! once (CVE-2021-41190).

mod config;
mod descriptor;
mod document;
mod error;
mod media;
mod reference;

pub use config::{Config, Settings, Startup};
pub use descriptor::{Descriptor, Platform};
pub use document::{Index, Manifest};
pub use error::DocumentError;
pub use media::MediaType;
pub use reference::{NotAReference, Reference, Version};

/// Bytes of an index, a manifest or a configuration: what registries take too (distribution-spec,
/// "Pushing Manifests": at least 4 MiB).
pub const MAX_DOCUMENT: u64 = 4 << 20;
