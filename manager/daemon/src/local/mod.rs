//! Services that the manager answers itself, inside of sandboxes that are granted them.
//!
//! A connection comes from the relay, which says first in whose sandbox it began; everything
//! after that is the sandbox's. To add a service: name it in [`Service`], write a
//! [`LocalService`], and add it to [`all`].
//!
//! Who may connect: the socket is in a folder that everybody may pass, in a folder that only the
//! manager's account may. The relay, which is nobody, has a descriptor of the inner one.

mod addresses;
mod door;
mod http;
mod identity;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use lakekeep_egress_rules::{FixedAddresses, Service};
use lakekeep_protocol::relay::ServedService;
use tokio::net::UnixStream;

use crate::egress::Whose;
use crate::places::Full;

pub use addresses::{ServiceDoc, check};
pub use door::Local;

/// A connection being answered.
pub type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a relay is told of the services here.
#[derive(Debug)]
pub struct Offer {
    /// Which there are, and their own addresses.
    pub services: Vec<ServedService>,
    /// The folder of the socket, opened with `O_PATH` (open(2)): whoever has it may connect.
    pub folder: OwnedFd,
}

/// A service that is answered here.
pub trait LocalService: Debug + Send + Sync {
    /// Which it is: what documents call it, and its name inside.
    fn service(&self) -> Service;

    /// Addresses inside that are its own, besides its name, as the administrator gave them
    /// ([`ServiceDoc`]). Some clients insist on one: the
    /// AWS SDKs take credentials over plain HTTP from loopback, 169.254.170.2 (ECS),
    /// 169.254.170.23 and fd00:ec2::23 (EKS) alone (botocore, `ContainerMetadataFetcher`;
    /// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>).
    /// No two services have the same.
    fn addresses(&self) -> &[IpAddr];

    /// Answers one connection of a sandbox's, whose bytes nobody has looked at; `whose` it is
    /// does not depend on them. Dropped when the connection has lasted too long.
    fn handle(&self, stream: UnixStream, whose: Arc<Whose>) -> Answering;

    /// Says in the service's own protocol that there are too many connections, and when to come
    /// again. Dropped, as the other.
    fn refuse(&self, stream: UnixStream, why: Full) -> Answering;
}

/// All of them, at these addresses.
fn all(fixed: &FixedAddresses) -> Vec<Arc<dyn LocalService>> {
    let of = |service: &Service| -> Arc<dyn LocalService> {
        let own = fixed.iter().filter(|(_, whose)| *whose == service);
        let own = own.map(|(address, _)| *address).collect();
        match service {
            Service::Identity => Arc::new(identity::Identity::at(own)),
        }
    };
    Service::ALL.iter().map(of).collect()
}

/// As a relay is told of them.
fn served(services: &[Arc<dyn LocalService>]) -> Vec<ServedService> {
    let one = |service: &Arc<dyn LocalService>| ServedService {
        name: service.service().to_string(),
        addresses: service.addresses().to_vec(),
    };
    services.iter().map(one).collect()
}
