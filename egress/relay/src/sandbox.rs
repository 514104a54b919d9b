//! One sandbox that is served: its rules, its limits, and what is told of it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lakekeep_egress_names::{Allowed, Outcome, Via, Zone};
use lakekeep_egress_rules::{
    Decision, Destination, EgressDoc, HostName, Level, Limits, Mode, Ruleset, Service, Transport,
    Verdict,
};
use lakekeep_protocol::RelayReply;
use lakekeep_protocol::relay::{
    FlowKind, FlowReceipt, FlowVerdict, RuleDocument, RuleLevel, RuleMode, ServeSpec,
};
use lakekeep_sys::Errno;
use rustix::rand::GetRandomFlags;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

use crate::connect::Lookups;
use crate::control;
use crate::dns;
use crate::error::ServeError;
use crate::grant::Grant;
use crate::guard::OwnAddresses;
use crate::pace::Pace;
use crate::places::Places;
use crate::pump::Bounds;
use crate::services::{self, Offers};
use crate::sockets;
use crate::totals::{Together, Totals};
use crate::turns::Toll;

/// A sandbox that is served.
#[derive(Debug)]
pub struct Sandbox {
    id: String,
    /// What holds now.
    force: watch::Sender<Arc<Force>>,
    own: OwnAddresses,
    /// How much may leave now.
    limits: watch::Sender<Limits>,
    /// One for each connection that may live at a time.
    pub places: Arc<Places>,
    /// Names that are resolved.
    pub lookups: Lookups,
    /// New connections a second.
    pub arrivals: Pace,
    /// Questions for names a second.
    pub questions: Pace,
    /// Bytes a second that leave, and that come.
    bytes: (Toll, Toll),
    /// What it has with other sandboxes.
    pub together: Together,
    zone: Mutex<Zone>,
    began: Instant,
    /// Names whose denial was told, and when: a program asks for one many times.
    refused: Mutex<HashMap<HostName, Instant>>,
    /// What the manager answers itself.
    offers: Arc<Offers>,
    tell: mpsc::Sender<RelayReply>,
}

/// Most refused names that are told of at a time: they are the code inside's to choose.
const MAX_REFUSED: usize = 1024;

/// After so long a refused name is told of again: a later task may have asked for it.
const NEWS: Duration = Duration::from_secs(1);

/// Where something inside would go.
#[derive(Debug)]
pub struct Asked {
    /// The name that it asked for, where the address is our answer to that.
    pub name: Option<HostName>,
    /// What it was granted under that name, where it is no host.
    pub granted: Option<Grant>,
    /// The address and port that it used.
    pub address: SocketAddr,
    /// The address that was connected to, once one was.
    reached: watch::Sender<Option<IpAddr>>,
}

impl Asked {
    /// Notes the address that was connected to: what rules that change later say of it counts.
    pub fn reach(&self, address: IpAddr) {
        self.reached.send_replace(Some(address));
    }
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
    /// Reads the rules.
    pub fn new(
        spec: &ServeSpec,
        tell: mpsc::Sender<RelayReply>,
        (offers, totals): (Arc<Offers>, &Arc<Totals>),
    ) -> Result<Self, ServeError> {
        let force = Force::read(&spec.rules, &offers)?;
        let limits = force.rules.limits();
        let together = Together::join(totals, &spec.sandbox, spec.profile.as_deref());
        let toll = |shares| Toll::new(limits.bytes_per_second, shares);
        let sandbox = Self {
            id: spec.sandbox.clone(),
            force: watch::Sender::new(Arc::new(force)),
            own: OwnAddresses::read().map_err(ServeError::OwnAddresses)?,
            places: Places::new(limits.connections),
            lookups: Lookups::new(),
            arrivals: Pace::new(Some(limits.new_per_second.into())),
            questions: Pace::new(Some(dns::QUESTIONS_PER_SECOND)),
            bytes: (toll(together.out()), toll(together.back())),
            together,
            zone: Mutex::new(Zone::new(prefix()?, &limits)?),
            limits: watch::Sender::new(limits),
            began: Instant::now(),
            refused: Mutex::default(),
            offers,
            tell,
        };
        sandbox.together.limit(&sandbox.force().rules);
        Ok(sandbox)
    }

