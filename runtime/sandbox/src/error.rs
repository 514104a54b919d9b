//! Why a sandbox could not be made, or was lost.

use std::time::Duration;

use lakekeep_plan::{Plan, PlanError};
use lakekeep_protocol::ProtocolError;
use lakekeep_protocol::launch::{Failure, LaunchStep, RootfsStep};
use lakekeep_sys::Errno;

use crate::image::ImageError;

/// A failure of the sandbox itself, never of the code in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The launcher's program is not where it should be.
    #[error(
        "{program} is neither beside {beside} nor in ../libexec/lakekeep; install the programs together"
    )]
    NoLauncher {
        /// Its name: the launcher, or the relay.
        program: &'static str,
        /// This program's folder.
        beside: String,
    },
    /// The launcher could not be started.
    #[error("{program} cannot be started")]
    StartLauncher {
        /// Its path.
        program: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// No launcher listens there.
    #[error("no launcher listens on {socket}; is `lakekeep serve` running?")]
    NoService {
        /// The socket's path.
        socket: String,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// The launcher ended by itself.
    #[error("the launcher ended{}", said(.words))]
    LauncherEnded {
        /// What it wrote on standard error.
        words: String,
    },
    /// The launcher did not answer.
    #[error(
        "the launcher did not answer within {seconds} s and was ended; the host may be overloaded"
    )]
    LauncherSilent {
        /// How long it was waited for.
        seconds: u64,
    },
    /// A step of making the sandbox failed; everything before it was undone.
    #[error("{what} failed{}{remedy}", errno_text(*.errno))]
    Step {
        /// The step, from our own plan.
        what: String,
        /// The kernel's errno, 0 if it had none.
        errno: i32,
        /// More on it, and what to do.
        remedy: String,
    },
    /// Somebody killed a process with which the sandbox was being made; what was made
    /// is undone.
    #[error(
        "{what} was interrupted ({detail}); was it you, or is the host out of memory? Try again"
    )]
    Interrupted {
        /// The step, from our own plan.
        what: String,
        /// By what.
        detail: String,
    },
    /// The relay does not serve: nothing could leave the sandbox.
    #[error("the relay does not carry what may leave the sandbox{reason}")]
    Relay {
        /// What it said, as the end of the sentence.
        reason: String,
    },
    /// A zygote does not serve.
    #[error("the zygote ended or forks nothing that can be believed{}; does its interpreter import what it shall, outside of a sandbox?", said(.words))]
    Zygote {
        /// What it wrote.
        words: String,
        /// It has ended: what it wrote last is why, if it wrote anything.
        ended: bool,
    },
    /// A zygote has not made its imports in its time.
    #[error("the zygote has not made its imports within {} s{}", .patience.as_secs_f64(), said_so_far(.words))]
    ZygoteSilent {
        /// How long it was waited for.
        patience: Duration,
        /// What it wrote meanwhile.
        words: String,
    },
    /// The init ended without saying how the task ended.
    #[error(
        "the sandbox ended before its task: its init was killed, or the host ran out of memory"
    )]
    SandboxEnded,
    /// A task was waited for that does not run.
    #[error("no task {task} runs in this sandbox; was it waited for before?")]
    NoTask {
        /// Its number.
        task: u32,
    },
    /// A peer said something that has no place there.
    #[error("{peer} answered out of turn; this is a bug, please report it")]
    OutOfTurn {
        /// `launcher` or `init`.
        peer: &'static str,
    },
    /// A layer does not hold, although it should.
    #[error(
        "{layer} could not be enforced: {found}; the sandbox was destroyed. Run `lakekeep doctor`"
    )]
    NotEnforced {
        /// The layer.
        layer: &'static str,
        /// What was read back.
        found: String,
    },
    /// A part of an environment is not there, or has no place.
    #[error(transparent)]
    Part(#[from] ImageError),
    /// An environment has no place in this sandbox.
    #[error("the environment cannot be shown in this sandbox; make the sandbox with it")]
    NoPlace(#[source] PlanError),
    /// An init could not show it.
    #[error("showing {}{}", .targets.join(", "), errno_text(*.errno))]
    Show {
        /// Of these places, one.
        targets: Vec<String>,
        /// The kernel's errno.
        errno: i32,
    },
    /// Frames.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// An operation on our own side.
    #[error("{operation}")]
    Kernel {
        /// What was attempted.
        operation: &'static str,
        /// The errno.
        #[source]
        errno: Errno,
    },
}

impl SandboxError {
    /// Wraps an errno of our own side.
    pub(crate) fn kernel(operation: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::Kernel { operation, errno }
    }

    /// Renders a launcher's failure of a request that has no plan.
    pub(crate) fn request(failure: &Failure) -> Self {
        if failure.step == LaunchStep::Find {
            // Made by a launcher that is gone, or ended meanwhile.
            return Self::SandboxEnded;
        }
        let remedy = launch_remedy(failure.step, failure.errno);
        Self::Step {
            what: launch_step(failure.step).to_owned(),
            errno: failure.errno,
            remedy: match failure.detail.as_str() {
                "" => remedy.to_owned(),
                words => format!(" ({words}){remedy}"),
            },
        }
    }

    /// Renders a launcher's failure from our own copy of the plan.
    pub(crate) fn launch(failure: &Failure, plan: &Plan) -> Self {
        if (failure.step, failure.errno) == (LaunchStep::Container, Errno::INTR.raw_os_error()) {
            return Self::Interrupted {
                what: launch_step(failure.step).to_owned(),
                detail: failure.detail.clone(),
            };
        }
        let (what, remedy) = match failure.step {
            LaunchStep::Rootfs(index) => rootfs(index, failure.errno, plan),
            step => (
                launch_step(step).to_owned(),
                launch_remedy(step, failure.errno).to_owned(),
            ),
        };
        let detail = match failure.detail.as_str() {
            "" => String::new(),
            words => format!(" ({words})"),
        };
        Self::Step {
            what,
            errno: failure.errno,
            remedy: format!("{detail}{remedy}"),
        }
    }
}

fn said_so_far(words: &str) -> String {
    match words.trim() {
        "" => String::new(),
        words => format!("; it wrote: {words}"),
    }
}

fn said(words: &str) -> String {
    match words.trim() {
        "" => " without a word".to_owned(),
        words => format!(": {words}"),
    }
}

/// An errno's text, as strerror(3) has it.
pub(crate) fn errno_text(errno: i32) -> String {
    match errno {
        0 => String::new(),
        errno => {
            let text = std::io::Error::from_raw_os_error(errno).to_string();
            let short = text.split(" (os error").next().unwrap_or_default();
            format!(": {short}")
        }
    }
}

fn launch_step(step: LaunchStep) -> &'static str {
    match step {
        LaunchStep::Check => "the launcher's check of the plan",
        LaunchStep::LeaseIds => "taking a range of host ids",
        LaunchStep::StateDirectory => "making the sandbox's folder",
        LaunchStep::Rootfs(_) => "making the root file system",
        LaunchStep::Network => "making the network namespace",
        LaunchStep::Egress => "catching what the sandbox sends",
        LaunchStep::Container => "making the container",
        LaunchStep::ReadBack => "reading the seal back",
        LaunchStep::Start => "starting the init",
        LaunchStep::Destroy => "removing the sandbox",
        LaunchStep::Keep => "keeping descriptors for a later manager",
        LaunchStep::Usage => "reading what the sandbox uses",
        LaunchStep::Freeze => "freezing or thawing the sandbox",
        LaunchStep::Quota => "bounding a volume on its disk",
        LaunchStep::Find => "finding the sandbox",
        LaunchStep::Zygote => "a zygote",
    }
}

