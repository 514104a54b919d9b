//! Launchers that outlive their manager, and what a manager needs to keep many
//! sandboxes: the parts of [`crate::Sandbox`] and [`crate::Task`], to be held and
//! waited for in its own way.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use lakekeep_plan::Plan;
use lakekeep_protocol::facts::{GroupUsageFacts, QuotaFacts, TaskFacts};
use lakekeep_protocol::launch::{Created, HeldSandbox, RootfsStep};
use lakekeep_protocol::task::{Exited, TaskFailure};
use lakekeep_protocol::zygote::ZygoteSpec;
use lakekeep_protocol::{Channel, InitReply, InitRequest, LauncherReply, LauncherRequest};
use lakekeep_sys::readback::NamespaceIds;
use lakekeep_sys::{Errno, socket};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::egress::Traffic;
use crate::error::SandboxError;
use crate::launcher::{PATIENCE, readable};
use crate::receipt::{self, Receipt};
use crate::task::{Interference, Outcome};
use crate::verdict;

/// The slot in which a sandbox's init socket is kept.
pub const INIT_SLOT: &str = "init";

/// The slot in which the two sockets are kept at which everything arrives that a sandbox with
/// rules of egress sends.
pub const EGRESS_SLOT: &str = "egress";

/// The manager's end of an init's socket.
pub type Init = Channel<InitRequest, InitReply>;

/// A connection to a launcher that listens.
#[derive(Debug)]
pub struct Service {
    channel: Channel<LauncherRequest, LauncherReply>,
}

/// A sandbox as it came from a launcher.
#[derive(Debug)]
pub struct Held {
    /// As read back when it was made.
    pub created: Created,
    /// The socket to its init.
    pub init: Init,
    /// Becomes readable when its init ends.
    pub pidfd: OwnedFd,
    /// Of one with rules of egress, which was made just now: where its TCP arrives, and its
    /// questions for names. For a relay; nothing leaves without one.
    pub egress: Option<[OwnedFd; 2]>,
}

/// What is known of a task at its end.
#[derive(Debug)]
pub struct End<'a> {
    /// The plan that it was started by.
    pub plan: &'a Plan,
    /// Its sandbox, as read back.
    pub created: &'a Created,
    /// The task, as read back.
    pub facts: &'a TaskFacts,
    /// What the init says of its end.
    pub exited: &'a Exited,
    /// What its sandbox's cgroups counted while it ran.
    pub group: &'a GroupUsageFacts,
    /// What its manager did to it.
    pub interference: Interference,
    /// How long it ran.
    pub wall: Duration,
}

/// Makes the socket on which a launcher shall listen.
///
/// The same for a relay's.
///
/// # Errors
/// Of socket(2), bind(2) and listen(2).
pub fn listen(path: &Path) -> Result<OwnedFd, SandboxError> {
    let failed = SandboxError::kernel("listen for a manager");
    let socket = packet_socket().map_err(&failed)?;
    let address = SocketAddrUnix::new(path).map_err(&failed)?;
    rustix::net::bind(&socket, &address).map_err(&failed)?;
    // One manager is served, the next one waits until it is gone.
    rustix::net::listen(&socket, 8).map_err(&failed)?;
    Ok(socket)
}

/// Connects to whoever listens at `path`.
///
/// # Errors
/// Of socket(2) and connect(2).
pub fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = packet_socket()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn packet_socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

impl Service {
    /// Connects to the launcher that listens at `path`.
    ///
    /// # Errors
    /// `NoService` when none does.
    pub fn connect(path: &Path) -> Result<Self, SandboxError> {
        let failed = |errno| SandboxError::NoService {
            socket: path.display().to_string(),
            errno,
        };
        Ok(Self::over(connect(path).map_err(failed)?))
    }

