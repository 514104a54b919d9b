//! Between the manager and a launcher.

use serde::{Deserialize, Serialize};

use crate::facts::{GroupUsageFacts, LimitFacts, ProcessFacts, QuotaFacts};
use crate::zygote::ZygoteSpec;

/// What a manager may ask of a launcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum LauncherRequest {
    /// Make a sandbox. One descriptor: the init's end of its socket.
    Create(Box<SandboxSpec>),
    /// End a sandbox and remove everything that it was.
    Destroy {
        /// The sandbox's identifier.
        id: String,
    },
    /// Hold descriptors for a later manager: 1 to [`MAX_KEPT`] of them, under a name
    /// of their own; those that had it are closed. A sandbox for which something is
    /// kept outlives its manager, where the launcher itself does.
    Keep {
        /// The sandbox's identifier.
        id: String,
        /// `[a-z0-9-]`, at most 64 bytes.
        slot: String,
    },
    /// Hold them no longer.
    Forget {
        /// The sandbox's identifier.
        id: String,
        /// As it was kept.
        slot: String,
    },
    /// Name the sandboxes whose identifiers come after this one, in order.
    List {
        /// Empty: from the first.
        after: String,
    },
    /// Tell of a sandbox what was told when it was created.
    Describe {
        /// The sandbox's identifier.
        id: String,
    },
    /// Give copies of kept descriptors.
    Retrieve {
        /// The sandbox's identifier.
        id: String,
        /// As it was kept.
        slot: String,
    },
    /// Make the tree of one mount for a running sandbox: a [`RootfsStep::Bind`]. The
    /// manager hands it to the sandbox's init to place.
    Volume {
        /// The sandbox's identifier.
        id: String,
        /// What to show, and as whose.
        step: RootfsStep,
    },
    /// Tell what a sandbox uses.
    Usage {
        /// The sandbox's identifier.
        id: String,
    },
    /// Stop all processes of a sandbox where they are, or let them go on.
    Freeze {
        /// The sandbox's identifier.
        id: String,
        /// Stop them.
        frozen: bool,
    },
    /// Start the zygote of a sandbox that sets ids aside ([`SandboxSpec::nursery`]): a
    /// process in the sandbox's namespaces, of which tasks of other sandboxes are forked.
    /// One descriptor: where it writes. Whether its imports succeed is not waited for.
    Zygote {
        /// The sandbox's identifier.
        id: String,
        /// What it is.
        spec: Box<ZygoteSpec>,
    },
    /// Make room in a running sandbox's root for more mounts, and make their trees: first
    /// each [`RootfsStep::Directory`] and [`RootfsStep::File`] that is not there yet, then one
    /// tree for each [`RootfsStep::Bind`], at most [`MAX_TREES`]. The manager hands them to the
    /// sandbox's init to show. A sandbox with an image takes none.
    Extend {
        /// The sandbox's identifier.
        id: String,
        /// In order.
        steps: Vec<RootfsStep>,
    },
    /// Bound what a volume may use on its disk, and read the bound back. It outlives
    /// every sandbox.
    Quota {
        /// A real directory of the host.
        folder: String,
        /// Most bytes of all files in it.
        bytes: u64,
    },
}

/// Most descriptors of one slot.
pub const MAX_KEPT: usize = 4;

/// Most trees of one answer: what travels beside one packet, with room for a large body.
pub const MAX_TREES: usize = 12;

/// Most slots of one sandbox.
pub const MAX_SLOTS: usize = 64;

/// Most sandboxes that one answer names.
pub const MAX_LISTED: usize = 128;

/// What a launcher answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum LauncherReply {
    /// The sandbox exists and its init runs. One descriptor: its pidfd. Where it was asked for
    /// ([`SandboxSpec::egress`]) two more, once: the listener at which all its TCP arrives, and
    /// the socket at which all its UDP to port 53 does.
    Created(Box<Created>),
    /// The sandbox is gone.
    Destroyed {
        /// What it used.
        usage: GroupUsageFacts,
    },
    /// It was kept, forgotten, frozen or thawed.
    Done,
    /// The next sandboxes, at most [`MAX_LISTED`]; none: there are no more.
    Sandboxes(Vec<HeldSandbox>),
    /// The descriptors of a slot, or trees in the order of their steps, beside.
    Kept,
    /// What a sandbox uses.
    Usage(GroupUsageFacts),
    /// What became of a volume's bound.
    Quota(QuotaFacts),
    /// Nothing was done: every effect of the request has been undone.
    Failed(Failure),
}

/// A live sandbox, as a launcher lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSandbox {
    /// Its identifier.
    pub id: String,
    /// The names of what is kept for it.
    pub slots: Vec<String>,
}

