//! The relay that carries what may leave a sandbox, as whoever started it sees it.
//!
//! Without a relay nothing leaves: its sockets are the only place at which what the sandbox
//! sends arrives.

mod carrier;
mod outlet;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lakekeep_plan::{EgressPlan, Plan};
use lakekeep_protocol::relay::{FlowReceipt, FlowVerdict, ServeSpec};
use lakekeep_protocol::{Channel, RelayReply, RelayRequest};
use lakekeep_sys::socket;
use rustix::net::Shutdown;
use rustix::process::{Pid, PidfdFlags};
use serde::Serialize;

use crate::error::SandboxError;
use crate::launcher::{beside, own_group, readable};

pub(crate) use carrier::Carriers;
pub(crate) use outlet::Outlet;

/// How long a relay may take to serve, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Most receipts of one task that are kept; the rest is counted.
const MAX_RECEIPTS: usize = 10_000;

/// Most of a relay's last words that are kept, bytes.
const WORDS: u64 = 4096;

/// What left a sandbox, and what did not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Flows: connections, and questions for names that were refused.
    pub flows: u64,
    /// How many of them were not let out.
    pub denied: u64,
    /// Bytes that left.
    pub sent: u64,
    /// Bytes that came.
    pub received: u64,
    /// The first that was not let out, in words, with the remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_denial: Option<String>,
    /// The first of them, in the order of their ends.
    pub receipts: Vec<FlowReceipt>,
    /// Why not all flows are known: the relay ended before its sandbox. Nothing left after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

impl Traffic {
    fn note(&mut self, receipt: FlowReceipt) {
        self.count(&receipt);
        if self.receipts.len() < MAX_RECEIPTS {
            self.receipts.push(receipt);
        }
    }

    /// Counts a flow whose receipt is kept elsewhere.
    pub fn count(&mut self, receipt: &FlowReceipt) {
        self.flows += 1;
        self.sent += receipt.sent;
        self.received += receipt.received;
        if receipt.verdict == FlowVerdict::Denied {
            self.denied += 1;
            self.first_denial
                .get_or_insert_with(|| receipt.words.clone());
        }
    }
}

type Link = Channel<RelayRequest, RelayReply>;

/// Starts a relay, which serves nobody yet and ends with our end of its socket.
///
/// # Errors
/// `NoProgram` when it is not installed beside this one.
fn start() -> Result<(Link, Child), SandboxError> {
    let program = beside("lakekeep-relay")?;
    let (ours, theirs) = socket::pair().map_err(SandboxError::kernel("socketpair"))?;
    let mut command = Command::new(&program);
    command
        // Nothing of the caller's environment decides how names are resolved.
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = own_group(&mut command)
        .spawn()
        .map_err(|error| SandboxError::StartLauncher {
            program: program.display().to_string(),
            error,
        })?;
    Ok((Channel::new(ours).of_answers(), child))
}

/// What a relay wrote that has ended, as the end of a sentence.
fn words(child: &mut Child) -> String {
    let mut words = Vec::new();
    let stderr = child.stderr.take();
    let read = stderr.map(|stderr| stderr.take(WORDS).read_to_end(&mut words));
    match (read, String::from_utf8_lossy(&words).trim()) {
        (Some(Ok(_)), text) if !text.is_empty() => format!(": {text}"),
        _ => " without a word".to_owned(),
    }
}

/// A relay that was started. Dropped, it ends, and nothing leaves any more.
#[derive(Debug)]
pub(crate) struct Relay {
    channel: Arc<Link>,
    child: Child,
    /// Takes its receipts while the task runs: a relay that nobody hears waits.
    listener: Option<JoinHandle<Traffic>>,
}

impl Relay {
    /// Starts a relay, which serves nobody yet.
    ///
    /// # Errors
    /// `NoProgram` when it is not installed beside this one.
    pub(crate) fn start() -> Result<Self, SandboxError> {
        let (channel, child) = start()?;
        Ok(Self {
            channel: Arc::new(channel),
            child,
            listener: None,
        })
    }

    /// Has it serve the plan's sandbox, and returns when it does.
    ///
    /// # Errors
    /// `Relay` with what it said.
    pub(crate) fn serve(
        mut self,
        plan: &Plan,
        egress: &EgressPlan,
        sockets: &[OwnedFd],
    ) -> Result<Self, SandboxError> {
        let request = RelayRequest::Serve(Box::new(ServeSpec {
            sandbox: plan.sandbox.id.clone(),
            profile: None,
            rules: egress.documents(),
        }));
        let sockets: Vec<_> = sockets.iter().map(OwnedFd::as_fd).collect();
        let sent = self.channel.send(&request, &sockets);
        if sent.is_err() || !readable(self.channel.as_fd(), PATIENCE)? {
            return Err(self.failed(""));
        }
        match self.channel.receive()? {
            Some((RelayReply::Serving { .. }, _)) => {}
            Some((RelayReply::Refused { reason, .. }, _)) => return Err(self.failed(&reason)),
            Some(_) => return Err(SandboxError::OutOfTurn { peer: "relay" }),
            None => return Err(self.failed("")),
        }
        let channel = Arc::clone(&self.channel);
        self.listener = Some(std::thread::spawn(move || listen(&channel)));
        Ok(self)
    }

    /// Has it end, once the sandbox has, and tells what it carried.
    pub(crate) fn finish(mut self) -> Result<Traffic, SandboxError> {
        // It then tells of what is left, and closes its end, which ends the listener.
        let shut = rustix::net::shutdown(self.channel.as_fd(), Shutdown::Write);
        shut.map_err(SandboxError::kernel("shutdown of the relay's socket"))?;
        let pidfd = self.pidfd()?;
        if !readable(pidfd.as_fd(), PATIENCE)? {
            lakekeep_sys::process::kill(&pidfd).map_err(SandboxError::kernel("kill"))?;
        }
        let mut traffic = match self.listener.take().map(JoinHandle::join) {
            Some(Ok(traffic)) => traffic,
            _ => Traffic::default(),
        };
        match self.child.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => traffic.lost = Some(format!("{status}{}", words(&mut self.child))),
            Err(error) => traffic.lost = Some(error.to_string()),
        }
        Ok(traffic)
    }

    fn pidfd(&self) -> Result<OwnedFd, SandboxError> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(SandboxError::OutOfTurn { peer: "relay" })?;
        // Not waited for by anybody before: the number still names our child.
        rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map_err(SandboxError::kernel("pidfd_open"))
    }

    fn failed(&mut self, reason: &str) -> SandboxError {
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            // Waited for already: it had ended.
        }
        SandboxError::Relay {
            reason: match reason {
                "" => words(&mut self.child),
                reason => format!(": {reason}"),
            },
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Of one that finished both fail, and are not needed.
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            // It was waited for already.
        }
    }
}

/// The command that starts a relay behind `listener` ([`crate::service::listen`]), which serves
/// one manager after the other.
///
/// # Errors
/// `NoProgram` when it is not installed beside this one.
pub fn relay_command(listener: OwnedFd) -> Result<Command, SandboxError> {
    let mut command = Command::new(beside("lakekeep-relay")?);
    command
        .env_clear()
        .stdin(Stdio::from(listener))
        .stdout(Stdio::null());
    own_group(&mut command);
    Ok(command)
}

fn listen(channel: &Link) -> Traffic {
    let mut traffic = Traffic::default();
    while let Ok(Some((reply, _))) = channel.receive() {
        if let RelayReply::Flow(receipt) = reply {
            traffic.note(*receipt);
        }
    }
    traffic
}
