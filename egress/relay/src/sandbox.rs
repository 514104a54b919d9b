//! One sandbox that is served: its rules, its limits, and what is told of it.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lakekeep_egress_names::{Allowed, Outcome, Via, Zone};
use lakekeep_egress_rules::{
    Decision, Destination, EgressDoc, HostName, Level, Limits, Ruleset, Transport, Verdict,
};
use lakekeep_protocol::RelayReply;
use lakekeep_protocol::relay::{
    FlowKind, FlowReceipt, FlowVerdict, RuleDocument, RuleLevel, ServeSpec,
};
use lakekeep_sys::Errno;
use rustix::rand::GetRandomFlags;
use tokio::sync::{Semaphore, mpsc};

use crate::connect::LOOKUPS_OF_ONE;
use crate::control;
use crate::error::ServeError;
use crate::guard::OwnAddresses;
use crate::pace::Pace;
use crate::sockets::Granted;

/// A sandbox that is served.
#[derive(Debug)]
pub struct Sandbox {
    id: String,
    rules: Ruleset,
    own: OwnAddresses,
    /// How much may leave.
    pub limits: Limits,
    /// One for each connection that may live at a time.
    pub connections: Arc<Semaphore>,
    /// One for each name that may be resolved at a time.
    pub lookups: Semaphore,
    /// New connections a second.
    pub arrivals: Pace,
    /// Bytes a second that leave, and that come.
    pub bytes: Option<(Pace, Pace)>,
    /// Unix sockets of the host's that it may reach.
    pub granted: Granted,
    zone: Mutex<Zone>,
    began: Instant,
    /// Names whose denial was told: a program asks for one many times.
    refused: Mutex<HashSet<HostName>>,
    tell: mpsc::Sender<RelayReply>,
}

/// Most refused names that are told of: they are the code inside's to choose.
const MAX_REFUSED: usize = 1024;

/// Where something inside would go.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The name that it asked for, where the address is our answer to that.
    pub name: Option<HostName>,
    /// The address and port that it used.
    pub address: SocketAddr,
}

/// As rules name it: the name, or the address, and the port.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}:{}", self.address.port()),
            None => write!(f, "{}", self.address),
        }
    }
}

impl Sandbox {
    /// Reads the rules. More documents only narrow: what leaves must be allowed by each.
    pub fn new(spec: &ServeSpec, tell: mpsc::Sender<RelayReply>) -> Result<Self, ServeError> {
        let mut rules: Option<Ruleset> = None;
        for document in &spec.rules {
            let one = read(document)?;
            rules = Some(match rules {
                None => one,
                Some(others) => one.bounded_by(&others),
            });
        }
        let rules = rules.ok_or(ServeError::NoRules)?;
        let limits = rules.limits();
        let granted = Granted::check(&rules)?;
        let permits = usize::try_from(limits.connections).unwrap_or(usize::MAX);
        let pace = |rate| (Pace::new(rate), Pace::new(rate));
        Ok(Self {
            id: spec.sandbox.clone(),
            rules,
            own: OwnAddresses::read().map_err(ServeError::OwnAddresses)?,
            limits,
            connections: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            lookups: Semaphore::new(LOOKUPS_OF_ONE),
            arrivals: Pace::new(limits.new_per_second.into()),
            bytes: limits.bytes_per_second.map(pace),
            granted,
            zone: Mutex::new(Zone::new(prefix()?, &limits)?),
            began: Instant::now(),
            refused: Mutex::default(),
            tell,
        })
    }

    /// Where a connection to this address wants to go: to the name whose address it is, if
    /// it is one's.
    pub fn asked(&self, address: SocketAddr) -> Asked {
        let zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        Asked {
            name: zone.names().name(address.ip()).cloned(),
            address,
        }
    }

