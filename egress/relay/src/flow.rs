//! One connection: decided, made, carried, told of.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use lakekeep_egress_inspect::Inspector;
use lakekeep_egress_rules::{Decision, HostName, Verdict};
use lakekeep_protocol::relay::{FlowReceipt, FlowVerdict};
use lakekeep_sys::Errno;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::connect::connect;
use crate::control::words;
use crate::dns;
use crate::gate::{self, Gate, Opening, Passed};
use crate::grant::Grant;
use crate::limits;
use crate::pace::TooLate;
use crate::pump::{self, Carried};
use crate::sandbox::{Asked, Sandbox, verdict};
use crate::side::Side;

/// Why a flow ended before its time, most often before a byte of it left.
#[derive(Debug)]
struct Refusal {
    /// Denied by the rules or for what the stream turned out to be; or failed, because the name
    /// has no address or the host does not answer.
    verdict: FlowVerdict,
    /// The rule that decided.
    rule: Option<String>,
    told: String,
}

/// Carries one connection from inside to where it wants to go, or resets it; and tells what
/// became of it, whatever did.
pub async fn carry(
    sandbox: Arc<Sandbox>,
    inside: std::net::TcpStream,
    asked: SocketAddr,
    mut over: watch::Receiver<bool>,
) {
    let carried = Carried::new();
    let is_question = dns::is_resolver(asked);
    // In this order: what changes while it is asked is seen afterwards.
    let changes = sandbox.changes();
    let asked = sandbox.asked(asked);
    let mut receipt = sandbox.receipt(&asked);
    let inside = match TcpStream::from_std(inside) {
        Ok(inside) => Side::Tcp(inside),
        Err(error) => {
            receipt.words = words(&format!("{asked} was not reached: epoll_ctl: {error}"));
            return sandbox.tell(receipt).await;
        }
    };
    if is_question {
        tokio::select! {
            () = ended(&mut over) => {}
            // Apart, for its buffer would be in every other flow's state too.
            () = Box::pin(dns::answer_stream(&sandbox, &inside)) => {}
        }
        return;
    }
    let told = tokio::select! {
        () = ended(&mut over) => "the sandbox ended".to_owned(),
        told = sandbox.revoked(&asked, changes) => {
            reset(&inside);
            told
        }
        told = attempt(&sandbox, &inside, (&asked, &mut receipt), &carried) => told,
    };
    receipt.words = words(&told);
    (receipt.sent, receipt.received) = carried.bytes();
    receipt.duration_us = u64::try_from(carried.age().as_micros()).unwrap_or(u64::MAX);
    if receipt.verdict == FlowVerdict::Denied || receipt.verdict == FlowVerdict::Failed {
        reset(&inside);
    }
    sandbox.tell(receipt).await;
}

/// Returns when the sandbox is served no longer.
async fn ended(over: &mut watch::Receiver<bool>) {
    if over.wait_for(|over| *over).await.is_err() {
        // Who could say so is gone, and with it the sandbox.
    }
}

/// How the flow ended, in words.
async fn attempt(
    sandbox: &Sandbox,
    inside: &Side,
    (asked, receipt): (&Asked, &mut FlowReceipt),
    carried: &Carried,
) -> String {
    if let Err(told) = turn(sandbox, asked).await {
        receipt.verdict = FlowVerdict::Denied;
        return told;
    }
    let flow = Flow {
        sandbox,
        inside,
        asked,
        carried,
    };
    match flow.go(receipt).await {
        Ok(told) => told,
        Err(refusal) => refusal.put(receipt),
    }
}

/// Returns when a new connection has had its turn, or why it does not have it in time.
async fn turn(sandbox: &Sandbox, asked: &Asked) -> Result<(), String> {
    let limits = sandbox.limits();
    let until = Instant::now() + limits.connect;
    let own = sandbox.arrivals.take_within(limits.connect).await;
    own.map_err(|TooLate| limits::arrivals(&asked.to_string(), &limits))?;
    let together = sandbox.together.arrive(until).await;
    together.map_err(|full| limits::total_arrivals(&asked.to_string(), full, &limits))
}

/// One flow on its way.
#[derive(Clone, Copy)]
struct Flow<'a> {
    sandbox: &'a Sandbox,
    inside: &'a Side,
    asked: &'a Asked,
    carried: &'a Carried,
}

