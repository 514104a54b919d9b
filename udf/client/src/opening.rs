//! A session on its way: asked for, made, and with its function ready.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::UdfError;
use crate::function::{Function, Options};
use crate::session::{Canceller, Session};

/// A sandbox that was asked for. It is waited for, and made, no more when this is dropped.
#[derive(Debug)]
pub struct Asked(Opening);

impl Asked {
    pub(crate) fn new(session: Session, function: Function, options: Options) -> Self {
        Self(Opening {
            session,
            function,
            options,
        })
    }

    /// Ends it from another thread.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        self.0.canceller()
    }

    /// Waits until there is a sandbox, for [`Options::open_timeout`] at most.
    ///
    /// # Errors
    /// [`UdfError::Unavailable`]: none is made. [`UdfError::Cancelled`].
    pub fn begin(self) -> Result<Opening, UdfError> {
        let Self(mut opening) = self;
        let shared = &opening.session.core.shared;
        let made = shared.lease.wait(opening.options.open_timeout);
        match made {
            Err(_) if shared.cancelled.load(Ordering::SeqCst) => return Err(UdfError::Cancelled),
            made => made?,
        }
        let until = Instant::now().checked_add(opening.options.open_timeout);
        opening.session.core.incoming.deadline = until;
        Ok(opening)
    }
}

/// A sandbox that was made, and whose worker has not heard of the function yet.
#[derive(Debug)]
pub struct Opening {
    session: Session,
    function: Function,
    options: Options,
}

impl Opening {
    /// Ends it from another thread.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        self.session.canceller()
    }

    /// Waits until the worker has the function ready.
    ///
    /// # Errors
    /// [`UdfError::BadFunction`], [`UdfError::TimedOut`], or what became of the worker
    /// meanwhile.
    pub fn finish(self) -> Result<Session, UdfError> {
        let mut session = self.session;
        match session.introduce(&self.function, &self.options) {
            Ok(()) => Ok(session),
            Err(broken) => Err(session.core.failed(broken)),
        }
    }
}