    fn force(&self) -> Arc<Force> {
        Arc::clone(&self.force.borrow())
    }

    /// Digest of the rules that hold.
    pub fn digest(&self) -> String {
        self.force().rules.digest()
    }

    /// Puts other rules and limits in force.
    pub fn update(&self, documents: &[RuleDocument]) -> Result<(), ServeError> {
        let force = Force::read(documents, &self.offers)?;
        self.limit(force.rules.limits());
        self.together.limit(&force.rules);
        self.force.send_replace(Arc::new(force));
        Ok(())
    }

    /// How much may leave now.
    pub fn limits(&self) -> Limits {
        *self.limits.borrow()
    }

    /// The same from here on.
    pub fn changing_limits(&self) -> watch::Receiver<Limits> {
        self.limits.subscribe()
    }

    /// What its flows are carried under.
    pub fn bounds(&self) -> Bounds<'_> {
        Bounds {
            limits: &self.limits,
            out: &self.bytes.0,
            back: &self.bytes.1,
        }
    }

    fn limit(&self, limits: Limits) {
        self.places.bound(limits.connections);
        self.arrivals.limit(Some(limits.new_per_second.into()));
        self.bytes.0.limit(limits.bytes_per_second);
        self.bytes.1.limit(limits.bytes_per_second);
        let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        zone.limit(&limits);
        drop(zone);
        self.limits.send_replace(limits);
    }

    /// Returns when rules that changed since `changes` was taken do not allow the flow any
    /// more, with the words for its receipt.
    pub async fn revoked(&self, asked: &Asked, mut changes: Changes) -> String {
        let mut reached = asked.reached.subscribe();
        loop {
            let seen = tokio::select! {
                changed = changes.0.changed() => changed,
                changed = reached.changed() => changed,
            };
            if seen.is_err() {
                // Both are this flow's and its sandbox's, which live while it does.
                std::future::pending::<()>().await;
            }
            let address = *reached.borrow();
            if let Some(why) = self.refusal(asked, address) {
                return format!("ended, for the rules were changed: {why}");
            }
        }
    }

    /// Follows the rules from here on.
    pub fn changes(&self) -> Changes {
        Changes(self.force.subscribe())
    }

    /// Why a flow would not be let out now, by its name and by the address that it reached.
    fn refusal(&self, asked: &Asked, reached: Option<IpAddr>) -> Option<String> {
        if let (Some(name), Some(grant)) = (&asked.name, &asked.granted) {
            let still = self.force().grant(name).as_ref() == Some(grant);
            return (!still).then(|| format!("{grant} is granted no more"));
        }
        let first = asked.name.is_none().then(|| asked.address.ip());
        let both = [Some(first), reached.map(Some)];
        let refused = |address| match self.decide(asked, address) {
            Ok(decision) if decision.passes() => None,
            Ok(decision) => Some(decision.to_string()),
            Err(errno) => Some(format!("this host's own addresses cannot be read: {errno}")),
        };
        both.into_iter().flatten().find_map(refused)
    }

    /// Where a connection to this address wants to go: to the name whose address it is, or to
    /// the granted service whose own address it is, if it is one's.
    pub fn asked(&self, address: SocketAddr) -> Asked {
        let zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        let name = zone.names().name(address.ip()).cloned();
        drop(zone);
        let force = self.force();
        let name = name.or_else(|| {
            let service = self.offers.last()?.at(address.ip())?;
            force.services.name(service).cloned()
        });
        Asked {
            granted: name.as_ref().and_then(|name| force.grant(name)),
            name,
            address,
            reached: watch::Sender::new(None),
        }
    }

    /// Connects to the manager, for a service that was granted.
    ///
    /// # Errors
    /// When no manager listens.
    pub async fn call(&self, service: Service) -> io::Result<UnixStream> {
        let offer = self.offers.last().ok_or(io::ErrorKind::NotFound)?;
        offer.connect(&self.id, service).await
    }

    /// Answers a question for a name, and tells of a name that was refused; no answer where
    /// silence is one.
    pub async fn answer(&self, packet: &[u8], via: Via) -> Option<Vec<u8>> {
        let guard = self.own.guard().ok()?;
        let force = self.force();
        let mut decision = None;
        let answer = {
            let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
            zone.answer(packet, via, self.began.elapsed(), |name| {
                if force.grant(name).is_some() {
                    return Allowed::Listed;
                }
                let decided = force.rules.decide_name(name, &guard);
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
            Outcome::Denied(name) => {
                let why = services::ungranted(&name);
                Some((name, why))
            }
            Outcome::Limited(name, limit) => Some((name, Some(limit.to_string()))),
            _ => None,
        };
        if let (Some((name, why)), Some(decision)) = (refused, decision)
            && self.is_news(&name)
        {
            self.tell(self.name_receipt(&name, &decision, why)).await;
        }
        answer.packet
    }

    fn is_news(&self, name: &HostName) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if refused.len() >= MAX_REFUSED {
            refused.retain(|_, told| now.duration_since(*told) < NEWS);
        }
        let old = |told: &Instant| now.duration_since(*told) >= NEWS;
        let news = refused.get(name).map_or(refused.len() < MAX_REFUSED, old);
        if news {
            refused.insert(name.clone(), now);
        }
        news
    }

    fn name_receipt(
        &self,
        name: &HostName,
        decision: &Decision,
        why: Option<String>,
    ) -> FlowReceipt {
        let words = match why {
            Some(why) => format!("denied the name {name}: {why}"),
            None => decision.to_string(),
        };
        FlowReceipt {
            sandbox: self.id.clone(),
            kind: FlowKind::Name,
            name: Some(name.to_string()),
            address: None,
            port: None,
            mode: mode(&self.force().rules),
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
        Ok(self.force().rules.decide(&destination, &self.own.guard()?))
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
            mode: mode(&self.force().rules),
            verdict: FlowVerdict::Failed,
            rule: None,
            words: String::new(),
            sent: 0,
            received: 0,
            duration_us: 0,
        }
    }
}

