//! `worker`: one of the processes that measure at the same time, each alone with its
//! children.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use crate::args::WorkerArgs;
use crate::chain;
use crate::error::BenchError;
use crate::ground::Ground;
use crate::isolation;
use crate::measure;
use crate::orders::{Answer, Order};
use crate::peers::{Manager, Name, Peer};

struct Worker {
    arguments: WorkerArgs,
    manager: Manager,
    peers: Vec<Peer>,
    // Dropped last: the peers' files are in it.
    ground: Ground,
}

/// Does what it is told on standard input, until that ends.
pub fn run(arguments: WorkerArgs) -> Result<ExitCode, BenchError> {
    measure::adopt_orphans()?;
    let mut worker = Worker {
        manager: Manager::of(arguments.ready.clone()),
        peers: Vec::new(),
        ground: match &arguments.root {
            Some(root) => Ground::share(root, &arguments.hold)?,
            None => Ground::make()?,
        },
        arguments,
    };
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(BenchError::io("read an order"))?;
        let answer = worker.obey(serde_json::from_str(&line)?);
        let mut line = serde_json::to_string(&answer)?;
        line.push('\n');
        out.write_all(line.as_bytes())
            .and_then(|()| out.flush())
            .map_err(BenchError::io("write an answer"))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Worker {
    fn obey(&mut self, order: Order) -> Answer {
        let done = match order {
            Order::Enter { name, look } => self.enter(name, look),
            Order::Settle { name } => self
                .peer(name)
                .and_then(|peer| peer.settle().map(|()| Answer::Settled)),
            Order::Run { name, serial } => self.sample(name, serial),
        };
        done.unwrap_or_else(|error| Answer::Failed {
            absent: error.is_absence(),
            reason: chain(&error),
        })
    }

    fn enter(&mut self, name: Name, look: bool) -> Result<Answer, BenchError> {
        let WorkerArgs { programs, user, .. } = &self.arguments;
        let peer = Peer::new(name, &self.ground, programs, *user, &self.manager)?;
        let isolation = match look {
            true => isolation::of(&peer, &self.ground, 0).inspect_err(|_| peer.clean_up(0))?,
            false => String::new(),
        };
        let version = peer.version();
        self.peers.push(peer);
        Ok(Answer::Entered { isolation, version })
    }

    fn sample(&self, name: Name, serial: u32) -> Result<Answer, BenchError> {
        let peer = self.peer(name)?;
        let sample = peer.sample(&self.ground, serial);
        sample
            .inspect_err(|_| peer.clean_up(serial))
            .map(Answer::from)
    }

    fn peer(&self, name: Name) -> Result<&Peer, BenchError> {
        let found = self.peers.iter().find(|peer| peer.name == name);
        found.ok_or(BenchError::OutOfTurn(name.as_str()))
    }
}
