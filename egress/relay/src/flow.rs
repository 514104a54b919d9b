//! One connection: decided, made, carried, told of.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lakekeep_egress_inspect::Inspector;
use lakekeep_egress_rules::Decision;
use lakekeep_protocol::relay::{FlowReceipt, FlowVerdict};
use lakekeep_sys::Errno;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::connect::{connect, resolve};
use crate::control::words;
use crate::dns;
use crate::gate::{Gate, Passed};
use crate::pump::{self, Bounds, Carried, End};
use crate::sandbox::{Asked, Sandbox, verdict};

/// Why no byte of a flow left.
#[derive(Debug)]
enum Refusal {
    /// The rules, or what the stream turned out to be.
    Denied(Box<Decision>, String),
    /// The name has no address, or the host does not answer.
    Failed(Box<Decision>, String),
    /// This host's own addresses cannot be read.
    Blind(Errno),
}

/// A connection that was made.
struct Way {
    outside: TcpStream,
    address: IpAddr,
    decision: Decision,
}

/// Carries one connection from inside to where it wants to go, or resets it; and tells what
/// became of it, whatever did.
pub async fn carry(
    sandbox: Arc<Sandbox>,
    inside: TcpStream,
    asked: SocketAddr,
    mut over: watch::Receiver<bool>,
) {
    let carried = Carried::new();
    if dns::is_resolver(asked) {
        tokio::select! {
            () = ended(&mut over) => {}
            () = dns::answer_stream(&sandbox, &inside) => {}
        }
        return;
    }
    let (asked, changes) = (sandbox.asked(asked), sandbox.changes());
    let mut receipt = sandbox.receipt(&asked);
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
    inside: &TcpStream,
    (asked, receipt): (&Asked, &mut FlowReceipt),
    carried: &Carried,
) -> String {
    sandbox.arrivals.take(1).await;
    let way = match open(sandbox, asked).await {
        Ok(way) => way,
        Err(refusal) => return refusal.put(receipt),
    };
    receipt.verdict = verdict(&way.decision);
    receipt.rule = rule(&way.decision);
    receipt.address = Some(way.address);
    asked.reach(way.address);
    let ended = match through(sandbox, inside, (asked, &way), carried).await {
        Ok(ended) => ended,
        Err(refused) => {
            receipt.verdict = FlowVerdict::Denied;
            reset(&way.outside);
            return format!("denied egress to {}: {refused}", way.decision.destination);
        }
    };
    if ended == End::Reset {
        reset(inside);
        reset(&way.outside);
    }
    if receipt.verdict == FlowVerdict::WouldBeDenied {
        return way.decision.to_string();
    }
    match ended {
        End::Closed => "closed".to_owned(),
        End::Reset => "reset".to_owned(),
        End::Idle => format!("idle for {} s", sandbox.limits.idle.as_secs()),
    }
}

/// Carries the stream; `Err` with what of it may not leave, and did not.
async fn through(
    sandbox: &Sandbox,
    inside: &TcpStream,
    (asked, way): (&Asked, &Way),
    carried: &Carried,
) -> Result<End, String> {
    let (limits, streams) = (&sandbox.limits, way.decision.streams);
    let bounds = Bounds {
        idle: limits.idle,
        out: sandbox.bytes.as_ref().map(|(out, _)| out),
        back: sandbox.bytes.as_ref().map(|(_, back)| back),
    };
    if let (Some(name), false) = (&asked.name, streams.unchecked) {
        let gate = Gate {
            inside,
            outside: &way.outside,
            carried,
            patience: limits.first_bytes,
            bounds,
        };
        let mut inspector = Inspector::new(name.clone(), streams);
        match gate.pass(&mut inspector).await {
            Passed::Opaque => {}
            Passed::Ended(Ok(())) => return Ok(End::Closed),
            Passed::Ended(Err(_)) => return Ok(End::Reset),
            Passed::Silent => return Ok(End::Idle),
            Passed::Refused(refusal) => return Err(refusal.to_string()),
        }
    } else if !streams.other && !streams.unchecked {
        // There is no name to hold the stream to.
        return Err("a rule by address says \"tcp\" or \"opaque\" alone".to_owned());
    }
    Ok(pump::carry(inside, &way.outside, carried, bounds).await)
}

/// Decides, resolves, decides of each address, and connects to one that was decided of.
async fn open(sandbox: &Sandbox, asked: &Asked) -> Result<Way, Refusal> {
    let address = asked.name.is_none().then(|| asked.address.ip());
    let decision = decide(sandbox, asked, address)?;
    let decisions = match &asked.name {
        None => vec![(asked.address.ip(), decision.clone())],
        Some(_) => resolved(sandbox, asked, &decision).await?,
    };
    let addresses: Vec<IpAddr> = decisions.iter().map(|(address, _)| *address).collect();
    let patience: Duration = sandbox.limits.connect;
    let port = asked.address.port();
    match connect(&addresses, port, patience).await {
        Err(error) => Err(failed(decision, &error)),
        Ok((outside, address)) => {
            let of_it = decisions.into_iter().find(|(one, _)| *one == address);
            Ok(Way {
                outside,
                address,
                decision: of_it.map_or(decision, |(_, decision)| decision),
            })
        }
    }
}

/// The addresses of a name that it may lead to; that none of them is one is a denial.
async fn resolved(
    sandbox: &Sandbox,
    asked: &Asked,
    decision: &Decision,
) -> Result<Vec<(IpAddr, Decision)>, Refusal> {
    let Some(name) = &asked.name else {
        return Ok(Vec::new());
    };
    let permit = sandbox.lookups.acquire().await;
    let found = resolve(name, asked.address.port(), sandbox.limits.connect).await;
    drop(permit);
    let found = found.map_err(|error| failed(decision.clone(), &error))?;
    let (mut may, mut last) = (Vec::new(), None);
    for address in found {
        match decide(sandbox, asked, Some(address)) {
            Ok(decision) => may.push((address, decision)),
            Err(refusal) => last = Some(refusal),
        }
    }
    match last {
        Some(refusal) if may.is_empty() => Err(refusal),
        _ => Ok(may),
    }
}

fn decide(sandbox: &Sandbox, asked: &Asked, address: Option<IpAddr>) -> Result<Decision, Refusal> {
    let decision = sandbox.decide(asked, address).map_err(Refusal::Blind)?;
    match decision.passes() {
        true => Ok(decision),
        false => {
            let told = decision.to_string();
            Err(Refusal::Denied(Box::new(decision), told))
        }
    }
}

fn failed(decision: Decision, error: &io::Error) -> Refusal {
    let told = format!("{} was not reached: {error}", decision.destination);
    Refusal::Failed(Box::new(decision), told)
}

impl Refusal {
    fn put(self, receipt: &mut FlowReceipt) -> String {
        match self {
            Self::Denied(decision, told) => {
                receipt.verdict = FlowVerdict::Denied;
                receipt.rule = rule(&decision);
                told
            }
            Self::Failed(decision, told) => {
                receipt.verdict = FlowVerdict::Failed;
                receipt.rule = rule(&decision);
                told
            }
            Self::Blind(errno) => {
                receipt.verdict = FlowVerdict::Denied;
                format!("this host's own addresses cannot be read: {errno}")
            }
        }
    }
}

fn rule(decision: &Decision) -> Option<String> {
    decision.rule.as_ref().map(|rule| rule.rule.to_string())
}

/// One side is told by a reset, and not by an end that looks like an answer.
fn reset(side: &TcpStream) {
    if rustix::net::sockopt::set_socket_linger(side, Some(Duration::ZERO)).is_err() {
        // It then sees an end without a byte.
    }
}
