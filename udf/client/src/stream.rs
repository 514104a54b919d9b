//! One call that is given many batches and answers with any number of them.

use std::sync::atomic::Ordering;
use std::time::Instant;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use crate::UdfError;
use crate::channel::Broken;
use crate::session::{Core, Feeder, Session};
use crate::wire::{Frame, kind};

/// How far a stream's answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// More may come.
    Open,
    /// Nothing more comes, and that was told.
    Over,
}

impl Session {
    /// Gives all batches to one call of the function; any number comes back, at any time.
    /// For [`Kind::Batches`](crate::Kind::Batches) and [`Kind::Table`](crate::Kind::Table),
    /// which is given one batch of one row.
    ///
    /// At no time is more held than the batch that is being sent and one that has come.
    /// Dropping it before its end ends the session.
    pub fn stream<I>(&mut self, batches: I) -> Stream<'_, I::IntoIter>
    where
        I: IntoIterator<Item = Result<RecordBatch, ArrowError>>,
    {
        let call = self.core.next_call();
        Stream {
            session: self,
            batches: Some(batches.into_iter()),
            call,
            state: State::Open,
        }
    }

    /// As [`Session::stream`], for two threads: one gives, the other takes. Whoever gives
    /// waits while the function reads no more, so both must go on.
    ///
    /// Dropping either before its end ends the session.
    ///
    /// # Errors
    /// [`UdfError::Closed`].
    pub fn duplex(&mut self) -> Result<(Input<'_>, Results<'_>), UdfError> {
        self.core.usable(true)?;
        let call = self.core.next_call();
        let shared = self.core.shared.clone();
        let input = Input {
            feeder: &mut self.feeder,
            shared,
            call,
            ended: false,
        };
        let results = Results {
            core: &mut self.core,
            call,
            state: State::Open,
        };
        Ok((input, results))
    }
}

/// What a stream answers; see [`Session::stream`].
#[derive(Debug)]
pub struct Stream<'a, I> {
    session: &'a mut Session,
    /// None when all of it was sent, and its end.
    batches: Option<I>,
    call: u32,
    state: State,
}

impl<I> Iterator for Stream<'_, I>
where
    I: Iterator<Item = Result<RecordBatch, ArrowError>>,
{
    type Item = Result<RecordBatch, UdfError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Over {
            return None;
        }
        let found = self.next_batch();
        if !matches!(found, Ok(Some(_))) {
            self.state = State::Over;
        }
        found.transpose()
    }
}

impl<I> Stream<'_, I>
where
    I: Iterator<Item = Result<RecordBatch, ArrowError>>,
{
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, UdfError> {
        self.session.core.usable(true)?;
        self.session.core.set_deadline();
        let frame = match self.next_frame() {
            Ok(frame) => frame,
            Err(broken) => return Err(self.failed(broken)),
        };
        if frame.kind == kind::DONE && frame.call == self.call {
            let finished = self.finish();
            return finished
                .map(|()| None)
                .map_err(|broken| self.session.core.failed(broken));
        }
        let batch = self.session.core.streamed(frame, self.call);
        batch.map(Some).map_err(|broken| self.failed(broken))
    }

    /// The next frame that comes back; batches are sent while there is room.
    fn next_frame(&mut self) -> Result<Frame, Broken> {
        loop {
            if let Some(frame) = self.session.core.incoming.ready()? {
                return Ok(frame);
            }
            if !self.session.feeder.outgoing.flush()? {
                self.session.core.incoming.wait_for_room()?;
            } else if self.batches.is_none() {
                return self.session.core.incoming.receive();
            } else {
                self.feed()?;
            }
        }
    }

    fn feed(&mut self) -> Result<(), Broken> {
        let before = Instant::now();
        let batch = self.batches.as_mut().and_then(Iterator::next);
        // The function is not to blame for how long its input takes.
        let incoming = &mut self.session.core.incoming;
        incoming.deadline = incoming
            .deadline
            .map(|deadline| deadline + before.elapsed());
        match batch.transpose() {
            Ok(Some(batch)) => {
                self.session.feeder.give(self.call, &batch)?;
            }
            Ok(None) => self.end_input(),
            // The function has seen a part of its input, and must not answer for all of it.
            Err(error) => {
                self.session.core.end("a stream's input failed");
                return Err(UdfError::Input(error).into());
            }
        }
        Ok(())
    }

    fn end_input(&mut self) {
        if self.batches.take().is_some() {
            self.session.feeder.end(self.call);
        }
    }

    /// A function that failed wants no more; the session goes on behind the input's end.
    fn failed(&mut self, broken: Broken) -> UdfError {
        let error = self.session.core.failed(broken);
        if let UdfError::Input(_) = error {
            self.session.core.end("a stream's input was refused");
        }
        if error.survived()
            && let Err(broken) = self.finish()
        {
            // What is told is why the call failed; the next one hears of the session's end.
            drop(self.session.core.failed(broken));
        }
        error
    }

    /// Tells the worker that no more comes, if its function stopped reading early.
    fn finish(&mut self) -> Result<(), Broken> {
        self.end_input();
        self.session.flush()
    }
}

