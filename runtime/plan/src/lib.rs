//! What will be done, before anything is done: policy × host × image → plan.
//!
//! A [`Plan`] is pure data. This crate performs no I/O, reads no clock and no
//! randomness: the same inputs give the same plan, and golden tests hold whole
//! plans. What cannot be enforced on this host is in the plan as such, with the
//! reason, before a single process is made.

mod error;
mod extend;
pub mod host;
pub mod image;
mod layers;
pub mod oci;
mod planner;
mod proc_view;
mod rootfs;
mod task;
mod text;
mod zygote;

pub use error::PlanError;
pub use extend::Extension;
pub use host::HostFacts;
pub use image::{ImageFacts, MountFacts, Replica, View};
pub use layers::{Enforcement, LayerPlan};
pub use planner::{Command, EgressPlan, Inputs, Plan};
pub use rootfs::{GENERATED_PROC, HOME};
pub use zygote::{Preload, ZygotePlan};
