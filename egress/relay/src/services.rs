//! Services that the manager answers itself. Inside, each is a name,
//! `NAME.services.lakekeep.internal`, and the addresses that it asks for; port 80.
//!
//! The manager's socket lies in a folder that nobody but its own account reaches by a path: the
//! relay is nobody, and has a descriptor of the folder from its manager.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use lakekeep_egress_rules::{FixedAddresses, Ruleset, Service};
use lakekeep_protocol::Preamble;
use lakekeep_protocol::relay::{MAX_SERVICES, SERVICES_SOCKET, ServedService};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::error::ServeError;
use crate::sockets;

/// What the present manager answers, or the last one did.
#[derive(Debug, Default)]
pub struct Offers(Mutex<Option<Arc<Offer>>>);

/// Services of one manager.
#[derive(Debug)]
pub struct Offer {
    folder: OwnedFd,
    services: BTreeSet<Service>,
    addresses: FixedAddresses,
}

impl Offers {
    /// A manager said what it answers; services that this build does not know are nobody's here.
    pub fn put(&self, folder: OwnedFd, served: &[ServedService]) {
        let mut offer = Offer {
            folder,
            services: BTreeSet::new(),
            addresses: FixedAddresses::new(),
        };
        for one in served.iter().take(MAX_SERVICES) {
            if let Ok(service) = one.name.parse() {
                offer.services.insert(service);
                let own = one.addresses.iter().map(|address| (*address, service));
                offer.addresses.extend(own);
            }
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(offer));
    }

    /// What was said last.
    pub fn last(&self) -> Option<Arc<Offer>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Offer {
    /// The service whose own address this is.
    pub fn at(&self, address: IpAddr) -> Option<Service> {
        self.addresses.get(&address).copied()
    }

    /// Connects to the manager, and tells it who asks: all that follows is the sandbox's.
    ///
    /// # Errors
    /// When no manager listens there.
    pub async fn connect(&self, sandbox: &str, service: Service) -> io::Result<UnixStream> {
        let preamble = Preamble::new(sandbox, service.as_str()).map_err(io::Error::other)?;
        let socket = sockets::open_in(&self.folder, SERVICES_SOCKET)?;
        let mut stream = sockets::connect_to(socket).await?;
        stream.write_all(&preamble.to_bytes()).await?;
        Ok(stream)
    }
}

/// Refuses services that all documents grant and nobody would answer.
///
/// # Errors
/// `NoManager`, `NotServed`.
pub fn check(rules: &Ruleset, offers: &Offers) -> Result<(), ServeError> {
    let offer = offers.last();
    rules.services().try_for_each(|service| {
        let offer = offer.as_ref().ok_or(ServeError::NoManager(service))?;
        match offer.services.contains(&service) {
            true => Ok(()),
            false => Err(ServeError::NotServed(service)),
        }
    })
}
