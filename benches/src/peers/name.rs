//! Who is measured, and how each is called.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};

/// A peer's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Name {
    /// The program itself, isolated from nothing.
    #[value(alias = "fork+exec")]
    Fork,
    /// The kernel's least for a group with limits, and nothing else.
    CgroupFloor,
    /// The same, joined as OCI runtimes do.
    CgroupProcs,
    /// util-linux unshare(1) with seven namespaces.
    Unshare,
    /// bubblewrap with --unshare-all.
    #[value(alias = "bubblewrap")]
    Bwrap,
    Crun,
    Runc,
    Youki,
    /// libcontainer alone, asked for the least: `runtime/launcher/examples/libcontainer.rs`.
    Libcontainer,
    /// podman with --rootfs, through crun or, where crun refuses the host, runc.
    Podman,
    /// gVisor's runsc, which answers the guest's system calls itself.
    #[value(alias = "runsc")]
    Gvisor,
    /// `lakekeep run` as root on the shared root file system.
    Lakekeep,
    /// The same with the host's programs as image.
    LakekeepHost,
    /// The same as an ordinary user.
    LakekeepRootless,
    /// `lakekeep run` while a manager runs.
    Managed,
    /// A new user's sandbox over gRPC, to the first instruction of a task in it.
    ClaimGrpc,
    /// A task in a sandbox that is there, over gRPC, to its end.
    NestedGrpc,
    /// A new user's sandbox of a pool in this process, to the first instruction of a task.
    Claim,
    /// A task in a sandbox that is there, from this process, to its end.
    Nested,
}

impl Name {
    pub const ALL: [Self; 19] = [
        Self::Fork,
        Self::CgroupFloor,
        Self::CgroupProcs,
        Self::Unshare,
        Self::Bwrap,
        Self::Crun,
        Self::Runc,
        Self::Youki,
        Self::Libcontainer,
        Self::Podman,
        Self::Gvisor,
        Self::Lakekeep,
        Self::LakekeepHost,
        Self::LakekeepRootless,
        Self::Managed,
        Self::ClaimGrpc,
        Self::NestedGrpc,
        Self::Claim,
        Self::Nested,
    ];

    /// What is measured: the whole of a cold run, or less.
    pub fn scenario(self) -> &'static str {
        match self {
            Self::Managed => "run-managed",
            Self::ClaimGrpc => "claim-grpc",
            Self::NestedGrpc => "nested-grpc",
            Self::Claim => "claim",
            Self::Nested => "nested",
            _ => "embedded",
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fork => "fork+exec",
            Self::CgroupFloor => "cgroup-floor",
            Self::CgroupProcs => "cgroup-procs",
            Self::Unshare => "unshare",
            Self::Bwrap => "bubblewrap",
            Self::Crun => "crun",
            Self::Runc => "runc",
            Self::Youki => "youki",
            Self::Libcontainer => "libcontainer",
            Self::Podman => "podman",
            Self::Gvisor => "gvisor",
            Self::Lakekeep => "lakekeep",
            Self::LakekeepHost => "lakekeep-host",
            Self::LakekeepRootless => "lakekeep-rootless",
            Self::Managed => "lakekeep-managed",
            Self::ClaimGrpc => "lakekeep-claim-grpc",
            Self::NestedGrpc => "lakekeep-nested-grpc",
            Self::Claim => "lakekeep-claim",
            Self::Nested => "lakekeep-nested",
        }
    }

    /// Whether it is asked of a manager that runs.
    pub fn needs_manager(self) -> bool {
        matches!(self, Self::Managed | Self::ClaimGrpc | Self::NestedGrpc)
    }

    /// Whether it is lakekeep in one of its ways, and not somebody else's program.
    pub fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Lakekeep
                | Self::LakekeepHost
                | Self::LakekeepRootless
                | Self::Managed
                | Self::ClaimGrpc
                | Self::NestedGrpc
                | Self::Claim
                | Self::Nested
        )
    }
}

/// What `--peers` takes: names, and "all".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Whoever is present.
    All,
    One(Name),
}

impl Choice {
    const ALL: [Self; Name::ALL.len() + 1] = {
        let mut all = [Self::All; Name::ALL.len() + 1];
        let mut index = 0;
        while index < Name::ALL.len() {
            all[index + 1] = Self::One(Name::ALL[index]);
            index += 1;
        }
        all
    };

    /// Whether it takes in the peer of this name.
    pub fn takes(self, name: Name) -> bool {
        self == Self::All || self == Self::One(name)
    }
}

impl ValueEnum for Choice {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::All => Some(PossibleValue::new("all").help("Every peer that is present")),
            Self::One(name) => name.to_possible_value(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_among_all_once() {
        for name in Name::value_variants() {
            let count = Name::ALL.iter().filter(|known| *known == name).count();
            assert_eq!(count, 1, "{name:?}");
            assert!(Choice::All.takes(*name) && Choice::One(*name).takes(*name));
        }
        assert!(!Choice::One(Name::Fork).takes(Name::Crun));
    }
}
