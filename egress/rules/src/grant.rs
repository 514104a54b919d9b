//! What documents grant a sandbox beside hosts: Unix sockets of the host's, and services of the
//! manager's own. Each is a name inside; no rule is asked of it, for the grant is one.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::document::Place;
use crate::name::HostName;
use crate::ruleset::{Layer, Ruleset};
use crate::service::Service;

/// The zone of granted sockets' names; `internal` is nobody's (ICANN, 2024).
const SOCKETS: &str = ".sockets.lakekeep.internal";

/// Addresses inside that are a service's own, wherever that is granted.
pub type FixedAddresses = BTreeMap<IpAddr, Service>;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A Unix socket of the host's, at this path.
    Socket(PathBuf),
    /// A service of the manager's.
    Service(Service),
}

/// What a name inside would be, if it were granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The socket that documents give this name.
    Socket(String),
    /// A service.
    Service(Service),
}

/// Why a name that a grant would make one is none. Displays the cause and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ungranted {
    /// What is missing, and of whom.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

impl Ruleset {
    /// What every level grants under this name: the same service, or a socket under the same path.
    pub fn grant(&self, name: &HostName) -> Option<Grant> {
        self.granted(&Wanted::of(name)?)
    }

    /// What a connection is for: the name that was asked for, or else the granted service whose
    /// own address (`fixed`) was connected to; and what is granted under that name.
    pub fn asked(
        &self,
        name: Option<HostName>,
        fixed: Option<Service>,
    ) -> (Option<HostName>, Option<Grant>) {
        let service = || {
            let service = fixed.filter(|service| self.services().any(|one| one == *service))?;
            HostName::parse(&service.host()).ok()
        };
        let name = name.or_else(service);
        let grant = name.as_ref().and_then(|name| self.grant(name));
        (name, grant)
    }

    /// Why nothing is granted under a name that could be a grant's: a rule would not help.
    /// `None` for any other name, and for one that is granted.
    pub fn ungranted(&self, name: &HostName) -> Option<Ungranted> {
        self.missing(&Wanted::of(name)?)
    }

    /// The same of what would be granted.
    pub(crate) fn missing(&self, wanted: &Wanted) -> Option<Ungranted> {
        if self.granted(wanted).is_some() {
            return None;
        }
        let lack: Vec<&str> = self
            .layers
            .iter()
            .filter(|layer| layer.grant(wanted).is_none())
            .map(|layer| layer.level.as_str())
            .collect();
        let cause = match lack.as_slice() {
            [] => format!("{wanted} is granted under another path by each level"),
            levels => format!("{wanted} is not granted by {}", levels.join(" and ")),
        };
        Some(Ungranted {
            cause,
            remedy: wanted.remedy().to_owned(),
        })
    }

    fn granted(&self, wanted: &Wanted) -> Option<Grant> {
        let mut grants = self.layers.iter().map(|layer| layer.grant(wanted));
        let first = grants.next()??;
        grants
            .all(|other| other.as_ref() == Some(&first))
            .then_some(first)
    }
}

impl Layer {
    /// What this document grants.
    pub(crate) fn grant(&self, wanted: &Wanted) -> Option<Grant> {
        match wanted {
            Wanted::Socket(name) => self.sockets.get(name).cloned().map(Grant::Socket),
            Wanted::Service(service) => {
                let granted = self.services.contains(service);
                granted.then_some(Grant::Service(*service))
            }
        }
    }

    /// What it says of a grant, and where; for an explanation.
    pub(crate) fn says(&self, wanted: &Wanted) -> String {
        match self.grant(wanted) {
            Some(grant) => {
                let place = Place {
                    document: self.document.clone(),
                    line: None,
                    field: wanted.field().to_owned(),
                };
                format!("{}: granted: {} ({place})", self.level, grant.rule())
            }
            None => format!("{}: does not grant {wanted}", self.level),
        }
    }
}

impl Grant {
    /// The port at which it is: a service speaks HTTP, as what is at a cloud's fixed address does.
    pub fn port(&self) -> u16 {
        match self {
            Grant::Socket(_) => 1,
            Grant::Service(_) => 80,
        }
    }

    /// As the rule of a receipt.
    pub fn rule(&self) -> String {
        match self {
            Grant::Socket(path) => format!("[[sockets]] {}", path.display()),
            Grant::Service(service) => format!("[services] {service}"),
        }
    }

    /// Why a connection to another port of its name is refused; `None` at its own.
    pub fn wrong_port(&self, port: u16) -> Option<String> {
        (port != self.port()).then(|| format!("{self} is at port {}", self.port()))
    }
}

impl Wanted {
    /// Of this name; `None` where no grant could make it one.
    pub(crate) fn of(name: &HostName) -> Option<Wanted> {
        let mut services = Service::ALL.iter().copied();
        if let Some(service) = services.find(|service| service.host() == name.as_str()) {
            return Some(Wanted::Service(service));
        }
        let socket = name.as_str().strip_suffix(SOCKETS)?;
        (!socket.contains('.')).then(|| Wanted::Socket(socket.to_owned()))
    }

    fn field(&self) -> &'static str {
        match self {
            Wanted::Socket(_) => "sockets",
            Wanted::Service(_) => "services",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Wanted::Socket(_) => {
                "add it to [[sockets]] in [egress] with the same path, at each level that has one"
            }
            Wanted::Service(_) => "add it to services in [egress], at each level that has one",
        }
    }
}

/// As words say it.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grant::Socket(path) => write!(f, "Unix socket {}", path.display()),
            Grant::Service(service) => write!(f, "the service {service}"),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Socket(name) => write!(f, "the socket {name}"),
            Wanted::Service(service) => write!(f, "the service {service}"),
        }
    }
}

impl fmt::Display for Ungranted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause, self.remedy)
    }
}
