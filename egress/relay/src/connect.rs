//! Names resolved, and connections made, from where the relay is.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lakekeep_egress_rules::HostName;
use tokio::net::TcpStream;

/// Most lookups at a time, of all sandboxes: each holds a thread in getaddrinfo(3).
pub const LOOKUPS: usize = 64;

/// Most lookups at a time of one sandbox.
pub const LOOKUPS_OF_ONE: usize = 8;

/// Most addresses of one name that are looked at.
const ADDRESSES: usize = 16;

/// All addresses of a name, as every program of this host resolves it; at most
/// [`ADDRESSES`], each once.
///
/// # Errors
/// When there are none, or they do not come within `patience`.
pub async fn resolve(name: &HostName, port: u16, patience: Duration) -> io::Result<Vec<IpAddr>> {
    let looked = tokio::net::lookup_host((name.as_str(), port));
    let found = tokio::time::timeout(patience, looked).await??;
    let mut addresses = Vec::new();
    for address in found.map(|found| found.ip().to_canonical()) {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    Ok(addresses)
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
        match tokio::time::timeout(patience, TcpStream::connect(peer)).await {
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
