//! The function's side of a stream: a session, which blocks, in threads of its own. Between
//! it and the stream are two channels of one place each, so that each side waits for the other
//! and neither's batches pile up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use lakekeep_udf_client::encode::Encoder;
use lakekeep_udf_client::{Canceller, Input as Feed, Session};
use prost::bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::asked::Asked;
use super::data;
use super::failure::Failure;
use super::figures::Figures;
use super::sessions::Sessions;

/// What goes to the function.
#[derive(Debug)]
pub enum Input {
    /// A record batch, as the engine encoded it.
    Batch(Bytes),
    /// No more come.
    End,
}

/// What comes of the function.
#[derive(Debug)]
pub enum Event {
    /// It is there, in its sandbox.
    Opened,
    /// A record batch, encoded.
    Answered(Bytes),
    /// All is answered.
    Done,
    /// Nothing more is to be had of it.
    Failed(Failure),
}

/// A session at work; its sandbox ends when this is dropped.
#[derive(Debug)]
pub struct Work {
    /// To the function.
    pub input: Sender<Input>,
    /// From it.
    pub events: Receiver<Event>,
    stop: Arc<Stop>,
}

/// Ends a session from outside, also one that is not there yet.
#[derive(Debug, Default)]
struct Stop(Mutex<Stopping>);

#[derive(Debug, Default)]
enum Stopping {
    #[default]
    NotYetThere,
    Armed(Canceller),
    Stopped,
}

impl Stop {
    /// `false`: it is not wanted any more.
    fn arm(&self, canceller: Canceller) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = !matches!(*state, Stopping::Stopped);
        if wanted {
            *state = Stopping::Armed(canceller);
        }
        wanted
    }

    fn stop(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stopping::Armed(canceller) = std::mem::replace(&mut *state, Stopping::Stopped) {
            canceller.cancel();
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl Work {
    /// Has a sandbox made for this function alone. It keeps its place until its thread has
    /// ended.
    ///
    /// # Errors
    /// [`Failure::Worker`]: there is no thread for it.
    pub fn start(
        sessions: Arc<Sessions>,
        asked: Asked,
        figures: Arc<Figures>,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Failure> {
        let (input, taken) = channel(1);
        let (events, told) = channel(1);
        let stop = Arc::new(Stop::default());
        let worker = Worker {
            arguments: asked.function.arguments.clone(),
            events,
            figures,
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new().name("udf-session".to_owned());
        let body = move || {
            worker.run(&sessions, &asked, taken);
            drop(place);
        };
        match thread.spawn(body) {
            Ok(_) => Ok(Self {
                input,
                events: told,
                stop,
            }),
            Err(error) => Err(Failure::Worker(format!(
                "starting a thread: {error}; run fewer functions at once"
            ))),
        }
    }
}

/// The stream does not listen any more.
struct Unheard;

struct Worker {
    arguments: SchemaRef,
    events: Sender<Event>,
    figures: Arc<Figures>,
    stop: Arc<Stop>,
}

impl Worker {
    fn run(&self, sessions: &Sessions, asked: &Asked, input: Receiver<Input>) {
        let stop = self.stop.clone();
        let opened = sessions.open(asked, move |canceller| stop.arm(canceller));
        let ended = match opened {
            Ok(Some(session)) => {
                self.tell(Event::Opened)
                    .and_then(|()| match asked.function.kind.streams() {
                        true => self.stream(session, input),
                        false => self.calls(session, input),
                    })
            }
            Ok(None) => Err(Unheard),
            Err(error) => self.tell(Event::Failed(error.into())),
        };
        // Who does not listen has ended the stream, and knows why.
        drop(ended);
    }

    fn tell(&self, event: Event) -> Result<(), Unheard> {
        self.events.blocking_send(event).map_err(|_| Unheard)
    }

    /// A batch out for a batch in.
    fn calls(&self, mut session: Session, mut input: Receiver<Input>) -> Result<(), Unheard> {
        let mut encoder = Encoder::default();
        loop {
            let answer = match input.blocking_recv() {
                None => return Err(Unheard),
                Some(Input::End) => return self.done(session),
                Some(Input::Batch(content)) => self
                    .taken(content)
                    .and_then(|batch| session.call(&batch).map_err(Failure::from))
                    .and_then(|answer| self.given(&mut encoder, &answer)),
            };
            match answer {
                Ok(answer) => self.tell(Event::Answered(answer))?,
                Err(failure) => return self.tell(Event::Failed(failure)),
            }
        }
    }

    /// Batches in and batches out, each at its own pace.
    fn stream(&self, mut session: Session, mut input: Receiver<Input>) -> Result<(), Unheard> {
        let (feed, results) = match session.duplex() {
            Ok(both) => both,
            Err(error) => return self.tell(Event::Failed(error.into())),
        };
        let given_all = &AtomicBool::new(false);
        let over = std::thread::scope(|scope| {
            scope.spawn(move || self.feed(feed, &mut input, given_all));
            let mut encoder = Encoder::default();
            for result in results {
                let answer = result
                    .map_err(Failure::from)
                    .and_then(|batch| self.given(&mut encoder, &batch));
                match answer {
                    Ok(answer) => self.tell(Event::Answered(answer))?,
                    Err(failure) => return self.tell(Event::Failed(failure)).map(|()| false),
                }
            }
            if given_all.load(Ordering::SeqCst) {
                return Ok(true);
            }
            // The function wants no more; the feeding thread ends with the stream.
            self.tell(Event::Done).map(|()| false)
        })?;
        match over {
            true => self.done(session),
            false => Ok(()),
        }
    }

    fn feed(&self, mut feed: Feed<'_>, input: &mut Receiver<Input>, given_all: &AtomicBool) {
        loop {
            let sent = match input.blocking_recv() {
                // Dropping the feed ends the session.
                None => return,
                Some(Input::End) => {
                    given_all.store(true, Ordering::SeqCst);
                    // Where the worker is gone, its results tell why.
                    return drop(feed.finish());
                }
                Some(Input::Batch(content)) => self
                    .taken(content)
                    .and_then(|batch| feed.send(&batch).map_err(Failure::from)),
            };
            match sent {
                Ok(()) => {}
                // Told before the session ends of it: what is told first is the reason.
                Err(failure @ Failure::Protocol(_)) => {
                    return drop(self.tell(Event::Failed(failure)));
                }
                Err(_) => return,
            }
        }
    }

    fn taken(&self, content: Bytes) -> Result<RecordBatch, Failure> {
        let size = content.len();
        let batch = data::batch(content, &self.arguments)?;
        self.figures.taken(size, batch.num_rows());
        Ok(batch)
    }

    fn given(&self, encoder: &mut Encoder, batch: &RecordBatch) -> Result<Bytes, Failure> {
        let content = data::response(encoder, batch)?;
        self.figures.given(content.len(), batch.num_rows());
        Ok(content)
    }

    /// The sandbox is gone before the engine hears that all is done.
    fn done(&self, session: Session) -> Result<(), Unheard> {
        if let Some(end) = session.end() {
            self.figures.ended(end.memory_peak, end.cpu_us);
        }
        self.tell(Event::Done)
    }
}
