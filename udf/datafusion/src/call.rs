//! One call, between the query that waits for it and the thread that makes it.

use std::sync::{Arc, Mutex, PoisonError};

use lakekeep_udf_client::{Canceller, UdfError};

/// How far it is.
#[derive(Debug, Default)]
enum State {
    /// It has no session yet.
    #[default]
    Waiting,
    /// This ends it.
    Running(Canceller),
    /// Nobody waits for it.
    Gone,
    /// The session is another call's from now on.
    Over,
}

/// The thread's side.
#[derive(Debug, Default)]
pub(crate) struct Call(Mutex<State>);

impl Call {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // Each change is whole by itself, whatever became of who made it.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// It is about to wait for what `canceller` ends.
    ///
    /// # Errors
    /// [`UdfError::Cancelled`]: nobody wants it any more.
    pub(crate) fn runs(&self, canceller: Canceller) -> Result<(), UdfError> {
        self.change(|state| {
            if matches!(state, State::Gone) {
                return Err(UdfError::Cancelled);
            }
            *state = State::Running(canceller);
            Ok(())
        })
    }

    /// Whether the query is gone.
    pub(crate) fn unwanted(&self) -> bool {
        self.change(|state| matches!(state, State::Gone))
    }

    /// To be said before its session is given back: a query that goes now would end the call
    /// of another.
    pub(crate) fn is_over(&self) {
        self.change(|state| *state = State::Over);
    }
}

/// The query's side: ends the call when it is dropped before the call's end.
#[derive(Debug)]
pub(crate) struct Hangup(pub(crate) Arc<Call>);

impl Drop for Hangup {
    fn drop(&mut self) {
        self.0.change(|state| match state {
            State::Waiting => *state = State::Gone,
            State::Running(canceller) => {
                canceller.cancel();
                *state = State::Gone;
            }
            State::Gone | State::Over => {}
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_unwanted_when_its_query_goes_before_its_end() {
        let call = Arc::new(Call::default());
        let hangup = Hangup(call.clone());
        assert!(!call.unwanted());
        drop(hangup);
        assert!(call.unwanted());
        let call = Arc::new(Call::default());
        let hangup = Hangup(call.clone());
        call.is_over();
        drop(hangup);
        assert!(!call.unwanted());
    }
}