/// A created sandbox, as read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// The init as the kernel describes it.
    pub init: ProcessFacts,
    /// First host id of the sandbox's range, and how many.
    pub id_range: (u32, u32),
    /// The limits of its cgroups.
    pub limits: LimitFacts,
    /// Mounts whose owners could not be mapped, by index into `rootfs`.
    pub unmapped_mounts: Vec<u16>,
}

/// Why a request failed: a step of the plan and an errno. The manager renders
/// it from its own copy of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which step.
    pub step: LaunchStep,
    /// The kernel's errno, 0 when there is none.
    pub errno: i32,
    /// libcontainer's or our own words on it, at most [`MAX_DETAIL`] bytes.
    pub detail: String,
}

/// Longest [`Failure::detail`], bytes.
pub const MAX_DETAIL: usize = 512;

/// The launcher's steps, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaunchStep {
    /// The request itself was refused.
    Check,
    /// A range of ids of its own.
    LeaseIds,
    /// The sandbox's private folder.
    StateDirectory,
    /// Step `n` of [`SandboxSpec::rootfs`].
    Rootfs(u16),
    /// The network namespace.
    Network,
    /// Catching what is sent in it.
    Egress,
    /// libcontainer's part.
    Container,
    /// The seal of the init, read back.
    ReadBack,
    /// The start of the init.
    Start,
    /// The removal of a sandbox.
    Destroy,
    /// Keeping descriptors.
    Keep,
    /// Reading what is used.
    Usage,
    /// Stopping or continuing its processes.
    Freeze,
    /// The bound of a volume.
    Quota,
    /// Finding the sandbox that a request is about: there is none, or no more.
    Find,
    /// A zygote, or what a sandbox has of one.
    Zygote,
}

/// Everything that a launcher needs to make one sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// `[a-z0-9-]`, at most 64 bytes; also the name of its cgroup.
    pub id: String,
    /// Its host name.
    pub hostname: String,
    /// Which host ids its users are.
    pub ids: IdSource,
    /// What its root file system is made of, in order.
    pub rootfs: Vec<RootfsStep>,
    /// Its cgroup's limits; `None`: no cgroup of its own can be had.
    pub limits: Option<GroupLimits>,
    /// Capabilities of the init over its own user namespace, as bits.
    pub init_capabilities: u64,
    /// For how many sandboxes it sets ids aside, one after the other: it is to have a
    /// zygote. At most [`MAX_NURSERY`].
    pub nursery: u16,
    /// The sandbox whose zygote its tasks can be forked from; its ids are of those that
    /// were set aside there.
    pub zygote: Option<String>,
    /// Catch what it sends and hand it to a relay; else nothing it sends arrives anywhere.
    pub egress: bool,
}

/// Most sandboxes of one zygote: an id map is written at once, in less than a page
/// (user_namespaces(7)), and a line takes up to 27 of its bytes.
pub const MAX_NURSERY: u16 = 128;

/// Where a sandbox's host ids come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdSource {
    /// A leased range of this many ids, of no other live sandbox.
    Lease {
        /// How many.
        count: u32,
    },
    /// The launcher's own ids, one to one, `0..count`: without root there is
    /// nothing else to give.
    Own {
        /// How many.
        count: u32,
    },
}

/// cgroup limits to set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupLimits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes of swap on top of `memory`.
    pub swap: Option<u64>,
    /// Microseconds per `cpu_period_us`.
    pub cpu_quota_us: Option<u64>,
    /// Microseconds.
    pub cpu_period_us: u64,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// One step of making a root file system. Paths are absolute inside the root;
/// the launcher opens each beneath it without following links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootfsStep {
    /// A directory, root-owned.
    Directory {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link of our own making.
    Symlink {
        /// Where.
        path: String,
        /// What it points to, as seen from inside.
        target: String,
    },
    /// A small generated file.
    File {
        /// Where.
        path: String,
        /// What it holds.
        contents: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// Lays a folder of the host below the skeleton made so far: an image.
    Image {
        /// A real directory of the host.
        folder: String,
    },
    /// Shows a file or folder of the host.
    Bind {
        /// On the host, followed through no link.
        source: String,
        /// Inside.
        target: String,
        /// Nothing on it can be changed.
        read_only: bool,
        /// Programs on it can be run.
        executable: bool,
        /// Show files of one owner as this user's and group's of the sandbox, and
        /// write them as that owner's.
        owner: Option<(u32, u32)>,
        /// That owner on disk; `None`: whoever owns the source itself.
        disk: Option<(u32, u32)>,
    },
}
