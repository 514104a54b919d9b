//! Who makes the sandboxes: a child process `lakekeep udf-broker`, or whoever listens on a
//! socket. It is asked for one sandbox a session and is not on the way of the data.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lakekeep_udf_packets::Open;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::UdfError;
use crate::channel::timespec;
use crate::function::{Environment, Function, Options};
use crate::link::{Link, borrowed};
use crate::opening::{Asked, Opening};
use crate::output::Output;
use crate::session::Session;

/// Asked for on both ends of a session; the kernel grants what `net.core.wmem_max` allows.
const SOCKET_BUFFER: usize = 1 << 20;

/// How long a broker may take to end when its socket is closed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes sessions; for any thread. All of them end when it is dropped.
#[derive(Debug)]
pub struct Broker {
    from: Origin,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
enum Origin {
    /// A program that is started when there is none, and again when it has ended.
    Program(PathBuf),
    /// A socket of somebody else's.
    Socket(PathBuf),
}

#[derive(Debug)]
struct Running {
    link: Arc<Link>,
    listener: Option<JoinHandle<()>>,
    child: Option<Child>,
}

impl Broker {
    /// Starts `program` (the binary `lakekeep`) as a child, which ends with this process.
    ///
    /// # Errors
    /// [`UdfError::Unavailable`]: it cannot be run.
    pub fn start(program: impl AsRef<Path>) -> Result<Self, UdfError> {
        Self::made(Origin::Program(program.as_ref().to_owned()))
    }

    /// Asks whoever listens on the socket at `path`, of type SOCK_SEQPACKET.
    ///
    /// # Errors
    /// [`UdfError::Unavailable`]: nobody does.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, UdfError> {
        Self::made(Origin::Socket(path.as_ref().to_owned()))
    }

    fn made(from: Origin) -> Result<Self, UdfError> {
        let running = Mutex::new(Some(from.reach()?));
        Ok(Self { from, running })
    }

    /// A sandbox with a worker that has the function ready.
    ///
    /// # Errors
    /// [`UdfError::BadFunction`], [`UdfError::Unavailable`], [`UdfError::TimedOut`], or what
    /// became of the worker meanwhile.
    pub fn open(
        &self,
        environment: &Environment,
        function: &Function,
        options: Options,
    ) -> Result<Session, UdfError> {
        self.begin(environment, function, options)?.finish()
    }

    /// As [`Broker::open`], for those who want to end it before the function is ready: opening
    /// it runs the user's code.
    ///
    /// # Errors
    /// As [`Broker::ask`] and [`Asked::begin`].
    pub fn begin(
        &self,
        environment: &Environment,
        function: &Function,
        options: Options,
    ) -> Result<Opening, UdfError> {
        self.ask(environment, function, options)?.begin()
    }

    /// As [`Broker::begin`], for those who want to end it before there is a sandbox: it may
    /// have to wait for what an environment imports. Returns at once.
    ///
    /// # Errors
    /// [`UdfError::BadFunction`]: it cannot be sent as declared, or an option is out of its
    /// range. [`UdfError::Unavailable`]: there is nobody to be asked.
    pub fn ask(
        &self,
        environment: &Environment,
        function: &Function,
        options: Options,
    ) -> Result<Asked, UdfError> {
        function.check()?;
        options.check()?;
        let link = self.link()?;
        let (ours, theirs) = pair()?;
        let mut output = Output::default();
        let mut pipe = || {
            output
                .pipe()
                .map_err(|errno| no_descriptor("a pipe", errno))
        };
        let given = [theirs, pipe()?, pipe()?];
        let request = Open {
            number: 0,
            interpreter: environment.interpreter.clone(),
            environment: None,
            modules: environment.modules.clone(),
            limits: options.limits.clone(),
            kind: Some(function.kind.word().to_owned()),
            user: options.user.clone(),
            delegation: options.delegation.clone(),
            profile: options.profile.clone(),
            code_owner: options.code_owner.clone(),
            query: options.query.clone(),
        };
        let lease = link.ask(request, &borrowed(&given))?;
        // The worker's ends are the worker's alone, or its death would not be noticed.
        drop(given);
        let session = Session::of((ours, output), lease, function, &options);
        Ok(Asked::new(session, function.clone(), options))
    }

    /// The broker; a new one, where a program's has ended.
    fn link(&self) -> Result<Arc<Link>, UdfError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(it) = running.as_ref().filter(|it| !it.link.lost()) {
            return Ok(it.link.clone());
        }
        // The old one is ended before the next begins.
        running.take();
        let link = &running.insert(self.from.reach()?).link;
        Ok(link.clone())
    }
}

impl Origin {
    fn reach(&self) -> Result<Running, UdfError> {
        match self {
            Self::Program(program) => {
                let (ours, theirs) = pair()?;
                let child = spawn(program, theirs)?;
                Running::listen(ours, Some(child))
            }
            Self::Socket(path) => Running::listen(connected(path)?, None),
        }
    }
}

fn spawn(program: &Path, control: OwnedFd) -> Result<Child, UdfError> {
    Command::new(program)
        .args(["udf-broker", "--control", "0"])
        .stdin(control)
        // Standard output may be what the engine answers on.
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| {
            UdfError::unavailable(
                format!("{} cannot be run: {error}", program.display()),
                "install the binary lakekeep, with lakekeep-launcher beside it, and name it",
            )
        })
}

fn connected(path: &Path) -> Result<OwnedFd, UdfError> {
    let failed = |errno: rustix::io::Errno| {
        UdfError::unavailable(
            format!("the socket {}: {errno}", path.display()),
            "start who serves it, or name another",
        )
    };
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(failed)?;
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    rustix::net::connect(&socket, &address).map_err(failed)?;
    Ok(socket)
}

impl Running {
    fn listen(control: OwnedFd, child: Option<Child>) -> Result<Self, UdfError> {
        let mut running = Self {
            link: Link::new(control),
            listener: None,
            child,
        };
        let link = running.link.clone();
        let thread = std::thread::Builder::new().name("lakekeep-udf".to_owned());
        let listener = thread.spawn(move || link.listen()).map_err(|error| {
            UdfError::unavailable(format!("starting a thread: {error}"), "end some threads")
        })?;
        running.listener = Some(listener);
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.link.shut();
        if let Some(listener) = self.listener.take() {
            // It panicked, or it did not: it is over.
            listener.join().ok();
        }
        if let Some(child) = &mut self.child {
            reap(child);
        }
    }
}

/// Its socket is closed, so it ends by itself; if it does not, it is ended.
fn reap(child: &mut Child) {
    if !ends(child) {
        child.kill().ok();
    }
    child.wait().ok();
}

fn ends(child: &Child) -> bool {
    let Some(pid) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    else {
        return false;
    };
    let flags = rustix::process::PidfdFlags::empty();
    let Ok(pidfd) = rustix::process::pidfd_open(pid, flags) else {
        return false;
    };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&timespec(PATIENCE))), Ok(1))
}

/// Two ends of a session's socket, or of a control socket.
fn pair() -> Result<(OwnedFd, OwnedFd), UdfError> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let pair = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.map_err(|errno| no_descriptor("a socket", errno))?;
    for end in [&ours, &theirs] {
        // Less room only means more waiting.
        rustix::net::sockopt::set_socket_send_buffer_size(end, SOCKET_BUFFER).ok();
    }
    Ok((ours, theirs))
}

fn no_descriptor(what: &str, errno: rustix::io::Errno) -> UdfError {
    UdfError::unavailable(
        format!("making {what}: {errno}"),
        "close sessions, or raise the limit of open files",
    )
}
