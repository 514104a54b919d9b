//! Transfers, connections and small messages, by turns through the veth pair and the relay.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::server::{self, Want, ask};
use super::world::{Way, World};
use super::{Measured, RELAY, VETH};
use crate::args::EgressArgs;
use crate::error::BenchError;
use crate::keep::busy;
use crate::measure::Sample;

/// Messages of one round.
const MESSAGES: usize = 200;

/// The same where others send meanwhile.
const FEW: usize = 50;

/// Connections of one round.
const CONNECTIONS: usize = 50;

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Scenario {
    /// A direction, and how many streams share the bytes.
    Transfer(Want, u64),
    /// From connect(2) until the first byte came back.
    Connect,
    /// One byte there and back.
    RoundTrip,
    /// The same while so many streams of another sandbox's send as fast as they can.
    Beside(usize),
    /// Two writes there, two back: held up where one waits for the other's acknowledgement.
    Parts,
}

const ALL: [(&str, Scenario); 9] = [
    ("download-1", Scenario::Transfer(Want::Download, 1)),
    ("upload-1", Scenario::Transfer(Want::Upload, 1)),
    ("download-8", Scenario::Transfer(Want::Download, 8)),
    ("upload-8", Scenario::Transfer(Want::Upload, 8)),
    ("connect", Scenario::Connect),
    ("round-trip", Scenario::RoundTrip),
    ("two-parts", Scenario::Parts),
    ("beside-8", Scenario::Beside(8)),
    ("beside-64", Scenario::Beside(64)),
];

/// All scenarios in one world.
pub struct Traffic<'a> {
    world: &'a World,
    found: Vec<Measured>,
}

impl<'a> Traffic<'a> {
    /// Nothing measured yet.
    pub fn new(world: &'a World) -> Result<Self, BenchError> {
        let traffic = Self {
            world,
            found: Vec::new(),
        };
        // What is first of all finds no route, no neighbour and no memory of the other's windows.
        for way in [Way::Veth, Way::Relay] {
            traffic.once(way, Scenario::Transfer(Want::Download, 1), 64 << 20)?;
            traffic.once(way, Scenario::Transfer(Want::Upload, 1), 64 << 20)?;
        }
        Ok(traffic)
    }

    /// All rounds; who is first in one is last in the next.
    pub fn measure(mut self, arguments: &EgressArgs) -> Result<Vec<Measured>, BenchError> {
        let bytes = arguments.megabytes << 20;
        for (name, scenario) in ALL {
            let moved = match scenario {
                Scenario::Transfer(..) => Some(bytes),
                _ => None,
            };
            let peer = |peer| Measured {
                bytes: moved,
                ..Measured::of(name, peer)
            };
            self.found.extend([peer(VETH), peer(RELAY)]);
        }
        for round in 0..arguments.n {
            for (index, (_, scenario)) in ALL.into_iter().enumerate() {
                let mut ways = [(Way::Veth, 2 * index), (Way::Relay, 2 * index + 1)];
                if round % 2 == 1 {
                    ways.reverse();
                }
                for (way, place) in ways {
                    let samples = self.once(way, scenario, bytes)?;
                    if let Some(found) = self.found.get_mut(place) {
                        found.samples.extend(samples);
                    }
                }
            }
            eprint!("\r{} of {}", round + 1, arguments.n);
        }
        eprintln!();
        Ok(self.found)
    }

    fn once(&self, way: Way, scenario: Scenario, bytes: u64) -> Result<Vec<Sample>, BenchError> {
        if let Scenario::Beside(streams) = scenario {
            return self.beside(way, streams);
        }
        let before = busy()?;
        let walls = self.world.inside(way, |server| match scenario {
            Scenario::Transfer(want, streams) => transfer(server, want, (bytes, streams)),
            Scenario::Connect => (0..CONNECTIONS).map(|_| connect(server)).collect(),
            Scenario::RoundTrip | Scenario::Beside(_) => messages(server, (Want::Echo, MESSAGES)),
            Scenario::Parts => messages(server, (Want::Parts, MESSAGES)),
        })?;
        let walls = walls.map_err(BenchError::io("talk to the server"))?;
        let used = busy()?.saturating_sub(before);
        // The kernel's clock of CPU time is too coarse for anything but a transfer.
        let cpu = matches!(scenario, Scenario::Transfer(..)).then_some(used);
        let sample = |wall| Sample { wall, cpu };
        Ok(walls.into_iter().map(sample).collect())
    }

