//! Threads that carry flows, one for each processor.
//!
//! Each has a reactor of its own, and a flow stays with one from its beginning to its end: what it
//! carries is in that processor's cache. (Threads that take flows from one another move them each
//! time that one gives way, which costs more than it gains; docs/benchmarks.md.)

use std::future::{Future, pending};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;

/// Most of them.
const MOST: usize = 8;

/// All of them. They live as long as the process.
#[derive(Debug)]
pub struct Carriers(Vec<Carrier>);

#[derive(Debug)]
struct Carrier {
    runtime: Handle,
    flows: Arc<AtomicUsize>,
}

/// Counts one flow of a carrier's.
struct Counted(Arc<AtomicUsize>);

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
        (0..processors.min(MOST))
            .map(|_| Carrier::start())
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Has the one that carries the fewest carry one more, as one of `flows`.
    pub fn carry(&self, flows: &mut JoinSet<()>, flow: impl Future<Output = ()> + Send + 'static) {
        let fewest = self
            .0
            .iter()
            .min_by_key(|one| one.flows.load(Ordering::Relaxed));
        // There is at least one.
        let Some(carrier) = fewest else { return };
        carrier.flows.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&carrier.flows));
        let counts = async move {
            flow.await;
            drop(counted);
        };
        flows.spawn_on(counts, &carrier.runtime);
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
