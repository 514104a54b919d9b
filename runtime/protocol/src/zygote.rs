//! A zygote: an interpreter that has imported a base environment and waits to be forked.

use serde::{Deserialize, Serialize};

use crate::task::ResourceKind;

/// The name under which the init's program is a zygote until it becomes the interpreter.
pub const ZYGOTE: &str = "lakekeep-zygote";

/// What a zygote is, and how it is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZygoteSpec {
    /// The interpreter, a Python of 3.9 or later: absolute, in its sandbox's root.
    pub interpreter: Vec<u8>,
    /// What it imports, in this order.
    pub modules: Vec<Vec<u8>>,
    /// `NAME=value`, no NUL inside.
    pub environment: Vec<Vec<u8>>,
    /// User and group id inside.
    pub user: u32,
    /// Resource limits: kind and value, soft and hard alike.
    pub limits: Vec<(ResourceKind, u64)>,
    /// Raised score for the out-of-memory killer.
    pub oom_score_adj: i16,
    /// Its seccomp filter, 8 bytes an instruction, on top of which a task has its own.
    pub filter: Vec<u8>,
}
