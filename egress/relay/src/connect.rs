//! Names resolved, and connections made, from where the relay is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lakekeep_egress_rules::HostName;
use tokio::net::{TcpStream, lookup_host};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Most lookups at a time, of all sandboxes: each holds a thread in getaddrinfo(3).
pub const LOOKUPS: usize = 256;

/// Most lookups at a time of one sandbox.
const LOOKUPS_OF_ONE: usize = 8;

/// Most addresses of one name that are looked at.
const ADDRESSES: usize = 16;

/// The lookups of one sandbox, in threads of the runtime in which it was made.
#[derive(Debug)]
pub struct Lookups {
    places: Arc<Semaphore>,
    runtime: Handle,
}

impl Lookups {
    /// None yet.
    pub fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(LOOKUPS_OF_ONE)),
            runtime: Handle::current(),
        }
    }

    /// All addresses of a name, as every program of this host resolves it; at most
    /// [`ADDRESSES`], each once.
    ///
    /// # Errors
    /// When there are none, or they do not come within `patience`.
    pub async fn resolve(
        &self,
        name: &HostName,
        port: u16,
        patience: Duration,
    ) -> io::Result<Vec<IpAddr>> {
        timeout(patience, self.look_up(name.clone(), port)).await?
    }

    /// A lookup that nobody waits for any longer holds its place until its thread has come back:
    /// else code inside would hold every thread with names that are answered late or never.
    async fn look_up(&self, name: HostName, port: u16) -> io::Result<Vec<IpAddr>> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let looked = self.runtime.spawn(async move {
            let found = lookup_host((name.as_str(), port)).await;
            drop(place);
            found.map(|found| distinct(found.map(|found| found.ip().to_canonical())))
        });
        let addresses = looked.await.map_err(io::Error::other)??;
        match addresses.is_empty() {
            true => Err(io::ErrorKind::NotFound.into()),
            false => Ok(addresses),
        }
    }
}

fn distinct(all: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in all {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES {
            addresses.push(address);
        }
    }
    addresses
}

/// Connects to the first of the addresses that accepts within `patience`. The addresses were
/// checked, and none is resolved again.
///
/// # Errors
/// Of the last.
pub async fn connect(
    addresses: &[IpAddr],
    port: u16,
    patience: Duration,
) -> io::Result<(TcpStream, IpAddr)> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        let peer = SocketAddr::new(*address, port);
        match timeout(patience, TcpStream::connect(peer)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok((stream, *address));
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
