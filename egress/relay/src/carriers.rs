//! Threads that carry flows, one for each processor.
//!
//! Each has a reactor of its own, and a flow stays with one from its beginning to its end: what it
//! carries is in that processor's cache. (Threads that take flows from one another move them each
//! time that one gives way, which costs more than it gains; docs/benchmarks.md.)

use std::future::pending;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};

use tokio::runtime::{Builder, Handle};

/// Most of them.
const MOST: usize = 8;

/// All of them. They live as long as the process.
#[derive(Debug)]
pub struct Carriers {
    first: Carrier,
    others: Vec<Carrier>,
}

#[derive(Debug)]
struct Carrier {
    runtime: Handle,
    flows: Arc<AtomicUsize>,
}

/// Counts one flow of a carrier's, until it is dropped.
#[derive(Debug)]
pub struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Carriers {
    /// Starts them.
    ///
    /// # Errors
    /// When a thread or its reactor cannot be had.
    pub fn start() -> io::Result<Self> {
        // Of a host that does not say how many processors it has, one is there.
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let others = (1..processors.min(MOST)).map(|_| Carrier::start());
        Ok(Self {
            first: Carrier::start()?,
            others: others.collect::<Result<_, _>>()?,
        })
    }

    /// The one that carries the fewest, where one more is counted.
    pub fn fewest(&self) -> (&Handle, Counted) {
        let all = std::iter::once(&self.first).chain(&self.others);
        let fewest = all.min_by_key(|one| one.flows.load(Ordering::Relaxed));
        let carrier = fewest.unwrap_or(&self.first);
        carrier.flows.fetch_add(1, Ordering::Relaxed);
        (&carrier.runtime, Counted(Arc::clone(&carrier.flows)))
    }
}

impl Carrier {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new().spawn(move || runtime.block_on(pending::<()>()))?;
        Ok(Self {
            runtime: handle,
            flows: Arc::default(),
        })
    }
}