impl Flow<'_> {
    /// Decides, looks, connects, carries, in this order:
    ///
    /// 1. the rules, by name and port, or by the address where there is no name;
    /// 2. the name is resolved, and the rules are asked of each address;
    /// 3. where only TLS or HTTP passes, the client speaks first by its protocol: nothing is
    ///    connected to before what it says may leave. Where others pass too the server may be
    ///    the one that speaks first, and nobody would ever say anything;
    /// 4. a connection to an address that was decided of.
    async fn go(&self, receipt: &mut FlowReceipt) -> Result<String, Refusal> {
        if let Some(grant) = &self.asked.granted {
            return self.granted(grant, receipt).await;
        }
        let (decision, addresses) = self.decided().await?;
        receipt.verdict = verdict(&decision);
        receipt.rule = rule(&decision);
        let streams = decision.streams;
        let mut inspector = match &self.asked.name {
            Some(name) if !streams.unchecked => Some(Inspector::new(name.clone(), streams)),
            // There is no name to hold the stream to.
            None if !streams.other => {
                let told = "a rule by address says \"tcp\" or \"opaque\" alone";
                return Err(refused(&decision, told));
            }
            _ => None,
        };
        let mut opening = Opening::unheard();
        if let (Some(inspector), false) = (&mut inspector, streams.other) {
            let patience = self.sandbox.limits().first_bytes;
            match gate::hear(self.inside, inspector, patience).await {
                Ok(heard) => opening = heard,
                Err(passed) => return self.told(decision, passed),
            }
        }
        self.settle().await;
        let (outside, address) = self.connect(&decision, &addresses).await?;
        let outside = Side::Tcp(outside);
        receipt.address = Some(address);
        self.asked.reach(address);
        let passed = self.through(&outside, inspector, opening).await;
        let lost = matches!(passed, Passed::Ended(Err(_)) | Passed::Idle);
        let told = self.told(decision, passed);
        if told.is_err() || lost {
            reset(self.inside);
            reset(&outside);
        }
        told
    }

    /// The way to what was granted.
    async fn granted(&self, grant: &Grant, receipt: &mut FlowReceipt) -> Result<String, Refusal> {
        let refused = |verdict, told| Refusal {
            verdict,
            rule: Some(grant.rule()),
            told,
        };
        if self.asked.address.port() != grant.port() {
            let told = format!(
                "denied egress to {}: {grant} is at port {}",
                self.asked,
                grant.port()
            );
            return Err(refused(FlowVerdict::Denied, told));
        }
        self.settle().await;
        let patience = self.sandbox.limits().connect;
        let made = match timeout(patience, grant.connect(self.sandbox)).await {
            Ok(made) => made.map_err(|error| error.to_string()),
            Err(_) => Err(limits::connect(&self.sandbox.limits())),
        };
        let outside = match made {
            Ok(stream) => Side::Unix(stream),
            Err(why) => {
                let told = format!("{} ({grant}) was not reached: {why}", self.asked);
                return Err(refused(FlowVerdict::Failed, told));
            }
        };
        receipt.verdict = FlowVerdict::Allowed;
        receipt.rule = Some(grant.rule());
        match self.through(&outside, None, Opening::unheard()).await {
            Passed::Ended(Ok(())) => Ok("closed".to_owned()),
            passed => {
                reset(self.inside);
                Ok(match passed {
                    Passed::Idle => limits::idle(&self.sandbox.limits()),
                    _ => "reset".to_owned(),
                })
            }
        }
    }

    /// Returns when all that the sandbox has carried so far has been waited for. Many connections,
    /// each of which carries a piece and ends before it has waited for that, would else carry more
    /// than may be.
    async fn settle(&self) {
        let bounds = self.sandbox.bounds();
        let (out, back) = (bounds.out, bounds.back);
        tokio::join!(self.carried.pay(out, 0), self.carried.pay(back, 0));
    }

    /// Carries the stream, as long as need be under the inspector's eyes.
    async fn through(
        &self,
        outside: &Side,
        inspector: Option<Inspector>,
        opening: Opening,
    ) -> Passed {
        let bounds = self.sandbox.bounds();
        if let Some(mut inspector) = inspector {
            let gate = Gate {
                inside: self.inside,
                outside,
                carried: self.carried,
                patience: self.sandbox.limits().first_bytes,
                bounds,
            };
            match gate.pass(&mut inspector, opening).await {
                Passed::Opaque => {}
                other => return other,
            }
        }
        pump::carry(self.inside, outside, self.carried, bounds).await
    }

    /// How it came through, in words.
    fn told(&self, decision: Decision, passed: Passed) -> Result<String, Refusal> {
        let limits = &self.sandbox.limits();
        let told = match passed {
            Passed::Refused(refusal) => {
                return Err(refused(&decision, &refusal.to_string()));
            }
            Passed::Silent => {
                return Err(refused(&decision, &limits::first_bytes(limits)));
            }
            Passed::Idle => limits::idle(limits),
            Passed::Ended(Err(_)) => "reset".to_owned(),
            Passed::Ended(Ok(())) | Passed::Opaque => "closed".to_owned(),
        };
        match decision.verdict {
            Verdict::WouldDeny => Ok(decision.to_string()),
            _ => Ok(told),
        }
    }

    /// The rules' decision, and the addresses of which it holds.
    async fn decided(&self) -> Result<(Decision, Vec<IpAddr>), Refusal> {
        let own = self.asked.address.ip();
        let by_address = self.asked.name.is_none().then_some(own);
        let decision = decide(self.sandbox, self.asked, by_address)?;
        let Some(name) = &self.asked.name else {
            return Ok((decision, vec![own]));
        };
        let decisions = self.resolved(name, &decision).await?;
        let first = decisions.first().map(|(_, first)| first.clone());
        let decision = first.unwrap_or(decision);
        // Rules on addresses may let other streams pass at some of them: what is looked at is
        // known before anything is connected to, so those are not tried.
        let same = |(_, other): &&(IpAddr, Decision)| other.streams == decision.streams;
        let addresses = decisions.iter().filter(same).map(|(address, _)| *address);
        let addresses = addresses.collect();
        Ok((decision, addresses))
    }

    /// The addresses of a name that it may lead to; that none of them is one is a denial.
    async fn resolved(
        &self,
        name: &HostName,
        decision: &Decision,
    ) -> Result<Vec<(IpAddr, Decision)>, Refusal> {
        let (port, patience) = (self.asked.address.port(), self.sandbox.limits().connect);
        let found = self.sandbox.lookups.resolve(name, port, patience).await;
        let found = found.map_err(|error| self.failed(decision, &error))?;
        let (mut may, mut last) = (Vec::new(), None);
        for address in found {
            match decide(self.sandbox, self.asked, Some(address)) {
                Ok(decision) => may.push((address, decision)),
                Err(refusal) => last = Some(refusal),
            }
        }
        match last {
            Some(refusal) if may.is_empty() => Err(refusal),
            _ => Ok(may),
        }
    }

    async fn connect(
        &self,
        decision: &Decision,
        addresses: &[IpAddr],
    ) -> Result<(TcpStream, IpAddr), Refusal> {
        let port = self.asked.address.port();
        let made = connect(addresses, port, self.sandbox.limits().connect).await;
        made.map_err(|error| self.failed(decision, &error))
    }

    fn failed(&self, decision: &Decision, error: &io::Error) -> Refusal {
        let why = match error.kind() {
            io::ErrorKind::TimedOut => limits::connect(&self.sandbox.limits()),
            _ => error.to_string(),
        };
        Refusal {
            verdict: FlowVerdict::Failed,
            rule: rule(decision),
            told: format!("{} was not reached: {why}", decision.destination),
        }
    }
}