fn launch_remedy(step: LaunchStep, errno: i32) -> &'static str {
    const EPERM: i32 = 1;
    const ENOENT: i32 = 2;
    const EOPNOTSUPP: i32 = 95;
    const ENOMEM: i32 = 12;
    const ENOSPC: i32 = 28;
    match (step, errno) {
        (LaunchStep::Container | LaunchStep::Network | LaunchStep::Egress, EPERM) => {
            "; a security policy of the host refuses: run `lakekeep doctor`"
        }
        (LaunchStep::Egress, ENOENT | EOPNOTSUPP) => {
            "; the kernel lacks nf_tables or its tproxy: load nft_tproxy, or leave the rules of egress out"
        }
        (LaunchStep::StateDirectory, ENOSPC) => "; the launcher's tmpfs is full",
        (_, ENOMEM) => "; the host is out of memory",
        (_, ENOSPC) => {
            "; a limit of user namespaces or cgroups is reached: see user.max_*_namespaces"
        }
        _ => "",
    }
}

fn rootfs(index: u16, errno: i32, plan: &Plan) -> (String, String) {
    const ENOENT: i32 = 2;
    const ELOOP: i32 = 40;
    match plan.sandbox.rootfs.get(usize::from(index)) {
        Some(RootfsStep::Bind { source, target, .. }) => {
            let remedy = match errno {
                ENOENT => format!("; does {source} exist, and {target} in the image?"),
                ELOOP => "; a link is in the way: name the real path".to_owned(),
                _ => String::new(),
            };
            (format!("mounting {source} at {target}"), remedy)
        }
        Some(RootfsStep::Image { folder }) => {
            (format!("using {folder} as the image"), String::new())
        }
        Some(
            RootfsStep::Directory { path, .. }
            | RootfsStep::File { path, .. }
            | RootfsStep::Symlink { path, .. },
        ) => (
            format!("making {path} of the root file system"),
            String::new(),
        ),
        None => ("making the root file system".to_owned(), String::new()),
    }
}