impl<I> Drop for Stream<'_, I> {
    fn drop(&mut self) {
        if self.state == State::Open {
            self.session.core.end("a stream was not taken to its end");
        }
    }
}

/// The way in of [`Session::duplex`].
#[derive(Debug)]
pub struct Input<'a> {
    feeder: &'a mut Feeder,
    shared: std::sync::Arc<crate::session::Shared>,
    call: u32,
    ended: bool,
}

impl Input<'_> {
    /// Gives a batch; returns when it is sent.
    ///
    /// # Errors
    /// [`UdfError::Input`]: it is not as declared, and was not sent. [`UdfError::Closed`]:
    /// the session has ended; [`Results`] tells why.
    pub fn send(&mut self, batch: &RecordBatch) -> Result<(), UdfError> {
        self.feeder.give(self.call, batch)?;
        let sent = self.feeder.outgoing.finish().map_err(closed);
        self.shared.given.fetch_add(1, Ordering::SeqCst);
        sent
    }

    /// Tells that no more comes.
    ///
    /// # Errors
    /// [`UdfError::Closed`], as above.
    pub fn finish(mut self) -> Result<(), UdfError> {
        self.ended = true;
        self.feeder.end(self.call);
        self.feeder.outgoing.finish().map_err(closed)
    }
}

fn closed(_: Broken) -> UdfError {
    UdfError::Closed("its worker is gone".to_owned())
}

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // The function must not answer for a part of its input.
            self.shared.shut();
        }
    }
}

/// The way out of [`Session::duplex`]. The time-out of a call runs from the last batch that
/// was given or came back.
#[derive(Debug)]
pub struct Results<'a> {
    core: &'a mut Core,
    call: u32,
    state: State,
}

impl Iterator for Results<'_> {
    type Item = Result<RecordBatch, UdfError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Over {
            return None;
        }
        let found = match self.next_frame() {
            Ok(frame) if frame.kind == kind::DONE && frame.call == self.call => Ok(None),
            Ok(frame) => self.core.streamed(frame, self.call).map(Some),
            Err(broken) => Err(broken),
        };
        if !matches!(found, Ok(Some(_))) {
            self.state = State::Over;
        }
        let found = found.map_err(|broken| self.core.failed(broken));
        found.transpose()
    }
}

impl Results<'_> {
    fn next_frame(&mut self) -> Result<Frame, Broken> {
        loop {
            let given = self.core.shared.given.load(Ordering::SeqCst);
            self.core.set_deadline();
            match self.core.incoming.receive() {
                Err(Broken::Expired) if given != self.core.shared.given.load(Ordering::SeqCst) => {}
                other => return other,
            }
        }
    }
}

impl Drop for Results<'_> {
    fn drop(&mut self) {
        if self.state == State::Open {
            self.core.end("a stream was not taken to its end");
        }
    }
}