    /// Answers a question for a name, and tells of a name that was refused; no answer where
    /// silence is one.
    pub async fn answer(&self, packet: &[u8], via: Via) -> Option<Vec<u8>> {
        let guard = self.own.guard().ok()?;
        let mut decision = None;
        let answer = {
            let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
            zone.answer(packet, via, self.began.elapsed(), |name| {
                if self.granted.path(name).is_some() {
                    return Allowed::Listed;
                }
                let decided = self.rules.decide_name(name, &guard);
                let allowed = match (decided.passes(), decided.listed) {
                    (false, _) => Allowed::Denied,
                    (true, true) => Allowed::Listed,
                    (true, false) => Allowed::Unlisted,
                };
                decision = Some(decided);
                allowed
            })
        };
        let refused = match answer.outcome {
            Outcome::Denied(name) => Some((name, None)),
            Outcome::Limited(name, limit) => Some((name, Some(limit.to_string()))),
            _ => None,
        };
        if let (Some((name, limit)), Some(decision)) = (refused, decision)
            && self.is_news(&name)
        {
            self.tell(self.name_receipt(&name, &decision, limit)).await;
        }
        answer.packet
    }

    fn is_news(&self, name: &HostName) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.len() < MAX_REFUSED && refused.insert(name.clone())
    }

    fn name_receipt(
        &self,
        name: &HostName,
        decision: &Decision,
        limit: Option<String>,
    ) -> FlowReceipt {
        let words = match limit {
            Some(limit) => format!("denied the name {name}: {limit}"),
            None => decision.to_string(),
        };
        FlowReceipt {
            sandbox: self.id.clone(),
            kind: FlowKind::Name,
            name: Some(name.to_string()),
            address: None,
            port: None,
            verdict: FlowVerdict::Denied,
            rule: decision.rule.as_ref().map(|rule| rule.rule.to_string()),
            words: control::words(&words),
            sent: 0,
            received: 0,
            duration_us: 0,
        }
    }

    /// Whether something may go there: before its name is resolved (`address` is `None`), and
    /// of each address that it resolves to.
    ///
    /// # Errors
    /// When this host's own addresses cannot be read: nothing may leave then.
    pub fn decide(&self, asked: &Asked, address: Option<IpAddr>) -> Result<Decision, Errno> {
        let destination = Destination {
            name: asked.name.clone(),
            address,
            port: Some(asked.address.port()),
            transport: Transport::Tcp,
        };
        Ok(self.rules.decide(&destination, &self.own.guard()?))
    }

    /// Tells the manager what became of a flow.
    pub async fn tell(&self, receipt: FlowReceipt) {
        control::say(&self.tell, RelayReply::Flow(Box::new(receipt))).await;
    }

    /// A receipt of a connection of which nothing is known yet.
    pub fn receipt(&self, asked: &Asked) -> FlowReceipt {
        FlowReceipt {
            sandbox: self.id.clone(),
            kind: FlowKind::Connection,
            name: asked.name.as_ref().map(ToString::to_string),
            address: asked.name.is_none().then(|| asked.address.ip()),
            port: Some(asked.address.port()),
            verdict: FlowVerdict::Failed,
            rule: None,
            words: String::new(),
            sent: 0,
            received: 0,
            duration_us: 0,
        }
    }
}

fn read(document: &RuleDocument) -> Result<Ruleset, ServeError> {
    let level = match document.level {
        RuleLevel::Administrator => Level::Administrator,
        RuleLevel::Owner => Level::Owner,
        RuleLevel::User => Level::User,
    };
    let doc = EgressDoc::from_json("egress", &document.json)?;
    Ok(Ruleset::check(level, &doc)?)
}

/// A prefix for the names' IPv6 addresses that is no other sandbox's (RFC 4193, 3.2).
fn prefix() -> Result<Ipv6Addr, ServeError> {
    let mut random = [0; 7];
    rustix::rand::getrandom(&mut random, GetRandomFlags::empty()).map_err(ServeError::Random)?;
    let mut octets = [0; 16];
    for (octet, random) in octets.iter_mut().zip([0xfd].into_iter().chain(random)) {
        *octet = random;
    }
    Ok(Ipv6Addr::from(octets))
}

/// What a decision means for a flow that is let out, or is not.
pub fn verdict(decision: &Decision) -> FlowVerdict {
    match decision.verdict {
        Verdict::Allow => FlowVerdict::Allowed,
        Verdict::WouldDeny => FlowVerdict::WouldBeDenied,
        Verdict::Deny => FlowVerdict::Denied,
    }
}
