//! The controllers that a sandbox needs, and the two versions of a hierarchy.

use std::fmt;

/// A controller that limits or accounts for a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// CPU bandwidth.
    Cpu,
    /// CPU time used (version 1; version 2 counts it in every group).
    Cpuacct,
    /// Which CPUs and memory nodes.
    Cpuset,
    /// Freezing (version 1; version 2 freezes every group).
    Freezer,
    /// Memory and swap.
    Memory,
    /// Number of processes.
    Pids,
}

impl Controller {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 6] = [
        Self::Cpu,
        Self::Cpuacct,
        Self::Cpuset,
        Self::Freezer,
        Self::Memory,
        Self::Pids,
    ];

    /// The kernel's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Cpuset => "cpuset",
            Self::Freezer => "freezer",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// Version 2 has it in every group without its being enabled.
    pub(super) fn built_into_v2(self) -> bool {
        matches!(self, Self::Cpuacct | Self::Freezer)
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The version of one hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller, or for a few together.
    V1,
    /// The unified hierarchy.
    V2,
}
