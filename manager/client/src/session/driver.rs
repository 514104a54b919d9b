//! Carries a task's streams between the caller and the manager, over as many
//! connections as it takes.

use std::time::Duration;

use lakekeep_api::v1::exec_event::Event as In;
use lakekeep_api::v1::exec_request::Request as Out;
use lakekeep_api::v1::{ExecEvent, ExecRequest};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::state::State;
use super::{Control, Event, Output, Piece, Stdin, Word};
use crate::backoff::Backoff;
use crate::client::{Client, answered};
use crate::error::{Cause, ClientError};

/// Events that wait for a caller that reads slowly.
const WAITING: usize = 4;

/// Requests that wait for the connection.
const SENDING: usize = 2;

/// One connection, on which the manager has taken up the task.
#[derive(Debug)]
pub(super) struct Wire {
    requests: mpsc::Sender<ExecRequest>,
    /// The manager hears no more on it.
    deaf: bool,
    events: Streaming<ExecEvent>,
}

impl Wire {
    /// Sends the first request, and waits until the manager has taken up the task.
    pub async fn open(
        client: &Client,
        first: ExecRequest,
        state: &mut State,
    ) -> Result<Self, ClientError> {
        let (requests, sent) = mpsc::channel(SENDING);
        let starts = matches!(first.request, Some(Out::Start(_)));
        // There is room: the channel is new.
        requests.send(first).await.map_err(|_| broken())?;
        let call = client.request(ReceiverStream::new(sent))?;
        let mut api = client.sandboxes();
        let answer = match starts {
            true => api.exec(call).await,
            false => api.attach(call).await,
        };
        let mut events = answered(answer)?;
        match events.message().await?.and_then(|event| event.event) {
            Some(In::Started(started)) => state.started(started)?,
            Some(_) => {
                let message = "the manager sent output before it said which task it is of";
                return Err(ClientError::new(Cause::Protocol, message));
            }
            None => return Err(broken()),
        }
        Ok(Self {
            requests,
            deaf: false,
            events,
        })
    }
}

fn broken() -> ClientError {
    ClientError::new(
        Cause::Lost,
        "the connection to the manager broke: it closed the stream before the task's end",
    )
}

/// What the caller holds.
#[derive(Debug)]
pub(super) struct Handles {
    pub stdin: Stdin,
    pub output: Output,
    pub control: Control,
}

/// The task of the runtime behind a session.
#[derive(Debug)]
pub(super) struct Driver {
    client: Client,
    state: State,
    backoff: Backoff,
    to: mpsc::Sender<Result<Event, ClientError>>,
    /// Received, and not taken by the caller yet.
    ready: Option<Event>,
    /// `None`: the caller has dropped its end.
    pieces: Option<mpsc::Receiver<Piece>>,
    words: Option<mpsc::Receiver<Word>>,
}

impl Driver {
    pub fn new(client: Client, state: State, reconnect_for: Duration) -> (Self, Handles) {
        let (to, events) = mpsc::channel(WAITING);
        let (stdin, pieces) = mpsc::channel(1);
        let (control, words) = mpsc::channel(WAITING);
        let driver = Self {
            client,
            state,
            backoff: Backoff::new(reconnect_for),
            to,
            ready: None,
            pieces: Some(pieces),
            words: Some(words),
        };
        let handles = Handles {
            stdin: Stdin { pieces: stdin },
            output: Output { events },
            control: Control { words: control },
        };
        (driver, handles)
    }

    /// The sandbox and the task.
    pub fn of(&self) -> (String, u32) {
        (self.state.sandbox.clone(), self.state.task)
    }

    /// Follows the task to its end, or until the caller goes or nothing helps.
    pub async fn run(mut self, mut wire: Wire) {
        loop {
            let Err(error) = self.carry(wire).await else {
                return;
            };
            let to = self.to.clone();
            let again = tokio::select! {
                again = self.reconnect(error) => again,
                // Nobody follows any more.
                () = to.closed() => return,
            };
            match again {
                Ok(new) => wire = new,
                Err(error) => {
                    self.deliver(Err(error)).await;
                    return;
                }
            }
        }
    }

    /// What was received before goes first. A caller that has gone wants nothing.
    async fn deliver(&mut self, last: Result<Event, ClientError>) {
        if let Some(event) = self.ready.take()
            && self.to.send(Ok(event)).await.is_err()
        {
            return;
        }
        drop(self.to.send(last).await);
    }

    /// Attaches again, as long as it may help.
    async fn reconnect(&mut self, mut error: ClientError) -> Result<Wire, ClientError> {
        loop {
            if !error.is_transient() {
                return Err(error);
            }
            match self.backoff.after(Instant::now(), error.retry_after()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
            let attach = self.state.attach();
            match Wire::open(&self.client, attach, &mut self.state).await {
                Ok(wire) => return Ok(wire),
                Err(failed) => error = failed,
            }
        }
    }

    /// Carries everything on one connection. `Ok`: there is nothing left to do.
    async fn carry(&mut self, mut wire: Wire) -> Result<(), ClientError> {
        loop {
            let sendable = self.state.has_request() && !wire.deaf;
            let room = self.state.input.has_room();
            let heard = tokio::select! {
                () = self.to.closed() => return Ok(()),
                event = wire.events.message(), if self.ready.is_none() => Some(event?),
                slot = self.to.reserve(), if self.ready.is_some() => {
                    if let (Ok(slot), Some(event)) = (slot, self.ready.take()) {
                        slot.send(Ok(event));
                    }
                    None
                }
                slot = wire.requests.reserve(), if sendable => {
                    match slot {
                        Ok(slot) => {
                            if let Some(request) = self.state.next_request()? {
                                slot.send(request);
                            }
                        }
                        Err(_) => wire.deaf = true,
                    }
                    None
                }
                word = next(&mut self.words) => {
                    match word {
                        Some(Word::Signal(signal)) => self.state.signal(signal),
                        Some(Word::Resize(rows, columns)) => self.state.resize(rows, columns),
                        None => self.words = None,
                    }
                    None
                }
                piece = next(&mut self.pieces), if room => {
                    match piece {
                        Some(Piece::Data(data)) => self.state.input.push(data),
                        Some(Piece::End) => self.state.input.end(),
                        None => self.pieces = None,
                    }
                    None
                }
            };
            if let Some(event) = heard
                && self.hear(event).await?
            {
                return Ok(());
            }
        }
    }

    /// Takes what the manager sent. `true`: it was the last.
    async fn hear(&mut self, event: Option<ExecEvent>) -> Result<bool, ClientError> {
        let Some(event) = event else {
            return match self.state.may_stop_early() {
                true => Ok(true),
                false => Err(broken()),
            };
        };
        self.backoff.progressed();
        match self.state.receive(event)? {
            Some(Event::Ended(ending)) => {
                self.deliver(Ok(Event::Ended(ending))).await;
                Ok(true)
            }
            other => {
                self.ready = other;
                Ok(false)
            }
        }
    }
}

/// The next of an end that is still held; of one that is not, nothing ever comes.
async fn next<T>(from: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match from {
        Some(from) => from.recv().await,
        None => std::future::pending().await,
    }
}
