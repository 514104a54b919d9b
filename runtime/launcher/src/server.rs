//! The launcher's loop: one request, one reply.
//!
//! Started on a connected socket it serves that manager alone, and ends with it.
//! Started on a listening socket it is a service: it serves one manager after the
//! other, and between two of them holds what the first one kept.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use lakekeep_protocol::launch::{
    HeldSandbox, LaunchStep, MAX_KEPT, MAX_LISTED, MAX_SLOTS, SandboxSpec,
};
use lakekeep_protocol::{Channel, LauncherReply, LauncherRequest, ProtocolError};
use lakekeep_sys::error::Context;
use lakekeep_sys::process;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags};
use rustix::process::Pid;

use crate::cgroups::Groups;
use crate::error::{Failed, StartError};
use crate::ids::Leases;
use crate::provisions::Provisions;
use crate::sandbox::{Given, Sandbox, Workshop};
use crate::state::State;
use crate::{check, quota, strays};

/// Above stdin, stdout and stderr.
const FIRST_OWN_FD: i32 = 3;

/// Most sandboxes of one launcher.
const MAX_SANDBOXES: usize = 4096;

/// How long after a service's start it sweeps again: it is started when another was killed,
/// whose processes may hold its lock for a moment longer, and nobody else comes by.
const SWEEPS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// Our end of the socket to the manager.
pub type Manager = Channel<LauncherReply, LauncherRequest>;

/// Where requests come from.
#[derive(Debug)]
pub enum Post {
    /// The one manager that there will be.
    Manager(Manager),
    /// The next manager connects here.
    Listener(OwnedFd),
}

impl Post {
    /// Waits until there is something to do: a manager's first request, or, for a
    /// service, nothing but to be ready. `false` when the manager has gone without a word.
    pub fn speaks(&self) -> Result<bool, Errno> {
        let Self::Manager(manager) = self else {
            return Ok(true);
        };
        loop {
            // Looked at and left there, its descriptors too.
            match rustix::net::recv(manager, &mut [0], RecvFlags::PEEK) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(false),
                other => return other.map(|(length, _)| length > 0),
            }
        }
    }
}

/// A launcher at work. Dropped, it destroys every sandbox before its state.
#[derive(Debug)]
pub struct Server {
    sandboxes: BTreeMap<String, Sandbox>,
    leases: Leases,
    program: Rc<OwnedFd>,
    /// The first sandbox's, if there was none yet.
    network: Option<OwnedFd>,
    privileged: bool,
    groups: Groups,
    state: State,
    began: Instant,
    /// How many of the sweeps that it owes it has made.
    swept: usize,
}

/// A reply and the descriptors that go with it.
type Answer = Result<(LauncherReply, Vec<OwnedFd>), Failed>;

/// Takes the socket that is standard input, and leaves /dev/null there.
pub fn post() -> Result<Post, StartError> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST_OWN_FD)
        .map_err(StartError::NoChannel)?;
    let listens =
        rustix::net::sockopt::socket_acceptconn(&socket).map_err(StartError::NoChannel)?;
    let null = std::fs::File::open("/dev/null").context("open", "/dev/null")?;
    process::place_at(null.as_fd(), 0).context("dup2", "standard input")?;
    Ok(match listens {
        true => Post::Listener(socket),
        false => Post::Manager(Channel::new(socket)),
    })
}

impl Server {
    pub fn new(
        provisions: Provisions,
        state: State,
        groups: Groups,
        privileged: bool,
    ) -> Result<Self, StartError> {
        Ok(Self {
            sandboxes: BTreeMap::new(),
            leases: Leases::open(state.root())?,
            program: Rc::new(provisions.program),
            network: provisions.network,
            privileged,
            groups,
            state,
            began: Instant::now(),
            swept: 0,
        })
    }

    /// Serves until there will be no other manager, and in any case destroys what
    /// is left.
    pub fn serve(mut self, post: &Post) -> Result<(), StartError> {
        let served = match post {
            Post::Manager(manager) => {
                self.swept = SWEEPS.len();
                self.answer_all(manager)
            }
            Post::Listener(listener) => self.answer_each(listener),
        };
        self.end_all_but(|_| false);
        let swept = self.groups.end(self.state.name());
        served?;
        Ok(swept?)
    }

