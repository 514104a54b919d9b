//! Services that a manager answers itself, in sandboxes whose documents grant them.

use std::fmt;
use std::str::FromStr;

/// One of them. Which there are is known here, so that a document that grants another one is
/// refused where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Says to the code inside in whose sandbox it runs.
    Identity,
}

/// A name that is no service's. Displays as the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownService;

impl Service {
    /// All of them, in the order of their names.
    pub const ALL: &[Service] = &[Service::Identity];

    /// What documents call it; a label of a name (RFC 1035, 2.3.1).
    pub fn as_str(self) -> &'static str {
        match self {
            Service::Identity => "identity",
        }
    }

    /// Its name inside. The zone `internal` is nobody's (ICANN, 2024).
    pub fn host(self) -> String {
        format!("{self}.services.lakekeep.internal")
    }
}

impl FromStr for Service {
    type Err = UnknownService;

    fn from_str(name: &str) -> Result<Service, UnknownService> {
        let mut all = Service::ALL.iter().copied();
        all.find(|service| service.as_str() == name)
            .ok_or(UnknownService)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for UnknownService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Service::ALL.iter().map(|one| one.as_str()).collect();
        write!(f, "write one of: {}", names.join(", "))
    }
}

impl std::error::Error for UnknownService {}