    /// Over a socket whose other end a launcher has.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self {
            channel: Channel::new(socket).of_answers(),
        }
    }

    /// Makes the plan's sandbox; its limits are as planned.
    ///
    /// # Errors
    /// Of the step that failed: everything before it was undone. `NotEnforced` when a
    /// limit does not hold: the sandbox is then destroyed.
    pub fn create(&self, plan: &Plan) -> Result<Held, SandboxError> {
        let (ours, theirs) = socket::pair().map_err(SandboxError::kernel("socketpair"))?;
        let request = LauncherRequest::Create(Box::new(plan.sandbox.clone()));
        let held = match self.ask(&request, &[theirs.as_fd()])? {
            (LauncherReply::Created(created), descriptors) => {
                let mut descriptors = descriptors.into_iter();
                let pidfd = descriptors.next().ok_or_else(out_of_turn)?;
                let sockets: Option<[OwnedFd; 2]> = descriptors.collect::<Vec<_>>().try_into().ok();
                if sockets.is_some() != plan.sandbox.egress {
                    return Err(out_of_turn());
                }
                Held {
                    created: *created,
                    init: Channel::new(ours).of_answers(),
                    pidfd,
                    egress: sockets,
                }
            }
            (LauncherReply::Failed(failure), _) => {
                return Err(SandboxError::launch(&failure, plan));
            }
            _ => return Err(out_of_turn()),
        };
        drop(theirs);
        if let Err(broken) = receipt::check_limits(plan, &held.created) {
            self.destroy(&plan.sandbox.id)?;
            return Err(broken);
        }
        Ok(held)
    }

    /// Ends a sandbox, removes all that it was, and says what it used.
    ///
    /// # Errors
    /// When there is none of this identifier, or something of it cannot be removed.
    pub fn destroy(&self, id: &str) -> Result<GroupUsageFacts, SandboxError> {
        let id = id.to_owned();
        match self.answer(&LauncherRequest::Destroy { id }, &[])? {
            (LauncherReply::Destroyed { usage }, _) => Ok(usage),
            _ => Err(out_of_turn()),
        }
    }

    /// Leaves descriptors for a later manager, under a name.
    ///
    /// # Errors
    /// Of the launcher.
    pub fn keep(
        &self,
        id: &str,
        slot: &str,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SandboxError> {
        let (id, slot) = (id.to_owned(), slot.to_owned());
        self.done(&LauncherRequest::Keep { id, slot }, descriptors)
    }

    /// Leaves them no longer.
    ///
    /// # Errors
    /// When nothing of this name is kept.
    pub fn forget(&self, id: &str, slot: &str) -> Result<(), SandboxError> {
        let (id, slot) = (id.to_owned(), slot.to_owned());
        self.done(&LauncherRequest::Forget { id, slot }, &[])
    }

    /// All live sandboxes of this launcher.
    ///
    /// # Errors
    /// Of the launcher.
    pub fn list(&self) -> Result<Vec<HeldSandbox>, SandboxError> {
        let mut all: Vec<HeldSandbox> = Vec::new();
        loop {
            let after = all.last().map(|last| last.id.clone()).unwrap_or_default();
            match self.answer(&LauncherRequest::List { after }, &[])? {
                (LauncherReply::Sandboxes(some), _) if some.is_empty() => return Ok(all),
                (LauncherReply::Sandboxes(some), _) => all.extend(some),
                _ => return Err(out_of_turn()),
            }
        }
    }

    /// Takes over a sandbox that another manager made and kept.
    ///
    /// # Errors
    /// When it is gone, or its init socket was not kept.
    pub fn adopt(&self, id: &str) -> Result<Held, SandboxError> {
        let request = LauncherRequest::Describe { id: id.to_owned() };
        let (created, pidfd) = match self.answer(&request, &[])? {
            (LauncherReply::Created(created), mut descriptors) => {
                (*created, descriptors.pop().ok_or_else(out_of_turn)?)
            }
            _ => return Err(out_of_turn()),
        };
        let init = self
            .retrieve(id, INIT_SLOT)?
            .pop()
            .ok_or_else(out_of_turn)?;
        Ok(Held {
            created,
            init: Channel::new(init).of_answers(),
            pidfd,
            egress: None,
        })
    }

    /// Copies of what was kept under a name.
    ///
    /// # Errors
    /// When nothing was.
    pub fn retrieve(&self, id: &str, slot: &str) -> Result<Vec<OwnedFd>, SandboxError> {
        let (id, slot) = (id.to_owned(), slot.to_owned());
        match self.answer(&LauncherRequest::Retrieve { id, slot }, &[])? {
            (LauncherReply::Kept, descriptors) => Ok(descriptors),
            _ => Err(out_of_turn()),
        }
    }

    /// The tree of one more mount for a running sandbox, for its init to place.
    ///
    /// # Errors
    /// Of the launcher: a source that is not there, owners that cannot be mapped.
    pub fn volume(&self, id: &str, step: RootfsStep) -> Result<OwnedFd, SandboxError> {
        let id = id.to_owned();
        match self.answer(&LauncherRequest::Volume { id, step }, &[])? {
            (LauncherReply::Kept, mut trees) => trees.pop().ok_or_else(out_of_turn),
            _ => Err(out_of_turn()),
        }
    }

    /// Trees for a running sandbox, for its init to show, in the order of the steps that are
    /// mounts; and places for them in its root.
    ///
    /// # Errors
    /// Of the launcher: a source that is not there, a root that is an image's.
    pub fn extend(&self, id: &str, steps: Vec<RootfsStep>) -> Result<Vec<OwnedFd>, SandboxError> {
        let id = id.to_owned();
        match self.answer(&LauncherRequest::Extend { id, steps }, &[])? {
            (LauncherReply::Kept, trees) => Ok(trees),
            _ => Err(out_of_turn()),
        }
    }

    /// Starts the zygote of a sandbox that sets ids aside. What it says, of imports that
    /// fail, goes to `output`.
    ///
    /// # Errors
    /// Of the launcher.
    pub fn start_zygote(
        &self,
        id: &str,
        spec: &ZygoteSpec,
        output: BorrowedFd<'_>,
    ) -> Result<(), SandboxError> {
        let (id, spec) = (id.to_owned(), Box::new(spec.clone()));
        self.done(&LauncherRequest::Zygote { id, spec }, &[output])
    }

    /// What a sandbox uses now.
    ///
    /// # Errors
    /// Of the launcher.
    pub fn usage(&self, id: &str) -> Result<GroupUsageFacts, SandboxError> {
        match self.answer(&LauncherRequest::Usage { id: id.to_owned() }, &[])? {
            (LauncherReply::Usage(usage), _) => Ok(usage),
            _ => Err(out_of_turn()),
        }
    }

    /// Bounds what a volume may use on its disk.
    ///
    /// # Errors
    /// Of the launcher. A file system that cannot is no error.
    pub fn quota(&self, folder: &str, bytes: u64) -> Result<QuotaFacts, SandboxError> {
        let folder = folder.to_owned();
        match self.answer(&LauncherRequest::Quota { folder, bytes }, &[])? {
            (LauncherReply::Quota(facts), _) => Ok(facts),
            _ => Err(out_of_turn()),
        }
    }

    /// Stops all processes of a sandbox where they are, or lets them go on.
    ///
    /// # Errors
    /// Where the host has no freezer, or something cannot be stopped.
    pub fn freeze(&self, id: &str, frozen: bool) -> Result<(), SandboxError> {
        let id = id.to_owned();
        self.done(&LauncherRequest::Freeze { id, frozen }, &[])
    }

    fn done(
        &self,
        request: &LauncherRequest,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SandboxError> {
        match self.answer(request, descriptors)? {
            (LauncherReply::Done, _) => Ok(()),
            _ => Err(out_of_turn()),
        }
    }

    /// Asks, and renders a failure without a plan.
    fn answer(
        &self,
        request: &LauncherRequest,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(LauncherReply, Vec<OwnedFd>), SandboxError> {
        match self.ask(request, descriptors)? {
            (LauncherReply::Failed(failure), _) => Err(SandboxError::request(&failure)),
            answer => Ok(answer),
        }
    }

    fn ask(
        &self,
        request: &LauncherRequest,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(LauncherReply, Vec<OwnedFd>), SandboxError> {
        let ended = || SandboxError::LauncherEnded {
            words: String::new(),
        };
        if self.channel.send(request, descriptors).is_err() {
            return Err(ended());
        }
        if !readable(self.channel.as_fd(), PATIENCE)? {
            return Err(SandboxError::LauncherSilent {
                seconds: PATIENCE.as_secs(),
            });
        }
        self.channel.receive()?.ok_or_else(ended)
    }
}

impl AsFd for Service {
    /// Becomes readable when the launcher ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// Has an init get a task ready that is sealed as the plan's: whoever asks for one that is
/// waits the less.
///
/// # Errors
/// When the init is gone. What cannot be made ready is told to whoever asks for it.
pub fn get_ready(init: &Init, plan: &Plan) -> Result<(), SandboxError> {
    let spec = Box::new(plan.task.clone());
    Ok(init.send(&InitRequest::Prepare { spec }, &[])?)
}

/// Asks an adopted sandbox's init for its tasks. Everything before the answer was
/// meant for the manager that died: ends are in the answer again.
///
/// # Errors
/// When the init is gone or does not answer.
pub fn take_over(init: &Init, nonce: u64) -> Result<(Vec<u32>, VecDeque<Exited>), SandboxError> {
    init.send(&InitRequest::List { nonce }, &[])?;
    loop {
        if !readable(init.as_fd(), PATIENCE)? {
            return Err(SandboxError::SandboxEnded);
        }
        match init.receive()?.ok_or(SandboxError::SandboxEnded)? {
            (
                InitReply::Tasks {
                    nonce: answered,
                    running,
                    ended,
                },
                _,
            ) if answered == nonce => return Ok((running, ended.into())),
            _ => {}
        }
    }
}

/// The outcome of a task that ran.
///
/// # Errors
/// When this process's own namespaces cannot be read.
pub fn outcome(end: &End<'_>) -> Result<Outcome, SandboxError> {
    let receipt = receipt_of(end.plan, end.created, Some(end.facts))?;
    let usage = end.exited.usage;
    Ok(Outcome {
        sandbox: end.plan.sandbox.id.clone(),
        verdict: verdict::of_end(end.plan, end.exited, end.group, end.interference),
        receipt,
        wall_us: crate::task::micros(end.wall),
        cpu_us: usage.cpu_us(),
        memory_peak: end.group.memory_peak.unwrap_or(usage.max_rss),
        refused: end.exited.refused.clone(),
        traffic: None,
    })
}

/// Tells with an outcome what its sandbox sent meanwhile, and in the verdict the first thing
/// that was not let out.
pub fn with_traffic(outcome: &mut Outcome, traffic: Traffic) {
    outcome.verdict = outcome.verdict.clone().mention(Some(&traffic));
    outcome.traffic = Some(traffic);
}

/// The outcome of a task that did not start.
///
/// # Errors
/// For a failure that is no fault of the command: the sandbox is not as it should be.
pub fn failed_outcome(
    plan: &Plan,
    created: &Created,
    failure: &TaskFailure,
) -> Result<Outcome, SandboxError> {
    Ok(Outcome {
        sandbox: plan.sandbox.id.clone(),
        verdict: verdict::of_failure(plan, failure)?,
        receipt: receipt_of(plan, created, None)?,
        wall_us: 0,
        cpu_us: 0,
        memory_peak: 0,
        refused: Vec::new(),
        traffic: None,
    })
}

/// What was enforced, with `task` as read back.
///
/// # Errors
/// When this process's own namespaces cannot be read.
pub fn receipt_of(
    plan: &Plan,
    created: &Created,
    task: Option<&TaskFacts>,
) -> Result<Receipt, SandboxError> {
    Ok(receipt::build(plan, created, &own_namespaces()?, task))
}

/// This process's own, which it keeps.
pub(crate) fn own_namespaces() -> Result<NamespaceIds, SandboxError> {
    static OWN: OnceLock<NamespaceIds> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(*own);
    }
    let own = NamespaceIds::read(Path::new("/proc"), "self")
        .map_err(|error| SandboxError::kernel("stat /proc/self/ns")(error.errno))?;
    Ok(*OWN.get_or_init(|| own))
}

fn out_of_turn() -> SandboxError {
    SandboxError::OutOfTurn { peer: "launcher" }
}
