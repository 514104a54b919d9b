//! Quotas and the queue before them: whoever is admitted holds a permit, whose end is
//! the next one's chance.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lakekeep_api::Reason;
use lakekeep_profiles::{
    Admission, AdmissionQueue, Counters, Entry, Leaving, ProfileName, QueueBounds, QuotaResource,
    Quotas, Shortage, Ticket, Usage, Waiting,
};
use tokio::sync::oneshot;

use crate::fault::Fault;
use crate::metrics::Metrics;
use crate::sandbox::lock;

/// When to try again, where nothing better is known.
const RETRY: Duration = Duration::from_secs(1);

/// Who asks for what.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Whose quotas.
    pub profile: ProfileName,
    /// They, as they are now.
    pub quotas: Quotas,
    /// Whose share of them.
    pub user: String,
    /// How much.
    pub counters: Counters,
}

/// The books.
#[derive(Debug, Clone)]
pub struct Admissions {
    books: Arc<Books>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Books {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    usage: Usage,
    queue: AdmissionQueue<Pending>,
}

#[derive(Debug)]
struct Pending {
    quotas: Quotas,
    counters: Counters,
    wake: oneshot::Sender<Result<(), Shortage>>,
}

/// What was admitted. Dropped, it is given back.
#[derive(Debug)]
pub struct Permit {
    books: Arc<Books>,
    ask: Ask,
}

impl Admissions {
    /// Nothing is used yet.
    pub fn new(bounds: QueueBounds, metrics: Arc<Metrics>) -> Self {
        let state = State {
            usage: Usage::default(),
            queue: AdmissionQueue::new(bounds),
        };
        let books = Books {
            start: Instant::now(),
            state: Mutex::new(state),
        };
        Self {
            books: Arc::new(books),
            metrics,
        }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        lock(&self.books.state).queue.len()
    }

    /// Counts what exists already, whatever the quotas say.
    pub fn count(&self, ask: Ask) -> Permit {
        let counted = lock(&self.books.state)
            .usage
            .count((&ask.profile, &ask.user), &ask.counters);
        let counters = counted.map_or(Counters::NONE, |()| ask.counters);
        Permit {
            books: Arc::clone(&self.books),
            ask: Ask { counters, ..ask },
        }
    }

    /// Admits now or not at all: what nobody waits for.
    ///
    /// # Errors
    /// `QuotaExceeded`: with the quota and the remedy.
    pub fn admit_now(&self, ask: Ask) -> Result<Permit, Fault> {
        let who = (&ask.profile, ask.user.as_str());
        let mut state = lock(&self.books.state);
        match state.usage.admit(&ask.quotas, who, &ask.counters) {
            Admission::Admit => Ok(Permit {
                books: Arc::clone(&self.books),
                ask,
            }),
            Admission::Wait(shortage) => Err(exceeded(&shortage, Some(RETRY))),
            Admission::Refuse(shortage) => Err(exceeded(&shortage, None)),
        }
    }

    /// Admits now, or waits for a place until `patience` is over.
    ///
    /// # Errors
    /// `QuotaExceeded`, `QueueFull`, `DeadlineInQueue`: with the quota and the remedy.
    pub async fn admit(&self, ask: Ask, patience: Option<Duration>) -> Result<Permit, Fault> {
        let waiting = {
            let mut state = lock(&self.books.state);
            // Nobody overtakes who waits for the same profile's room; others' is another.
            let same = |waiting: &Waiting<Pending>| waiting.profile == ask.profile;
            let free = !state.queue.iter().any(same);
            let verdict = match free {
                true => state
                    .usage
                    .admit(&ask.quotas, (&ask.profile, &ask.user), &ask.counters),
                false => state
                    .usage
                    .check(&ask.quotas, (&ask.profile, &ask.user), &ask.counters),
            };
            match (verdict, patience) {
                (Admission::Admit, _) if free => None,
                (Admission::Refuse(shortage), _) => return Err(exceeded(&shortage, None)),
                (Admission::Wait(shortage), None) => {
                    return Err(exceeded(&shortage, Some(RETRY)));
                }
                (_, patience) => {
                    let patience = patience.unwrap_or(RETRY);
                    Some((self.books.enter(&mut state, &ask, patience)?, patience))
                }
            }
        };
        if let Some(((ticket, place), patience)) = waiting {
            self.books.pump();
            let began = Instant::now();
            let place = self.books.wait(ticket, place, patience).await;
            self.metrics.queue.waited(place.is_ok(), began.elapsed());
            place?;
        }
        Ok(Permit {
            books: Arc::clone(&self.books),
            ask,
        })
    }
}

impl Books {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn enter(
        &self,
        state: &mut State,
        ask: &Ask,
        patience: Duration,
    ) -> Result<(Ticket, oneshot::Receiver<Result<(), Shortage>>), Fault> {
        let (wake, place) = oneshot::channel();
        let now = self.now();
        let entry = Entry {
            user: ask.user.clone(),
            profile: ask.profile.clone(),
            deadline: now.saturating_add(patience),
            queued: (
                ask.quotas.of_user(QuotaResource::Queued),
                ask.quotas.of_profile(QuotaResource::Queued),
            ),
            ask: Pending {
                quotas: ask.quotas,
                counters: ask.counters,
                wake,
            },
        };
        let ticket = state.queue.enter(now, entry).map_err(|refusal| {
            let fault = Fault::new(Reason::QueueFull, refusal.to_string());
            match refusal.retry_after() {
                Some(delay) => fault.retry_after(delay),
                None => fault,
            }
        })?;
        Ok((ticket, place))
    }