fn decide(sandbox: &Sandbox, asked: &Asked, address: Option<IpAddr>) -> Result<Decision, Refusal> {
    let decision = sandbox.decide(asked, address).map_err(blind)?;
    match decision.passes() {
        true => Ok(decision),
        false => Err(Refusal {
            verdict: FlowVerdict::Denied,
            rule: rule(&decision),
            told: decision.to_string(),
        }),
    }
}

fn refused(decision: &Decision, why: &str) -> Refusal {
    Refusal {
        verdict: FlowVerdict::Denied,
        rule: rule(decision),
        told: format!("denied egress to {}: {why}", decision.destination),
    }
}

/// Nothing may be decided of a host whose own addresses cannot be read.
fn blind(errno: Errno) -> Refusal {
    Refusal {
        verdict: FlowVerdict::Denied,
        rule: None,
        told: format!("this host's own addresses cannot be read: {errno}"),
    }
}

impl Refusal {
    fn put(self, receipt: &mut FlowReceipt) -> String {
        receipt.verdict = self.verdict;
        receipt.rule = self.rule;
        self.told
    }
}

fn rule(decision: &Decision) -> Option<String> {
    decision.rule.as_ref().map(|rule| rule.rule.to_string())
}

/// One side is told by a reset, and not by an end that looks like an answer.
pub fn reset(side: impl AsFd) {
    if rustix::net::sockopt::set_socket_linger(side, Some(Duration::ZERO)).is_err() {
        // It then sees an end without a byte.
    }
}
