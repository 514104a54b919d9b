//! What carries egress: a network whose every destination is caught, and the relay.

use std::path::PathBuf;

use lakekeep_plan::host::HostFacts;
use lakekeep_sys::error::{Context, Error};
use lakekeep_sys::net;
use rustix::io::Errno;

use super::{Check, Surroundings, as_root};

/// What is lost without it.
const EFFECT: &str = "egress: no sandbox with rules of egress can be made; others have no network";

/// What came of making a network as a sandbox with rules has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capture {
    /// It was made, and is gone again.
    Made,
    /// Only root makes one without a user namespace around it.
    Untried,
    /// The kernel refused.
    Refused {
        /// What, on what, and why.
        words: String,
        /// The same, as errno(3) has it.
        errno: i32,
    },
}

impl Capture {
    /// Makes one and lets it go, in a thread of its own: none of this process's is ever in it.
    /// The kernel loads the modules that it needs and has.
    pub(super) fn try_out() -> Self {
        let tried = std::thread::spawn(|| {
            let network = net::make().context("unshare", "a network namespace")?;
            net::capture(&network).map(drop)
        });
        match tried.join() {
            Ok(Ok(())) => Self::Made,
            Ok(Err(error)) => Self::refused(&error),
            // It panicked, and said so.
            Err(_) => Self::Untried,
        }
    }

    fn refused(error: &Error) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        match error.errno {
            Errno::PERM if !is_root => Self::Untried,
            errno => Self::Refused {
                words: format!("{error}: {errno}"),
                errno: errno.raw_os_error(),
            },
        }
    }
}

pub(super) fn network(facts: &HostFacts, around: &Surroundings) -> Check {
    let name = "egress_network";
    match &around.capture {
        Capture::Made => Check::ok(name, "nf_tables with tproxy: made and taken down again"),
        Capture::Untried => Check::ok(name, "not tried: run the doctor as root to try it"),
        Capture::Refused { words, errno } => {
            let remedy = match Errno::from_raw_os_error(*errno) {
                Errno::NOENT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
                    "printf 'nf_tables\\nnft_tproxy\\n' > /etc/modules-load.d/lakekeep.conf \
                     && modprobe -a nf_tables nft_tproxy"
                }
                Errno::NOSPC => "sysctl user.max_net_namespaces=10000",
                _ => "dmesg | grep -i -e denied -e avc  # which security policy refuses",
            };
            Check::degraded(name, words, EFFECT, as_root(facts, remedy))
        }
    }
}

pub(super) fn relay(facts: &HostFacts, around: &Surroundings) -> Check {
    let name = "egress_relay";
    match &around.relay {
        Some(path) => Check::ok(name, path.display().to_string()),
        None => {
            let folder = around
                .executable
                .as_deref()
                .and_then(std::path::Path::parent);
            let folder = folder.map_or_else(|| PathBuf::from("/usr/local/bin"), PathBuf::from);
            let remedy = format!("install -m 0755 lakekeep-relay {}/", folder.display());
            Check::degraded(
                name,
                "not beside this program",
                EFFECT,
                as_root(facts, &remedy),
            )
        }
    }
}