    async fn wait(
        self: &Arc<Self>,
        ticket: Ticket,
        place: oneshot::Receiver<Result<(), Shortage>>,
        patience: Duration,
    ) -> Result<(), Fault> {
        // Whoever hangs up while waiting leaves the queue too.
        let leaving = Leave {
            books: Arc::clone(self),
            ticket,
        };
        let came = tokio::time::timeout(patience, place).await;
        drop(leaving);
        match came {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(shortage))) => Err(exceeded(&shortage, None)),
            Ok(Err(_)) | Err(_) => Err(Fault::new(
                Reason::DeadlineInQueue,
                "no place became free before the deadline; wait longer, or end something",
            )
            .retry_after(RETRY)),
        }
    }

    /// Admits whoever is next and fits.
    fn pump(self: &Arc<Self>) {
        let now = self.now();
        let mut guard = lock(&self.state);
        let State { usage, queue } = &mut *guard;
        let leaving = queue.admit(now, |waiting| {
            let who = (&waiting.profile, waiting.user.as_str());
            usage.admit(&waiting.ask.quotas, who, &waiting.ask.counters)
        });
        let mut unheard = Vec::new();
        for left in leaving {
            match left {
                Leaving::Admitted(waiting) => {
                    let held = (waiting.profile, waiting.user, waiting.ask.counters);
                    if waiting.ask.wake.send(Ok(())).is_err() {
                        unheard.push(held);
                    }
                }
                // Whoever hung up need not know.
                Leaving::Refused(waiting, shortage) => drop(waiting.ask.wake.send(Err(shortage))),
            }
        }
        drop(guard);
        for (profile, user, counters) in unheard {
            self.release(&profile, &user, &counters);
        }
    }

    fn release(self: &Arc<Self>, profile: &ProfileName, user: &str, counters: &Counters) {
        let released = lock(&self.state).usage.release((profile, user), counters);
        // Every permit was counted once.
        debug_assert!(released.is_ok());
        self.pump();
    }
}

/// Leaves the queue, if it was not left before.
struct Leave {
    books: Arc<Books>,
    ticket: Ticket,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let left = lock(&self.books.state).queue.cancel(self.ticket);
        if left.is_some() {
            self.books.pump();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.ask.counters.is_none() {
            self.books
                .release(&self.ask.profile, &self.ask.user, &self.ask.counters);
        }
    }
}

fn exceeded(shortage: &Shortage, retry: Option<Duration>) -> Fault {
    let fault = Fault::new(Reason::QuotaExceeded, shortage.to_string());
    match retry {
        Some(delay) => fault.retry_after(delay),
        None => fault,
    }
}

/// What one task counts.
pub const ONE_TASK: Counters = Counters::NONE.with(QuotaResource::Tasks, 1);

/// What one sandbox counts.
pub fn of_sandbox(limits: &lakekeep_policy::Limits, kernel: bool) -> Counters {
    let counters = Counters::NONE
        .with(QuotaResource::Sandboxes, 1)
        .with(QuotaResource::Cpus, u64::from(limits.cpus().millis()))
        .with(QuotaResource::Memory, limits.memory().get())
        .with(QuotaResource::Disk, limits.scratch_size().get());
    match kernel {
        true => counters.with(QuotaResource::Kernels, 1),
        false => counters,
    }
}

/// Permits by what holds them.
#[derive(Debug, Default)]
pub struct Permits(Mutex<BTreeMap<String, Permit>>);

impl Permits {
    /// Holds a permit for a sandbox.
    pub fn hold(&self, sandbox: &str, permit: Permit) {
        lock(&self.0).insert(sandbox.to_owned(), permit);
    }

    /// The sandbox is gone.
    pub fn release(&self, sandbox: &str) {
        let permit = lock(&self.0).remove(sandbox);
        drop(permit);
    }
}
