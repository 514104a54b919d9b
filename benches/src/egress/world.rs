//! A host, an Internet behind it, and two sandboxes' networks: one with a veth pair to the host,
//! one whose every destination arrives at a relay.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::thread;

use lakekeep_sys::net::{self, Captured};

use super::relay::Relay;
use super::server;
use crate::error::BenchError;

/// The server: an address that no host has (RFC 5737).
const SERVER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    server::PORT,
);

/// The host's ends of two links: `up0` to the server, `box0` to the sandbox with a veth pair.
const HOST: &[&str] = &[
    "ip link add up0 type veth peer name down0 netns {outside}",
    "ip address add 192.0.2.2/24 dev up0",
    "ip link set up0 up",
    "ip link add box0 type veth peer name eth0 netns {routed}",
    "ip address add 10.77.0.1/24 dev box0",
    "ip link set box0 up",
    "nft add table ip bench",
    "nft add chain ip bench post { type nat hook postrouting priority 100 ; }",
    "nft add rule ip bench post oifname up0 masquerade",
];
const OUTSIDE: &[&str] = &[
    "ip address add 192.0.2.1/24 dev down0",
    "ip link set down0 up",
];
const ROUTED: &[&str] = &[
    "ip address add 10.77.0.2/24 dev eth0",
    "ip link set eth0 up",
    "ip route add default via 10.77.0.1",
];

/// The way by which a client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Veth,
    Relay,
}

/// The namespaces, the server and the relay.
#[derive(Debug)]
pub struct World {
    routed: OwnedFd,
    caught: OwnedFd,
    /// Another sandbox's, of the same relay.
    beside: OwnedFd,
    pub relay: Relay,
}

impl World {
    /// Makes all of it; with the process all of it ends.
    pub fn make() -> Result<Self, BenchError> {
        let [host, outside, routed, caught] = [(); 4].map(|()| namespace());
        let (host, outside, routed, caught) = (host?, outside?, routed?, caught?);
        let beside = namespace()?;
        let place = |fd: &OwnedFd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
        let places = [("{outside}", place(&outside)), ("{routed}", place(&routed))];
        within(&host, || commands(HOST, &places))??;
        within(&outside, || commands(OUTSIDE, &[]))??;
        within(&routed, || commands(ROUTED, &[]))??;
        within(&host, forward)??;
        within(&outside, server::start)??;
        let captured = capture(&caught)?;
        let relay = within(&host, Relay::start)??;
        relay.serve("bench", &captured)?;
        relay.serve("beside", &capture(&beside)?)?;
        Ok(Self {
            routed,
            caught,
            beside,
            relay,
        })
    }

    /// Runs `body` in a thread that is where a client of this way is.
    pub fn inside<T: Send>(
        &self,
        way: Way,
        body: impl FnOnce(SocketAddr) -> T + Send,
    ) -> Result<T, BenchError> {
        let namespace = match way {
            Way::Veth => &self.routed,
            Way::Relay => &self.caught,
        };
        within(namespace, || body(SERVER))
    }

    /// The same, while `others` runs in a thread of another sandbox of this way. (Of a veth pair's
    /// there is one: who shares it shares no program.)
    pub fn beside<T: Send>(
        &self,
        way: Way,
        others: impl FnOnce(SocketAddr) + Send,
        body: impl FnOnce(SocketAddr) -> T + Send,
    ) -> Result<T, BenchError> {
        let beside = match way {
            Way::Veth => &self.routed,
            Way::Relay => &self.beside,
        };
        thread::scope(|scope| {
            let others = scope.spawn(|| within(beside, || others(SERVER)));
            let done = self.inside(way, body);
            let ended = others.join();
            ended.unwrap_or(Err(BenchError::Answer("a thread of this run has ended")))?;
            done
        })
    }
}

/// An empty network.
pub fn namespace() -> Result<OwnedFd, BenchError> {
    net::make().map_err(|errno| BenchError::io("make a network namespace")(errno.into()))
}

/// Has all that is sent in it arrive at two sockets.
pub fn capture(namespace: &OwnedFd) -> Result<Captured, BenchError> {
    net::capture(namespace).map_err(BenchError::plan)
}

fn within<T: Send>(namespace: &OwnedFd, body: impl FnOnce() -> T + Send) -> Result<T, BenchError> {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let entered = net::enter(namespace);
            entered.map_err(|errno| BenchError::io("setns")(errno.into()))?;
            Ok(body())
        });
        inside
            .join()
            .unwrap_or(Err(BenchError::Answer("a thread of this run has ended")))
    })
}

/// The host sends on what the routed sandbox sends (ip(7)).
fn forward() -> Result<(), BenchError> {
    let switch = std::path::Path::new("/proc/sys/net/ipv4/ip_forward");
    std::fs::write(switch, "1").map_err(BenchError::file("write", switch))
}

fn commands(lines: &[&str], places: &[(&str, String)]) -> Result<(), BenchError> {
    lines.iter().try_for_each(|line| {
        let mut words = line.split(' ').map(|word| {
            let place = places.iter().find(|(name, _)| *name == word);
            place.map_or(word, |(_, place)| place.as_str())
        });
        let program = words.next().unwrap_or_default();
        let output = Command::new(program).args(words).output();
        let output = output.map_err(|error| BenchError::Start {
            program: program.to_owned(),
            error,
        })?;
        match output.status.success() {
            true => Ok(()),
            false => Err(BenchError::Failed {
                program: (*line).to_owned(),
                status: output.status.to_string(),
                words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            }),
        }
    })
}
