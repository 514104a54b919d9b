//! Sessions of declared functions, kept for the next call: what every edge calls.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lakekeep_udf_client::{Broker, Session, UdfError};

use crate::functions::Declared;

/// Why there is no session for a call.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// All that there may be are in use.
    #[error(
        "all {most} sessions of {name} were in use for {patience:?}; raise sessions, or send fewer calls at once"
    )]
    Busy {
        /// The function.
        name: String,
        /// How many there may be.
        most: usize,
        /// How long was waited.
        patience: Duration,
    },
    /// Of the broker, or of the function.
    #[error("function {name} has no session")]
    Udf {
        /// The function.
        name: String,
        /// Why.
        #[source]
        error: UdfError,
    },
}

/// All functions of an edge, by name.
#[derive(Debug)]
pub struct Sessions {
    pools: HashMap<String, Arc<Pool>>,
}

impl Sessions {
    /// None of them is open yet.
    pub fn new(broker: Broker, declared: Vec<Declared>) -> Self {
        let broker = Arc::new(broker);
        let pools = declared.into_iter().map(|declared| {
            let name = declared.function.name.clone();
            (name, Arc::new(Pool::new(broker.clone(), declared)))
        });
        Self {
            pools: pools.collect(),
        }
    }

    /// The function of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.get(name)
    }

    /// All of them, in the order of their names.
    pub fn all(&self) -> Vec<&Arc<Pool>> {
        let mut all: Vec<_> = self.pools.values().collect();
        all.sort_by(|one, other| one.name().cmp(other.name()));
        all
    }
}

/// Sessions of one function. Each serves one call at a time, and the next when that is over.
#[derive(Debug)]
pub struct Pool {
    broker: Arc<Broker>,
    /// What is called, and how.
    pub declared: Declared,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Session>,
    /// Idle ones, those in use, and those that are being opened.
    all: usize,
}

impl Pool {
    fn new(broker: Arc<Broker>, declared: Declared) -> Self {
        Self {
            broker,
            declared,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        &self.declared.function.name
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is whole by itself, whatever became of who made it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens as many sessions as are to be there before the first call.
    ///
    /// # Errors
    /// [`TakeError`] of the first that cannot be opened.
    pub fn warm(self: &Arc<Self>) -> Result<(), TakeError> {
        let wanted = self.declared.warm;
        let taken: Result<Vec<_>, _> = (0..wanted).map(|_| self.take(Duration::ZERO)).collect();
        taken.map(drop)
    }

    /// A session, when one is free; whoever has it gives it back by dropping it.
    ///
    /// # Errors
    /// [`TakeError`].
    pub fn take(self: &Arc<Self>, patience: Duration) -> Result<Leased, TakeError> {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(mut session) = state.idle.pop() {
                if session.alive() {
                    drop(state);
                    return Ok(self.lease(session));
                }
                state.all -= 1;
            } else if state.all < self.declared.sessions {
                state.all += 1;
                drop(state);
                return self.open();
            } else {
                let Some(left) = until.checked_duration_since(Instant::now()) else {
                    return Err(self.busy(patience));
                };
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    fn busy(&self, patience: Duration) -> TakeError {
        TakeError::Busy {
            name: self.name().to_owned(),
            most: self.declared.sessions,
            patience,
        }
    }

    fn open(self: &Arc<Self>) -> Result<Leased, TakeError> {
        let declared = &self.declared;
        let options = declared.options.clone();
        let opened = self
            .broker
            .open(&declared.environment, &declared.function, options);
        match opened {
            Ok(session) => Ok(self.lease(session)),
            Err(error) => {
                self.lock().all -= 1;
                self.changed.notify_one();
                let name = self.name().to_owned();
                Err(TakeError::Udf { name, error })
            }
        }
    }

    fn lease(self: &Arc<Self>, session: Session) -> Leased {
        Leased {
            session: Some(session),
            pool: self.clone(),
        }
    }
}

/// A session that is in use.
#[derive(Debug)]
pub struct Leased {
    /// None when it was given back.
    session: Option<Session>,
    pool: Arc<Pool>,
}

impl Leased {
    /// The session, and whom it is of.
    pub fn parts(&mut self) -> Option<(&mut Session, &Declared)> {
        Some((self.session.as_mut()?, &self.pool.declared))
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let mut session = self.session.take();
        let alive = session.as_mut().is_some_and(|session| session.alive());
        let mut state = self.pool.lock();
        match session.filter(|_| alive) {
            Some(session) => state.idle.push(session),
            None => state.all -= 1,
        }
        drop(state);
        self.pool.changed.notify_one();
    }
}
