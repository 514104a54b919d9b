//! Presets and the other small choices of a policy.

use std::time::Duration;

use crate::names::named_enum;
use crate::policy::Limits;
use crate::units::{Bytes, Cpus};

named_enum! {
    /// A starting point: every value that a document leaves out comes from it.
    pub enum Preset as "preset" {
        Udf = "udf", "A function called by a query engine: short, small, the narrowest system calls.";
        Notebook = "notebook", "An interactive kernel: larger, and without a time limit.";
        General = "general", "Any command; the default.";
    }
}

named_enum! {
    /// What may be done with a mount.
    pub enum MountMode as "mount mode" {
        ReadOnly = "ro", "Read only; the default.";
        ReadWrite = "rw", "Read and write: the sandbox changes the host's files.";
    }
}

named_enum! {
    /// Which network there is.
    pub enum NetworkMode as "network mode" {
        None = "none", "No interface at all; the default.";
    }
}

named_enum! {
    /// What of `/proc` can be seen.
    pub enum ProcView as "view of /proc" {
        Pids = "pids", "Only the directories of the sandbox's own processes.";
        Full = "full", "All of it, with the kernel-wide parts that leak or configure masked.";
    }
}

named_enum! {
    /// A seccomp profile; ordered from the narrowest to the widest.
    pub enum SeccompProfile as "seccomp profile" {
        Udf = "udf", "What a language runtime needs to compute on data it is handed.";
        Notebook = "notebook", "Also what interactive kernels and their subprocesses need.";
        General = "general", "Also what build tools and shells need.";
    }
}

impl Preset {
    /// The limits of a document that sets none.
    pub fn limits(self) -> Limits {
        match self {
            Preset::Udf => udf_limits(),
            Preset::Notebook => notebook_limits(),
            Preset::General => general_limits(),
        }
    }

    /// The seccomp profile of a document that names none.
    pub const fn seccomp_profile(self) -> SeccompProfile {
        match self {
            Preset::Udf => SeccompProfile::Udf,
            Preset::Notebook => SeccompProfile::Notebook,
            Preset::General => SeccompProfile::General,
        }
    }

    /// The view of `/proc` of a document that chooses none.
    pub const fn proc_view(self) -> ProcView {
        match self {
            Preset::Udf => ProcView::Pids,
            Preset::Notebook | Preset::General => ProcView::Full,
        }
    }
}

fn udf_limits() -> Limits {
    Limits {
        memory: Bytes::gib(1),
        swap: Bytes::ZERO,
        cpus: Cpus::whole(1),
        pids: 64,
        wall_time: Some(Duration::from_secs(5 * 60)),
        cpu_time: None,
        open_files: 256,
        file_size: Bytes::mib(256),
        scratch_size: Bytes::mib(64),
        scratch_inodes: 4096,
        output: Bytes::mib(1),
    }
}

fn notebook_limits() -> Limits {
    Limits {
        memory: Bytes::gib(4),
        swap: Bytes::ZERO,
        cpus: Cpus::whole(2),
        pids: 512,
        wall_time: None,
        cpu_time: None,
        open_files: 4096,
        file_size: Bytes::gib(4),
        scratch_size: Bytes::gib(1),
        scratch_inodes: 65536,
        output: Bytes::mib(64),
    }
}

fn general_limits() -> Limits {
    Limits {
        memory: Bytes::gib(2),
        swap: Bytes::ZERO,
        cpus: Cpus::whole(1),
        pids: 256,
        wall_time: Some(Duration::from_secs(60 * 60)),
        cpu_time: None,
        open_files: 1024,
        file_size: Bytes::gib(1),
        scratch_size: Bytes::mib(256),
        scratch_inodes: 16384,
        output: Bytes::mib(16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_no_weakening_of_itself() {
        for preset in Preset::ALL {
            assert_eq!(preset.seccomp_profile().as_str(), preset.as_str());
            assert!(preset.limits().scratch_size <= preset.limits().memory);
        }
    }

    #[test]
    fn profiles_are_ordered_by_width() {
        assert!(SeccompProfile::Udf < SeccompProfile::Notebook);
        assert!(SeccompProfile::Notebook < SeccompProfile::General);
    }
}
