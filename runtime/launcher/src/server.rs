//! The launcher's loop: one request, one reply.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use lakekeep_protocol::launch::{Created, LaunchStep, SandboxSpec};
use lakekeep_protocol::{Channel, LauncherReply, LauncherRequest};
use lakekeep_sys::error::Context;
use lakekeep_sys::process;
use rustix::process::Pid;

use crate::cgroups::Groups;
use crate::check;
use crate::error::{Failed, StartError};
use crate::ids::Leases;
use crate::provisions::Provisions;
use crate::sandbox::{Given, Sandbox, Workshop};
use crate::state::State;

/// Above stdin, stdout and stderr.
const FIRST_OWN_FD: i32 = 3;

/// Most sandboxes of one launcher.
const MAX_SANDBOXES: usize = 4096;

/// Our end of the socket to the manager.
pub type Manager = Channel<LauncherReply, LauncherRequest>;

/// A launcher at work. Dropped, it destroys every sandbox before its state.
#[derive(Debug)]
pub struct Server {
    sandboxes: BTreeMap<String, Sandbox>,
    manager: Manager,
    leases: Leases,
    program: Rc<OwnedFd>,
    /// The first sandbox's, if there was none yet.
    network: Option<OwnedFd>,
    privileged: bool,
    groups: Groups,
    state: State,
}

/// Takes the socket that is standard input, and leaves /dev/null there.
pub fn channel() -> Result<Manager, StartError> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST_OWN_FD)
        .map_err(StartError::NoChannel)?;
    rustix::net::sockopt::socket_type(&socket).map_err(StartError::NoChannel)?;
    let null = std::fs::File::open("/dev/null").context("open", "/dev/null")?;
    process::place_at(null.as_fd(), 0).context("dup2", "standard input")?;
    Ok(Channel::new(socket))
}

impl Server {
    pub fn new(
        manager: Manager,
        provisions: Provisions,
        state: State,
        groups: Groups,
        privileged: bool,
    ) -> Result<Self, StartError> {
        Ok(Self {
            sandboxes: BTreeMap::new(),
            manager,
            leases: Leases::open(state.root())?,
            program: Rc::new(provisions.program),
            network: provisions.network,
            privileged,
            groups,
            state,
        })
    }

    /// Serves until the manager closes its end or cannot be understood, and in
    /// any case destroys what is left.
    pub fn serve(mut self) -> Result<(), StartError> {
        let served = self.answer_all();
        self.sandboxes.clear();
        let swept = self.groups.end(self.state.name());
        served?;
        Ok(swept?)
    }

    fn answer_all(&mut self) -> Result<(), StartError> {
        while let Some((request, descriptors)) = self.manager.receive()? {
            self.answer(request, descriptors)?;
        }
        Ok(())
    }

    fn answer(
        &mut self,
        request: LauncherRequest,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), StartError> {
        let (reply, created) = match request {
            LauncherRequest::Create(spec) => match self.create(&spec, descriptors) {
                Ok(created) => (LauncherReply::Created(Box::new(created)), Some(spec.id)),
                Err(failed) => (LauncherReply::Failed(failed.to_wire()), None),
            },
            LauncherRequest::Destroy { id } => match self.destroy(&id) {
                Ok(reply) => (reply, None),
                Err(failed) => (LauncherReply::Failed(failed.to_wire()), None),
            },
        };
        let sandbox = created.and_then(|id| self.sandboxes.get(&id));
        let pidfd: Vec<_> = sandbox
            .iter()
            .map(|sandbox| sandbox.pidfd().as_fd())
            .collect();
        self.manager.send(&reply, &pidfd)?;
        Ok(())
    }

    fn create(&mut self, spec: &SandboxSpec, descriptors: Vec<OwnedFd>) -> Result<Created, Failed> {
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
        let inits: Vec<Pid> = self.sandboxes.values().map(Sandbox::pid).collect();
        let workshop = Workshop {
            inits: &inits,
            state: &self.state,
            groups: &self.groups,
            program: &self.program,
        };
        let given = Given {
            channel,
            network: self.network.take(),
        };
        let (sandbox, created) = Sandbox::create(&workshop, &mut self.leases, spec, given)?;
        self.sandboxes.insert(spec.id.clone(), sandbox);
        Ok(created)
    }

    fn destroy(&mut self, id: &str) -> Result<LauncherReply, Failed> {
        let unknown = || Failed::refused(LaunchStep::Check, "no sandbox of this identifier");
        let sandbox = self.sandboxes.remove(id).ok_or_else(unknown)?;
        let usage = sandbox.destroy()?;
        Ok(LauncherReply::Destroyed { usage })
    }
}