    /// Round trips while others send.
    fn beside(&self, way: Way, streams: usize) -> Result<Vec<Sample>, BenchError> {
        let (over, ready) = (AtomicBool::new(false), Barrier::new(streams + 1));
        let others = |server| {
            thread::scope(|scope| {
                for _ in 0..streams {
                    scope.spawn(|| send_on(server, &over, &ready));
                }
            });
        };
        let walls = self.world.beside(way, others, |server| {
            ready.wait();
            let walls = messages(server, (Want::Echo, FEW));
            over.store(true, Ordering::Relaxed);
            walls
        })?;
        let walls = walls.map_err(BenchError::io("talk to the server"))?;
        let sample = |wall| Sample { wall, cpu: None };
        Ok(walls.into_iter().map(sample).collect())
    }
}

/// Sends from when all are connected until it is over, and returns when all has arrived.
fn send_on(server: SocketAddr, over: &AtomicBool, ready: &Barrier) -> io::Result<()> {
    let connected = TcpStream::connect(server);
    ready.wait();
    let mut stream = connected?;
    ask(&mut stream, Want::Upload, u64::MAX)?;
    while !over.load(Ordering::Relaxed) {
        server::send(&mut stream, server::CHUNK as u64)?;
    }
    // What is on its way is nobody's burden afterwards: the server closes when it has all.
    stream.shutdown(Shutdown::Write)?;
    stream.read(&mut [0]).map(drop)
}

/// From when all streams are connected until the last has all.
fn transfer(
    server: SocketAddr,
    want: Want,
    (bytes, streams): (u64, u64),
) -> io::Result<Vec<Duration>> {
    let share = bytes / streams;
    let count = usize::try_from(streams).unwrap_or(1);
    let ready = Barrier::new(count + 1);
    thread::scope(|scope| {
        let each: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| one(server, (want, share), &ready)))
            .collect();
        ready.wait();
        let began = Instant::now();
        for one in each {
            let done = one.join();
            done.unwrap_or(Err(io::ErrorKind::Other.into()))?;
        }
        Ok(vec![began.elapsed()])
    })
}

fn one(server: SocketAddr, (want, bytes): (Want, u64), ready: &Barrier) -> io::Result<()> {
    let connected = TcpStream::connect(server);
    ready.wait();
    let mut stream = connected?;
    ask(&mut stream, want, bytes)?;
    match want {
        Want::Download => server::receive(&mut stream, bytes),
        _ => {
            server::send(&mut stream, bytes)?;
            stream.read_exact(&mut [0])
        }
    }
}

fn connect(server: SocketAddr) -> io::Result<Duration> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(server)?;
    ask(&mut stream, Want::Echo, 0)?;
    stream.write_all(&[1])?;
    stream.read_exact(&mut [0])?;
    Ok(began.elapsed())
}

fn messages(server: SocketAddr, (want, count): (Want, usize)) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    ask(&mut stream, want, 0)?;
    let parts: &[&[u8]] = match want {
        Want::Parts => &[&[1], &[2]],
        _ => &[&[1]],
    };
    let mut once = || {
        let began = Instant::now();
        for part in parts {
            stream.write_all(part)?;
        }
        for _ in parts {
            stream.read_exact(&mut [0])?;
        }
        Ok(began.elapsed())
    };
    // The first waits for the relay's connection.
    once()?;
    (0..count).map(|_| once()).collect()
}