    /// Serves one manager after the other. A manager that cannot be understood, or
    /// that is gone, costs its own sandboxes and no other's.
    fn answer_each(&mut self, listener: &OwnedFd) -> Result<(), StartError> {
        loop {
            self.wait(listener.as_fd())?;
            let socket = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                other => other.context("accept", "manager")?,
            };
            let manager = Channel::new(socket);
            match self.answer_all(&manager) {
                Ok(()) | Err(StartError::Protocol(_)) => {}
                Err(other) => return Err(other),
            }
            self.end_all_but(Sandbox::is_kept);
        }
    }

    fn end_all_but(&mut self, stays: impl Fn(&Sandbox) -> bool) {
        self.sandboxes.retain(|_, sandbox| {
            let stays = stays(sandbox);
            if !stays && sandbox.thaw().is_err() {
                // Its init is then killed and not waited for in vain: the group's
                // removal thaws again, and reports.
            }
            stays
        });
    }

    fn answer_all(&mut self, manager: &Manager) -> Result<(), StartError> {
        loop {
            self.wait(manager.as_fd())?;
            strays::reap();
            let Some((request, descriptors)) = manager.receive()? else {
                return Ok(());
            };
            let (reply, descriptors) = match self.answer(request, descriptors) {
                Ok(answer) => answer,
                Err(failed) => (LauncherReply::Failed(failed.to_wire()), Vec::new()),
            };
            let descriptors: Vec<_> = descriptors.iter().map(OwnedFd::as_fd).collect();
            match manager.send(&reply, &descriptors) {
                Err(ProtocolError::Socket { .. }) => return Ok(()),
                other => other?,
            }
        }
    }

    /// Returns when something is to be heard there, and sweeps meanwhile.
    fn wait(&mut self, voice: BorrowedFd<'_>) -> Result<(), StartError> {
        while let Some(after) = SWEEPS.get(self.swept) {
            let left = after.saturating_sub(self.began.elapsed());
            let patience = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut heard = [PollFd::from_borrowed_fd(voice, PollFlags::IN)];
            match rustix::event::poll(&mut heard, Some(&patience)) {
                Err(Errno::INTR) => {}
                Ok(0) => {
                    self.swept += 1;
                    if let Err(error) = self.state.sweep(&self.groups) {
                        // No sandbox of its own suffers for what is left of another's.
                        eprintln!("lakekeep-launcher: sweeping again: {}", error.chain());
                    }
                }
                other => {
                    return other
                        .map(drop)
                        .context("poll", "manager")
                        .map_err(Into::into);
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, request: LauncherRequest, descriptors: Vec<OwnedFd>) -> Answer {
        match request {
            LauncherRequest::Create(spec) => {
                self.create(&spec, descriptors)?;
                self.describe(&spec.id)
            }
            LauncherRequest::Destroy { id } => self.destroy(&id),
            LauncherRequest::Keep { id, slot } => self.keep(&id, slot, descriptors),
            LauncherRequest::Forget { id, slot } => self.forget(&id, &slot),
            LauncherRequest::List { after } => Ok((self.list(&after), Vec::new())),
            LauncherRequest::Describe { id } => self.describe(&id),
            LauncherRequest::Retrieve { id, slot } => self.retrieve(&id, &slot),
            LauncherRequest::Volume { id, step } => {
                check::step(&step)?;
                let tree = self.find(&id)?.volume(&step)?;
                Ok((LauncherReply::Kept, vec![tree]))
            }
            LauncherRequest::Extend { id, steps } => {
                check::extension(&steps)?;
                let trees = self.find(&id)?.extend(&steps)?;
                Ok((LauncherReply::Kept, trees))
            }
            LauncherRequest::Usage { id } => {
                let usage = self.find(&id)?.usage()?;
                Ok((LauncherReply::Usage(usage), Vec::new()))
            }
            LauncherRequest::Quota { folder, bytes } => {
                check::folder(&folder)?;
                let facts = quota::bound(&folder, bytes)?;
                Ok((LauncherReply::Quota(facts), Vec::new()))
            }
            LauncherRequest::Zygote { id, spec } => {
                check::zygote(&spec)?;
                let program = Rc::clone(&self.program);
                let output: Result<[OwnedFd; 1], _> = descriptors.try_into();
                let [output] = output.map_err(|_| {
                    Failed::refused(LaunchStep::Check, "a zygote needs exactly one descriptor")
                })?;
                self.find(&id)?.start_zygote(&program, &spec, &output)?;
                Ok((LauncherReply::Done, Vec::new()))
            }
            LauncherRequest::Freeze { id, frozen } => {
                self.find(&id)?.freeze(frozen)?;
                Ok((LauncherReply::Done, Vec::new()))
            }
        }
    }

    fn find(&mut self, id: &str) -> Result<&mut Sandbox, Failed> {
        self.sandboxes.get_mut(id).ok_or_else(unknown)
    }

    fn describe(&mut self, id: &str) -> Answer {
        let sandbox = self.find(id)?;
        let mut descriptors = vec![copy(sandbox.pidfd())?];
        if let Some(captured) = sandbox.captured() {
            descriptors.extend([captured.tcp, captured.udp]);
        }
        let created = Box::new(sandbox.created().clone());
        Ok((LauncherReply::Created(created), descriptors))
    }

    fn keep(&mut self, id: &str, slot: String, descriptors: Vec<OwnedFd>) -> Answer {
        let refuse = |detail: &str| Failed::refused(LaunchStep::Keep, detail);
        check::identifier(&slot)?;
        if !(1..=MAX_KEPT).contains(&descriptors.len()) {
            return Err(refuse("a slot keeps 1 to 4 descriptors"));
        }
        let kept = self.find(id)?.kept();
        if kept.len() >= MAX_SLOTS && !kept.contains_key(&slot) {
            return Err(refuse("as many slots as one sandbox may have"));
        }
        kept.insert(slot, descriptors);
        Ok((LauncherReply::Done, Vec::new()))
    }

    fn forget(&mut self, id: &str, slot: &str) -> Answer {
        let none = || Failed::refused(LaunchStep::Keep, "nothing of this name is kept");
        self.find(id)?.kept().remove(slot).ok_or_else(none)?;
        Ok((LauncherReply::Done, Vec::new()))
    }

    fn retrieve(&mut self, id: &str, slot: &str) -> Answer {
        let none = || Failed::refused(LaunchStep::Keep, "nothing of this name is kept");
        let kept = self.find(id)?.kept().get(slot).ok_or_else(none)?;
        let copies = kept.iter().map(copy).collect::<Result<_, _>>()?;
        Ok((LauncherReply::Kept, copies))
    }

    fn list(&self, after: &str) -> LauncherReply {
        let later = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let held = self
            .sandboxes
            .range::<str, _>(later)
            .take(MAX_LISTED)
            .map(|(id, sandbox)| HeldSandbox {
                id: id.clone(),
                slots: sandbox.slots(),
            });
        LauncherReply::Sandboxes(held.collect())
    }

    fn create(&mut self, spec: &SandboxSpec, descriptors: Vec<OwnedFd>) -> Result<(), Failed> {
        let refuse = |detail: &str| Failed::refused(LaunchStep::Check, detail);
        check::sandbox(spec, self.privileged)?;
        let [channel]: [OwnedFd; 1] = descriptors
            .try_into()
            .map_err(|_| refuse("a creation needs exactly one descriptor"))?;
        if self.sandboxes.contains_key(&spec.id) {
            return Err(refuse("a sandbox of this identifier lives"));
        }
        if self.sandboxes.len() >= MAX_SANDBOXES {
            return Err(refuse("this launcher has as many sandboxes as it may"));
        }
        let nest = match &spec.zygote {
            Some(zygote) => {
                let none = |_| Failed::refused(LaunchStep::Zygote, "its sandbox has ended");
                Some(self.find(zygote).map_err(none)?.nest()?)
            }
            None => None,
        };
        let inits: Vec<Pid> = self.sandboxes.values().map(Sandbox::pid).collect();
        let workshop = Workshop {
            inits: &inits,
            state: &self.state,
            groups: &self.groups,
            program: &self.program,
        };
        let given = Given {
            channel,
            network: match nest {
                Some(_) => None,
                None => self.network.take(),
            },
            nest,
        };
        let sandbox = Sandbox::create(&workshop, &mut self.leases, spec, given)?;
        self.sandboxes.insert(spec.id.clone(), sandbox);
        Ok(())
    }

    fn destroy(&mut self, id: &str) -> Answer {
        let sandbox = self.sandboxes.remove(id).ok_or_else(unknown)?;
        let usage = sandbox.destroy()?;
        Ok((LauncherReply::Destroyed { usage }, Vec::new()))
    }
}

fn unknown() -> Failed {
    Failed::refused(LaunchStep::Find, "no sandbox of this identifier")
}

fn copy(fd: &OwnedFd) -> Result<OwnedFd, Failed> {
    rustix::io::fcntl_dupfd_cloexec(fd, FIRST_OWN_FD)
        .map_err(|errno| Failed::errno(LaunchStep::Keep, errno))
}
