//! What rules cost a sandbox that was made ahead: from the claim to the first instruction of a
//! task in it, with a way out and without, of a pool in this process and of a manager.

use lakekeep_policy::PolicyDoc;
use lakekeep_sandbox::{Job, Pool, host};

use super::Measured;
use super::relay::beside;
use crate::args::{EgressArgs, Ready};
use crate::error::BenchError;
use crate::ground::Ground;
use crate::managed::{self, Managed, Server};
use crate::measure::Sample;
use crate::pooled;

/// Scenario and peer of each row.
const ROWS: [(&str, &str); 4] = [
    ("claim-pool", "lakekeep"),
    ("claim-pool", "lakekeep-egress"),
    ("claim-manager", "lakekeep"),
    ("claim-manager", "lakekeep-egress"),
];

/// What may leave where something may.
const RULES: &str = "version = 1\n[egress]\nrules = [\"allow tls pypi.example:443\"]\n";

/// One of each kind is ready at a time.
const READY: usize = 1;

/// Rounds that are not counted: a manager learns what to make ahead.
const WARM_UP: u32 = 2;

/// What is claimed of.
struct Stocks {
    // Dropped first: connections end before the manager.
    manager: Managed,
    pools: [Pool; 2],
    clock: Job,
    _server: Server,
}

/// All rounds; who is first in one is last in the next.
pub fn measure(arguments: &EgressArgs) -> Result<Vec<Measured>, BenchError> {
    let ground = Ground::make()?;
    let mut stocks = Stocks::fill(&ground)?;
    let mut rows = ROWS.map(|(scenario, peer)| Measured::of(scenario, peer));
    for round in 0..WARM_UP + arguments.n {
        let mut order = [0, 1, 2, 3];
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let sample = stocks.claim(index)?;
            if let Some(row) = rows.get_mut(index).filter(|_| round >= WARM_UP) {
                row.samples.push(sample);
            }
        }
    }
    Ok(rows.into())
}

impl Stocks {
    fn fill(ground: &Ground) -> Result<Self, BenchError> {
        let open = PolicyDoc::from_toml("claim", RULES).map_err(BenchError::plan)?;
        let pools = [pool(ground, PolicyDoc::default())?, pool(ground, open)?];
        let server = Server::start(&beside("lakekeep"), ground, READY)?;
        let ready = Ready {
            parked: 2 * READY,
            ..Ready::default()
        };
        let manager = Managed::connect(ground, server.folder(), &ready)?;
        // The first of its kind is made while it is waited for.
        manager.claim_in(managed::OPEN)?;
        manager.settle()?;
        Ok(Self {
            manager,
            pools,
            clock: pooled::clock(),
            _server: server,
        })
    }

    /// Claims what a row is about, of stocks that are full, and fills them again.
    fn claim(&mut self, row: usize) -> Result<Sample, BenchError> {
        if let Some(pool) = self.pools.get_mut(row) {
            let wall = pooled::claim(pool, &self.clock)?;
            while pool.refill()? {}
            return Ok(Sample { wall, cpu: None });
        }
        let open = row % 2 == 1;
        let sample = self
            .manager
            .claim_in(if open { managed::OPEN } else { managed::CLOSED })?;
        self.manager.settle()?;
        Ok(sample)
    }
}

fn pool(ground: &Ground, doc: PolicyDoc) -> Result<Pool, BenchError> {
    let facts = host::probe().map_err(BenchError::plan)?;
    let mut pool = Pool::start(&facts, pooled::plan_with(ground, doc)?, READY)?;
    while pool.refill()? {}
    Ok(pool)
}
