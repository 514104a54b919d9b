//! A launcher, as its manager sees it.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lakekeep_plan::{HostFacts, Plan, ZygotePlan};
use lakekeep_protocol::facts::GroupUsageFacts;
use lakekeep_protocol::{Channel, LauncherReply, LauncherRequest};
use lakekeep_sys::{Errno, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::egress::Relay;
use crate::error::SandboxError;
use crate::sandbox::Sandbox;

/// How long a launcher may take over one request. libcontainer waits for its
/// children without a bound; a launcher that hangs is ended, and the next one
/// sweeps what it left.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A process group apart: what a terminal sends to the caller's (an interrupt, the end of
/// the line) must not end a launcher before it has cleaned up.
const OWN_GROUP: i32 = 0;

/// Puts what will be started into such a group.
pub(crate) fn own_group(command: &mut Command) -> &mut Command {
    command.process_group(OWN_GROUP)
}

/// Most of a launcher's last words that are kept, bytes.
const WORDS: u64 = 4096;

/// A running launcher. Dropped, it destroys its sandboxes and ends.
#[derive(Debug)]
pub struct Launcher {
    /// The socket to the init of a zygote's sandbox, if there is one: it ends without.
    zygote: Option<OwnedFd>,
    channel: Option<Channel<LauncherRequest, LauncherReply>>,
    child: Child,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Launcher {
    /// Starts a launcher for this caller.
    ///
    /// # Errors
    /// `NoLauncher` when its program is not installed beside this one.
    pub fn start(host: &HostFacts) -> Result<Self, SandboxError> {
        let (program, arguments) = (find()?, arguments(host));
        let (ours, theirs) = socket::pair().map_err(SandboxError::kernel("socketpair"))?;
        let child = Self::run(&program, &arguments, theirs)?;
        Ok(Self {
            zygote: None,
            channel: Some(Channel::new(ours).of_answers()),
            child,
            program,
            arguments,
        })
    }

    /// The same, for one who keeps many sandboxes: its socket and its process.
    pub(crate) fn start_service(host: &HostFacts) -> Result<(OwnedFd, Child), SandboxError> {
        let (ours, theirs) = socket::pair().map_err(SandboxError::kernel("socketpair"))?;
        let child = Self::run(&find()?, &arguments(host), theirs)?;
        Ok((ours, child))
    }

    fn run(program: &Path, arguments: &[String], socket: OwnedFd) -> Result<Child, SandboxError> {
        Command::new(program)
            .args(arguments)
            // Nothing of the caller's environment reaches a privileged process.
            .env_clear()
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(OWN_GROUP)
            .spawn()
            .map_err(|error| SandboxError::StartLauncher {
                program: program.display().to_string(),
                error,
            })
    }

    /// Makes the plan's sandbox, and has a relay carry what may leave it. The launcher serves
    /// this one alone.
    ///
    /// # Errors
    /// Of the step that failed: everything before it was undone.
    pub fn create(mut self, plan: Plan) -> Result<Sandbox, SandboxError> {
        // Gets ready while the launcher works.
        let relay = plan.egress.as_ref().map(|_| Relay::start()).transpose()?;
        let (ours, theirs) = socket::pair().map_err(SandboxError::kernel("socketpair"))?;
        let request = LauncherRequest::Create(Box::new(plan.sandbox.clone()));
        let (created, mut descriptors) = match self.ask(&request, &[theirs.as_fd()])? {
            (LauncherReply::Created(created), descriptors) => (created, descriptors),
            (LauncherReply::Failed(failure), _) => {
                return Err(SandboxError::launch(&failure, &plan));
            }
            _ => return Err(SandboxError::OutOfTurn { peer: "launcher" }),
        };
        drop(theirs);
        if descriptors.is_empty() {
            return Err(SandboxError::OutOfTurn { peer: "launcher" });
        }
        let pidfd = descriptors.remove(0);
        let relay = match (relay, &plan.egress) {
            (Some(relay), Some(egress)) => Some(relay.serve(&plan, egress, &descriptors)?),
            _ => None,
        };
        // The relay has its copies; ours would keep its sockets open when it dies.
        drop(descriptors);
        let init = Channel::new(ours).of_answers();
        let mut sandbox = Sandbox::new(self, plan, *created, init, pidfd)?;
        sandbox.relay = relay;
        Ok(sandbox)
    }

    /// Makes the plan's sandbox, the task of which is then forked from a zygote
    /// ([`Sandbox::make_ready`]), which serves this one alone: to try that way.
    ///
    /// # Errors
    /// Of either sandbox. What the zygote says goes to `output`.
    pub fn create_forked(
        mut self,
        mut plan: Plan,
        planned: &ZygotePlan,
        output: BorrowedFd<'_>,
    ) -> Result<Sandbox, SandboxError> {
        let (ours, theirs) = socket::pair().map_err(SandboxError::kernel("socketpair"))?;
        let sandbox = &planned.plan.sandbox;
        let requests = [
            (
                LauncherRequest::Create(Box::new(sandbox.clone())),
                theirs.as_fd(),
            ),
            (
                LauncherRequest::Zygote {
                    id: sandbox.id.clone(),
                    spec: Box::new(planned.spec.clone()),
                },
                output,
            ),
        ];
        for (request, descriptor) in &requests {
            if let (LauncherReply::Failed(failure), _) = self.ask(request, &[*descriptor])? {
                return Err(SandboxError::launch(&failure, &planned.plan));
            }
        }
        self.zygote = Some(ours);
        plan.fork_from(&sandbox.id);
        self.create(plan)
    }

    /// Destroys a sandbox and says what it used.
    pub(crate) fn destroy(&mut self, plan: &Plan) -> Result<GroupUsageFacts, SandboxError> {
        let id = plan.sandbox.id.clone();
        match self.ask(&LauncherRequest::Destroy { id }, &[])? {
            (LauncherReply::Destroyed { usage }, _) => Ok(usage),
            (LauncherReply::Failed(failure), _) => Err(SandboxError::launch(&failure, plan)),
            _ => Err(SandboxError::OutOfTurn { peer: "launcher" }),
        }
    }

    fn ask(
        &mut self,
        request: &LauncherRequest,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(LauncherReply, Vec<OwnedFd>), SandboxError> {
        let Some(channel) = &self.channel else {
            return Err(SandboxError::LauncherEnded {
                words: String::new(),
            });
        };
        if channel.send(request, descriptors).is_err() {
            return Err(self.ended());
        }
        if !readable(channel.as_fd(), PATIENCE)? {
            return Err(self.silent());
        }
        match channel.receive()? {
            Some(reply) => Ok(reply),
            None => Err(self.ended()),
        }
    }

    /// What a launcher that closed its socket had to say.
    pub(crate) fn ended(&mut self) -> SandboxError {
        self.channel = None;
        let mut words = String::new();
        if let Some(stderr) = self.child.stderr.take()
            && stderr.take(WORDS).read_to_string(&mut words).is_err()
        {
            words.push_str("(its last words are not text)");
        }
        self.sweep();
        SandboxError::LauncherEnded { words }
    }

    fn silent(&mut self) -> SandboxError {
        self.channel = None;
        if self.child.kill().is_ok() {
            self.sweep();
        }
        SandboxError::LauncherSilent {
            seconds: PATIENCE.as_secs(),
        }
    }

    /// Removes what a dead launcher left, by the sweep with which every launcher
    /// starts: one is started on a closed socket.
    fn sweep(&mut self) {
        let waited = self.child.wait();
        let Ok((ours, theirs)) = socket::pair() else {
            return;
        };
        drop(ours);
        let swept = Self::run(&self.program, &self.arguments, theirs)
            .map(|mut sweeper| sweeper.wait().is_ok());
        // Nothing more can be done here; the next start sweeps again.
        debug_assert!(waited.is_ok() && swept.is_ok());
    }
}

impl AsFd for Launcher {
    /// Becomes readable when the launcher ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.channel {
            Some(channel) => channel.as_fd(),
            None => rustix::stdio::stdin(),
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Closing the socket is what tells it to destroy everything and end.
        self.channel = None;
        if self.child.wait().is_err() {
            // It was waited for already, after it had ended by itself.
        }
    }
}

/// The folder in which launchers keep their state: `LAKEKEEP_STATE_DIR`, or
/// `/run/lakekeep` for root, or the user's runtime folder.
#[must_use]
pub fn state_directory(host: &HostFacts) -> PathBuf {
    if let Some(path) = std::env::var_os("LAKEKEEP_STATE_DIR") {
        return PathBuf::from(path);
    }
    if host.is_host_root() {
        return PathBuf::from("/run/lakekeep");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) => Path::new(&runtime).join("lakekeep"),
        None => PathBuf::from(format!("/tmp/lakekeep-{}", host.caller.euid)),
    }
}

/// The command that starts a launcher behind `listener` ([`crate::service::listen`]),
/// and its twin on a closed socket, which removes what dead launchers left and ends.
///
/// # Errors
/// `NoLauncher` when its program is not installed beside this one.
pub fn service_command(
    host: &HostFacts,
    state: &Path,
    socket: OwnedFd,
) -> Result<Command, SandboxError> {
    let mut words = arguments(host);
    if let Some(first) = words.first_mut() {
        *first = state.display().to_string();
    }
    let mut command = Command::new(find()?);
    command
        .args(words)
        .env_clear()
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .process_group(OWN_GROUP);
    Ok(command)
}

fn find() -> Result<PathBuf, SandboxError> {
    beside("lakekeep-launcher")
}

/// A program that is installed with this one.
pub(crate) fn beside(program: &'static str) -> Result<PathBuf, SandboxError> {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().unwrap_or(Path::new("/")).to_path_buf();
    let places = [
        beside.join(program),
        beside.join("../libexec/lakekeep").join(program),
    ];
    let found = places.into_iter().find(|path| path.is_file());
    found.ok_or(SandboxError::NoLauncher {
        program,
        beside: beside.display().to_string(),
    })
}

fn arguments(host: &HostFacts) -> Vec<String> {
    let mut arguments = vec![state_directory(host).display().to_string()];
    if let Some(ids) = &host.subordinate
        && host.task_user() != 0
        && let (Some(users), Some(groups)) = (&ids.newuidmap, &ids.newgidmap)
    {
        arguments.push(ids.uid_start.to_string());
        arguments.push(ids.gid_start.to_string());
        arguments.push(users.display().to_string());
        arguments.push(groups.display().to_string());
    }
    arguments
}

/// Whether something can be read before `patience` is over.
pub(crate) fn readable(fd: BorrowedFd<'_>, patience: Duration) -> Result<bool, SandboxError> {
    let timeout =
        Timespec::try_from(patience).map_err(|_| SandboxError::OutOfTurn { peer: "clock" })?;
    loop {
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(SandboxError::kernel("poll")(errno)),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}
