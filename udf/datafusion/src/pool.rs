//! Sessions of one function: as many at once as partitions call it, kept for the next call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion_common::{DataFusionError, Result};
use lakekeep_udf_client::{Broker, Environment, Function, Options, Session, UdfError};
use tokio::sync::Semaphore;

use crate::CallError;
use crate::call::{Call, Hangup};

/// A function, and its sandboxes; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Pool {
    broker: Arc<Broker>,
    environment: Environment,
    pub(crate) function: Function,
    options: Options,
    idle: Mutex<Vec<Session>>,
    /// One for each session that may be in use; whoever has one finds an idle session, or may
    /// open another.
    places: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(
        broker: Arc<Broker>,
        environment: Environment,
        function: Function,
        options: Options,
        sessions: usize,
    ) -> Self {
        Self {
            broker,
            environment,
            function,
            options,
            idle: Mutex::default(),
            places: Arc::new(Semaphore::new(sessions.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.function.name
    }

    pub(crate) fn error(&self, error: UdfError) -> DataFusionError {
        CallError::new(self.name(), error).into()
    }

    /// Arguments as they are sent; `rows` counts where there is none.
    pub(crate) fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let schema = self.function.arguments.clone();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, columns, &options)
            .map_err(|error| self.error(UdfError::Input(error)))
    }

    /// Does the work with a session of its own, on a thread that may block. When this future is
    /// dropped, the session is ended at once, and whatever waits for it.
    pub(crate) async fn run<T, W>(self: &Arc<Self>, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Session) -> Result<T, UdfError> + Send + 'static,
    {
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let call = Arc::new(Call::default());
        let hangup = Hangup(call.clone());
        let pool = self.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let done = pool.serve(&call, work);
            // After the session was given back, or two would be opened for one place.
            drop(place);
            done
        });
        let done = thread.await;
        drop(hangup);
        match done {
            Ok(done) => done.map_err(|error| self.error(error)),
            Err(error) => Err(DataFusionError::ExecutionJoin(Box::new(error))),
        }
    }

    fn serve<T>(
        &self,
        call: &Call,
        work: impl FnOnce(&mut Session) -> Result<T, UdfError>,
    ) -> Result<T, UdfError> {
        let mut session = self.take(call)?;
        call.runs(session.canceller())?;
        let done = work(&mut session);
        call.is_over();
        if session.alive() {
            self.idle().push(session);
        }
        done
    }

    fn take(&self, call: &Call) -> Result<Session, UdfError> {
        if call.unwanted() {
            return Err(UdfError::Cancelled);
        }
        loop {
            let idle = self.idle().pop();
            let Some(mut session) = idle else {
                return self.open(call);
            };
            if session.alive() {
                return Ok(session);
            }
        }
    }

    fn open(&self, call: &Call) -> Result<Session, UdfError> {
        let options = self.options.clone();
        let asked = self
            .broker
            .ask(&self.environment, &self.function, options)?;
        call.runs(asked.canceller())?;
        asked.begin()?.finish()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        // A session is in it, or it is not.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
