//! Drives one Execute stream: the engine's messages and the function's answers go to the
//! [`Order`], and what it wants done is done.
//!
//! Nothing piles up. While the function has not taken what was read, no more is read than
//! that and a little: gRPC's own flow control holds the engine up. While the engine has not
//! taken an answer, none is taken from the function. A Cancel behind batches that nobody reads
//! is heard when they are read; a stream that breaks is noticed at once.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc::{Permit, Receiver, Sender};
use tokio::sync::watch;
use tonic::{Code, Status, Streaming};

use super::asked::Asked;
use super::failure::Failure;
use super::figures::Figures;
use super::order::{Act, Order};
use super::proto::udf_response::Response;
use super::proto::{UdfRequest, UdfResponse};
use super::service::{Stopping, Worker};
use super::work::{Event, Input, Work};

/// Of what the function has not taken yet, bytes and batches, after which no more is read. A
/// Cancel that is not behind more than this is heard at once, whatever the function does.
const AHEAD: (usize, usize) = (4 << 20, 1024);

/// Why streams end when the worker does.
const SHUT: &str = "the worker was told to shut down; start the task again";

/// One stream.
pub struct Execute {
    worker: Arc<Worker>,
    order: Order,
    figures: Arc<Figures>,
    work: Option<Work>,
    inbox: VecDeque<Input>,
    outbox: VecDeque<UdfResponse>,
    /// The engine's side has ended.
    half_closed: bool,
    /// Nothing is said any more, once the outbox is empty.
    closing: bool,
}

impl Execute {
    /// A stream on which nothing was said.
    pub fn new(worker: Arc<Worker>) -> Self {
        let figures = Arc::new(Figures::part_of(worker.figures.clone()));
        Self {
            order: Order::new(worker.payload_limit, figures.clone()),
            worker,
            figures,
            work: None,
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            half_closed: false,
            closing: false,
        }
    }

    /// Until the stream has ended.
    pub async fn drive(
        mut self,
        mut requests: Streaming<UdfRequest>,
        to: Sender<Result<UdfResponse, Status>>,
    ) {
        let mut stopping = self.worker.stopping.subscribe();
        if *stopping.borrow() != Stopping::No {
            let acts = self.order.shut(SHUT);
            acts.into_iter().for_each(|act| self.act(act));
        }
        while !(self.closing && self.outbox.is_empty()) {
            let acts = self.next(&mut requests, &to, &mut stopping).await;
            for act in acts {
                self.act(act);
            }
        }
    }

    /// Waits for whatever is next, and hears what is to be done about it.
    async fn next(
        &mut self,
        requests: &mut Streaming<UdfRequest>,
        to: &Sender<Result<UdfResponse, Status>>,
        stopping: &mut watch::Receiver<Stopping>,
    ) -> Vec<Act> {
        let talking = !self.outbox.is_empty();
        let listening = !self.closing && !self.half_closed && self.has_room();
        let (feed, events) = match &mut self.work {
            Some(work) => (Some(&work.input), Some(&mut work.events)),
            None => (None, None),
        };
        let next = tokio::select! {
            () = to.closed() => Next::Gone,
            () = told_to_stop(stopping), if !self.closing => Next::Stop,
            Ok(room) = to.reserve(), if talking => {
                if let Some(response) = self.outbox.pop_front() {
                    room.send(Ok(response));
                }
                Next::Nothing
            }
            heard = requests.message(), if listening => Next::Heard(heard.map(|it| it.map(Box::new))),
            event = next_event(events), if !talking => Next::Happened(event),
            Some(room) = room(feed), if !self.inbox.is_empty() => {
                if let Some(input) = self.inbox.pop_front() {
                    room.send(input);
                }
                Next::Nothing
            }
        };
        match next {
            Next::Gone => self.order.gone(),
            Next::Stop => self.order.shut(SHUT),
            Next::Heard(heard) => self.heard(heard),
            Next::Happened(event) => self.happened(event),
            Next::Nothing => Vec::new(),
        }
    }

    /// Whether more of the engine's can be read.
    fn has_room(&self) -> bool {
        let size = |input: &Input| match input {
            Input::Batch(content) => content.len(),
            Input::End => 0,
        };
        let (bytes, batches) = AHEAD;
        self.inbox.len() < batches && self.inbox.iter().map(size).sum::<usize>() < bytes
    }

    fn heard(&mut self, heard: Result<Option<Box<UdfRequest>>, Status>) -> Vec<Act> {
        match heard {
            Ok(Some(request)) => self.order.heard(*request),
            Ok(None) => {
                self.half_closed = true;
                self.order.half_closed()
            }
            // Nothing can be read behind such a message, but the engine can be told.
            Err(status) if matches!(status.code(), Code::OutOfRange | Code::Internal) => {
                self.half_closed = true;
                self.order.violated(&format!(
                    "a message that cannot be read: {}; send smaller ones",
                    status.message()
                ))
            }
            Err(_) => self.order.gone(),
        }
    }

    fn happened(&mut self, event: Option<Event>) -> Vec<Act> {
        match event {
            Some(Event::Opened) => self.order.opened(),
            Some(Event::Answered(data)) => self.order.answered(data),
            Some(Event::Done) => self.order.done(),
            Some(Event::Failed(failure)) => self.order.fail(failure),
            None => {
                self.work = None;
                self.order.lost()
            }
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Open(asked) => match self.start(*asked) {
                Ok(work) => self.work = Some(work),
                Err(failure) => {
                    let acts = self.order.fail(failure);
                    acts.into_iter().for_each(|act| self.act(act));
                }
            },
            Act::Feed(data) => self.inbox.push_back(Input::Batch(data)),
            Act::EndInput => self.inbox.push_back(Input::End),
            Act::Kill => {
                self.work = None;
                self.inbox.clear();
                let answer = |it: &UdfResponse| matches!(it.response, Some(Response::Data(_)));
                self.outbox.retain(|response| !answer(response));
            }
            Act::Say(response) => self.outbox.push_back(response),
            Act::Close => self.closing = true,
            Act::Abandon => {
                self.work = None;
                self.outbox.clear();
                self.closing = true;
            }
        }
    }

    fn start(&self, asked: Asked) -> Result<Work, Failure> {
        let worker = &self.worker;
        let place = Arc::clone(&worker.places).try_acquire_owned();
        let place = place.map_err(|_| {
            let most = worker.max_sessions;
            Failure::Worker(format!(
                "{most} functions run here already; raise --max-sessions, or start another worker"
            ))
        })?;
        Work::start(worker.sessions.clone(), asked, self.figures.clone(), place)
    }
}

/// What came first.
enum Next {
    /// The stream broke.
    Gone,
    /// The worker ends.
    Stop,
    /// A message of the engine's, or its end.
    Heard(Result<Option<Box<UdfRequest>>, Status>),
    /// Something of the function's, or the end of its thread.
    Happened(Option<Event>),
    /// Something moved on.
    Nothing,
}

async fn told_to_stop(stopping: &mut watch::Receiver<Stopping>) {
    let now = |stopping: &Stopping| *stopping == Stopping::Now;
    if stopping.wait_for(now).await.is_err() {
        // The worker is gone, and this stream with it.
        std::future::pending().await
    }
}

async fn next_event(events: Option<&mut Receiver<Event>>) -> Option<Event> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// Room for a batch; none where there is nobody to take it.
async fn room(feed: Option<&Sender<Input>>) -> Option<Permit<'_, Input>> {
    match feed {
        Some(feed) => feed.reserve().await.ok(),
        None => None,
    }
}
