//! Why no plan can be made of a policy on this host.

use lakekeep_policy::Layer;
use lakekeep_seccomp::{ProfileError, ProgramError};

/// A policy that this host, or this image, cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There can be no such zygote.
    #[error("no zygote: {reason}")]
    Zygote {
        /// Why not.
        reason: String,
    },
    /// There is nothing to run.
    #[error("no command; give one after --, as in: lakekeep run -- python3 script.py")]
    NoCommand,
    /// The kernel would refuse the argument list.
    #[error(
        "the arguments and variables take {bytes} bytes, the kernel takes at most {limit}; pass large input through --mount or standard input"
    )]
    ArgumentsTooLong {
        /// Bytes of all strings, their terminators and pointers.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// One string is over the kernel's limit for one (`MAX_ARG_STRLEN`).
    #[error(
        "argument {index} takes {bytes} bytes, the kernel takes at most {limit} in one; pass large input through --mount or standard input"
    )]
    ArgumentTooLong {
        /// Which; 0 is the command itself.
        index: usize,
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A NUL byte cannot be passed to a program.
    #[error("{what} holds a NUL byte, which no program can be given; remove it")]
    NulByte {
        /// Which argument or variable.
        what: String,
    },
    /// A limit that the host cannot give.
    #[error("limits.{limit} is {wanted}, this host has {available}; lower it")]
    BeyondHost {
        /// The limit's field.
        limit: &'static str,
        /// What the policy asks for.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// A layer that the policy requires cannot be enforced.
    #[error(
        "the policy's floor requires {layer}, which cannot be enforced here: {reason}; run `lakekeep doctor`, or take {layer} out of floor.require"
    )]
    FloorUnmet {
        /// The layer.
        layer: Layer,
        /// Why not.
        reason: String,
    },
    /// No sandbox at all can be made.
    #[error(
        "this host gives the caller no user namespace: {reason}; run `lakekeep doctor` for the switch to change, or run as root"
    )]
    NoUserNamespace {
        /// Which switch refuses.
        reason: String,
    },
    /// An image that must not be used.
    #[error(
        "image {image}: {path} is {found}, not a real directory; a runtime would follow it out of the image. Make it a directory or take another image"
    )]
    UnsafeImage {
        /// The folder.
        image: String,
        /// The path inside it.
        path: String,
        /// What it is.
        found: &'static str,
    },
    /// A mount target that is taken, or whose way leads over a link or a file of the image.
    #[error("mount target {target}: {path} is {found}; choose another target")]
    TargetBlocked {
        /// The mount's target.
        target: String,
        /// The component that blocks.
        path: String,
        /// What it is.
        found: &'static str,
    },
    /// The seccomp profile cannot be read.
    #[error("seccomp profile")]
    Profile(#[from] ProfileError),
    /// The seccomp profile cannot be compiled.
    #[error("seccomp filter")]
    Filter(#[from] ProgramError),
    /// No filter exists for this machine.
    #[error("no seccomp tables for {arch}; x86_64 and aarch64 are supported")]
    Architecture {
        /// The machine, as uname(2) names it.
        arch: String,
    },
}
