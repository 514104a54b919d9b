//! Thousands of connections that live at once: what they cost the relay, and whether each of
//! them still answers.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::server::{Want, ask};
use super::world::{Way, World};
use super::{Measured, RELAY};
use crate::args::EgressArgs;
use crate::error::BenchError;
use crate::measure::Sample;

/// How long they do nothing, and are looked at.
const REST: Duration = Duration::from_secs(3);

/// Connections that have been answered once.
pub struct Crowd<'a> {
    world: &'a World,
    streams: Vec<TcpStream>,
    before: (u64, usize),
}

impl<'a> Crowd<'a> {
    /// Connects them all.
    pub fn gather(world: &'a World, arguments: &EgressArgs) -> Result<Self, BenchError> {
        let before = (world.relay.memory()?, world.relay.descriptors()?);
        let streams = world.inside(Way::Relay, |server| {
            let connect = |_| {
                let mut stream = TcpStream::connect(server)?;
                stream.set_nodelay(true)?;
                ask(&mut stream, Want::Echo, 0)?;
                answered(&mut stream)?;
                Ok(stream)
            };
            let all = (0..arguments.connections).map(connect);
            all.collect::<io::Result<Vec<TcpStream>>>()
        })?;
        Ok(Self {
            world,
            streams: streams.map_err(BenchError::io("connect"))?,
            before,
        })
    }

    /// Asks every one of them once more, after a rest.
    pub fn measure(mut self) -> Result<Vec<Measured>, BenchError> {
        let relay = &self.world.relay;
        let (memory, descriptors) = (relay.memory()?, relay.descriptors()?);
        let cpu = relay.cpu()?;
        std::thread::sleep(REST);
        let idle = relay.cpu()?.saturating_sub(cpu);
        let cpu = relay.cpu()?;
        let walls: io::Result<Vec<Duration>> = self.streams.iter_mut().map(answered).collect();
        let walls = walls.map_err(BenchError::io("hear of a connection that was quiet"))?;
        let busy = relay.cpu()?.saturating_sub(cpu);
        let count = u64::try_from(self.streams.len()).unwrap_or(u64::MAX).max(1);
        let grown = memory.saturating_sub(self.before.0);
        let note = format!(
            "relay: {} KiB resident, {} bytes a connection, {} descriptors; {} ms of CPU in {} s \
             of rest, {} ms for a message of each",
            memory >> 10,
            grown / count,
            descriptors.saturating_sub(self.before.1),
            idle.as_millis(),
            REST.as_secs(),
            busy.as_millis(),
        );
        let sample = |wall| Sample { wall, cpu: None };
        Ok(vec![Measured {
            scenario: format!("live-{count}"),
            peer: RELAY,
            samples: walls.into_iter().map(sample).collect(),
            bytes: None,
            note,
            memory: Some(memory),
        }])
    }
}

/// One byte there and back.
fn answered(stream: &mut TcpStream) -> io::Result<Duration> {
    let began = Instant::now();
    stream.write_all(&[1])?;
    stream.read_exact(&mut [0])?;
    Ok(began.elapsed())
}
