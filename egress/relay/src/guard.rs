//! This host's own addresses, which change while the relay runs.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lakekeep_egress_rules::Guard;
use lakekeep_sys::{Errno, net};

/// For how long they are believed.
const FRESH: Duration = Duration::from_secs(5);

/// The guard against special addresses, with those of this host as they are now.
#[derive(Debug)]
pub struct OwnAddresses(Mutex<(Guard, Instant)>);

impl OwnAddresses {
    /// Reads them for the first time.
    pub fn read() -> Result<Self, Errno> {
        Ok(Self(Mutex::new((now()?, Instant::now()))))
    }

    /// The guard.
    ///
    /// # Errors
    /// When the addresses cannot be read: then nothing may be decided.
    pub fn guard(&self) -> Result<Guard, Errno> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.1.elapsed() > FRESH {
            *known = (now()?, Instant::now());
        }
        Ok(known.0.clone())
    }
}

fn now() -> Result<Guard, Errno> {
    Ok(Guard::new(net::own_addresses()?))
}