/// What the rules of a sandbox become.
#[derive(Debug)]
pub struct Changes(watch::Receiver<Arc<Force>>);

/// What may leave a sandbox now.
#[derive(Debug)]
struct Force {
    rules: Ruleset,
    /// Unix sockets of the host's that it may reach.
    sockets: sockets::Granted,
    /// Services of the manager's that it may reach.
    services: services::Granted,
}

impl Force {
    fn read(documents: &[RuleDocument], offers: &Offers) -> Result<Self, ServeError> {
        let rules = within(documents)?;
        Ok(Self {
            sockets: sockets::Granted::check(&rules)?,
            services: services::Granted::check(&rules, offers)?,
            rules,
        })
    }

    /// What is granted under this name.
    fn grant(&self, name: &HostName) -> Option<Grant> {
        let socket = self.sockets.path(name).map(PathBuf::from);
        let service = || self.services.by_name(name).map(Grant::Service);
        socket.map(Grant::Socket).or_else(service)
    }
}

/// What each of the documents allows. More of them only narrow.
fn within(documents: &[RuleDocument]) -> Result<Ruleset, ServeError> {
    let mut rules: Option<Ruleset> = None;
    for document in documents {
        let one = read(document)?;
        rules = Some(match rules {
            None => one,
            Some(others) => one.bounded_by(&others),
        });
    }
    rules.ok_or(ServeError::NoRules)
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

fn mode(rules: &Ruleset) -> RuleMode {
    match rules.mode() {
        Mode::Enforce => RuleMode::Enforce,
        Mode::DryRun => RuleMode::DryRun,
        Mode::Off => RuleMode::Off,
    }
}

/// What a decision means for a flow that is let out, or is not.
pub fn verdict(decision: &Decision) -> FlowVerdict {
    match decision.verdict {
        Verdict::Allow => FlowVerdict::Allowed,
        Verdict::WouldDeny => FlowVerdict::WouldBeDenied,
        Verdict::Deny => FlowVerdict::Denied,
    }
}
