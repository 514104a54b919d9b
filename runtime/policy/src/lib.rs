//! What a sandbox is allowed: policy documents, their validation, the presets
//! they start from, and the trust key that decides who may share a sandbox.
//!
//! The way through this crate has one direction: text becomes a [`PolicyDoc`]
//! (a wire type: public fields, unknown fields refused), and a `PolicyDoc`
//! becomes a [`Policy`] through [`Policy::check`] (private fields; a `Policy`
//! that exists is valid). Nothing here touches the host: no file is read and no
//! path is resolved.
//!
//! ```
//! use lakekeep_policy::{Policy, PolicyDoc};
//!
//! let file = PolicyDoc::from_toml("policy.toml", "version = 1\npreset = \"udf\"\n")?;
//! let mut flags = PolicyDoc::default();
//! flags.limits.memory = Some("256MiB".parse()?);
//! let policy = Policy::check(file.overlay(flags))?;
//! assert_eq!(policy.limits().memory().get(), 256 << 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod canonical;
mod check;
mod document;
mod guest_path;
mod layer;
mod names;
mod policy;
mod preset;
mod show;
mod text;
mod trust_key;
mod units;
mod violation;
mod warning;

pub use check::PROTECTED_TARGETS;
pub use document::{
    DocumentError, EnvDoc, FieldInfo, FloorDoc, LandlockDoc, LimitsDoc, MAX_DOCUMENT_BYTES,
    MountDoc, NetworkDoc, Origin, Place, PolicyDoc, ProcDoc, SCHEMA, SeccompDoc,
};
pub use guest_path::{GuestPath, GuestPathError};
pub use layer::Layer;
pub use names::UnknownName;
pub use policy::{Egress, ImageRef, Limits, MountRule, Policy};
pub use preset::{MountMode, NetworkMode, Preset, ProcView, SeccompProfile};
pub use show::printable;
pub use trust_key::{EmptyTrustKeyPart, TrustKey, TrustKeyParts};
pub use units::{
    Bytes, BytesError, Cpus, CpusError, DurationError, format_duration, parse_duration,
};
pub use violation::{PolicyErrors, Violation};
pub use warning::Warning;

/// The document version that this crate reads and writes.
pub const DOCUMENT_VERSION: u32 = 1;
