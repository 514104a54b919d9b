//! A client's replicated environment: its interpreter, libraries and modules, named by
//! content, and the difference between two of them.
//!
//! A [`Manifest`] says which files an environment has, where on the client they were, and
//! what their contents hash to. Its text form is canonical: one environment has one text,
//! and the text's BLAKE3 is the environment's name ([`Digest`]). A manifest comes from a
//! stranger, so [`Manifest::parse`] is the only way in, also for what this machine captured
//! itself ([`Draft::finish`] writes, then parses).
//!
//! Nothing here touches a file.

mod compiled;
mod digest;
mod drift;
mod holdings;
mod manifest;

pub use compiled::{Compiled, MAX_COMPILED_BYTES, NotCompiled};
pub use digest::{Digest, DigestError};
pub use drift::{Difference, drift};
pub use holdings::{Challenge, Holdings, NotTaken};
pub use manifest::{
    Distribution, Draft, Entry, FileNode, HEADER, Interpreter, Library, MAX_ENTRIES,
    MAX_MANIFEST_BYTES, MAX_TOTAL_BYTES, MAX_TREES, Manifest, ManifestError, Node, Rejection,
    RootFile, SearchPath, Tree, check_root,
};
