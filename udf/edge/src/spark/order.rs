//! The rules of one Execute stream: what may follow on what, and what is answered. Nothing
//! here does anything; who drives it hears what is to be done.
//!
//! | state | the engine may send | then | anything else is |
//! |---|---|---|---|
//! | `Before` | Init | `Collecting` with chunks to come, else `Opening` | told in InitResponse |
//! | `Collecting` | PayloadChunk | `Opening` after the last | told in InitResponse |
//! | `Opening` | nothing | `Flowing` when the sandbox has the function | told in InitResponse |
//! | `Flowing` | DataRequest, Finish | `Draining` after Finish | told in ErrorResponse |
//! | `Draining` | nothing | `Over` when all is answered: FinishResponse | told in CancelResponse |
//! | `Failed` | what had been sent before it heard | | told in CancelResponse |
//! | `Over` | whatever: nobody listens | | |
//!
//! Cancel may come at any time and is answered with CancelResponse at once. What the engine
//! should not have sent ends the stream, with a CancelResponse after the error. After a failure
//! of the function, or an Init that cannot be met, the engine has to cancel first.

use std::sync::Arc;

use prost::bytes::Bytes;

use super::asked::{Asked, Pending};
use super::failure::Failure;
use super::figures::Figures;
use super::proto::udf_control_request::Control as Asks;
use super::proto::udf_control_response::Control as Answer;
use super::proto::udf_request::Request;
use super::proto::udf_response::Response;
use super::proto::{
    CancelResponse, DataResponse, ErrorResponse, FinishResponse, Init, InitResponse, PayloadChunk,
    UdfControlResponse, UdfRequest, UdfResponse,
};

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Act {
    /// Have a sandbox made that has the function.
    Open(Box<Asked>),
    /// Give it this batch.
    Feed(Bytes),
    /// There are no more batches.
    EndInput,
    /// End the sandbox, if there is one, and drop what has not been said yet of its answers.
    Kill,
    /// Tell the engine.
    Say(UdfResponse),
    /// End the stream; nothing is said after it.
    Close,
    /// End the sandbox and the stream; there is nobody to be told anything.
    Abandon,
}

/// Where a stream stands.
#[derive(Debug)]
pub struct Order {
    state: State,
    /// Most bytes of a payload.
    payload_limit: u64,
    figures: Arc<Figures>,
}

#[derive(Debug)]
enum State {
    Before,
    Collecting(Box<Pending>),
    Opening,
    Flowing {
        /// The function wants no more: what still comes is dropped.
        sated: bool,
    },
    Draining,
    Failed(Phase),
    Over,
}

/// In which phase the engine was told of a failure: what it may have sent before it heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Init,
    Data,
}

impl Order {
    /// A stream on which nothing has been said.
    pub fn new(payload_limit: u64, figures: Arc<Figures>) -> Self {
        Self {
            state: State::Before,
            payload_limit,
            figures,
        }
    }

    /// The engine has sent this.
    pub fn heard(&mut self, request: UdfRequest) -> Vec<Act> {
        match request.request {
            Some(Request::Data(data)) => self.data(data.data),
            Some(Request::Control(control)) => match control.control {
                Some(Asks::Init(init)) => self.init(*init),
                Some(Asks::Payload(chunk)) => self.chunk(&chunk),
                Some(Asks::Finish(_)) => self.finish(),
                Some(Asks::Cancel(_)) => self.cancel(),
                None => self.violated("a control message without a word in it"),
            },
            None => self.violated("a message with neither control nor data"),
        }
    }

    fn init(&mut self, init: Init) -> Vec<Act> {
        if !matches!(self.state, State::Before) {
            return self.violated("a second Init; open another stream for another function");
        }
        match Pending::check(init, self.payload_limit) {
            Err(failure) => self.fail(failure),
            Ok(pending) if pending.chunked => {
                self.state = State::Collecting(Box::new(pending));
                Vec::new()
            }
            Ok(pending) => self.open(pending),
        }
    }

    fn chunk(&mut self, chunk: &PayloadChunk) -> Vec<Act> {
        match &mut self.state {
            State::Collecting(pending) => match pending.append(&chunk.data) {
                Err(failure) => self.fail(failure),
                Ok(()) if chunk.last() => {
                    match std::mem::replace(&mut self.state, State::Opening) {
                        State::Collecting(pending) => self.open(*pending),
                        _ => Vec::new(),
                    }
                }
                Ok(()) => Vec::new(),
            },
            // They were on their way when Init was refused.
            State::Failed(Phase::Init) => Vec::new(),
            State::Before => self.violated("a PayloadChunk before Init"),
            _ => self
                .violated("a PayloadChunk after the last one, or without Init.is_chunking_payload"),
        }
    }

    fn open(&mut self, pending: Pending) -> Vec<Act> {
        match pending.finish() {
            Err(failure) => self.fail(failure),
            Ok(asked) => {
                self.state = State::Opening;
                vec![Act::Open(Box::new(asked))]
            }
        }
    }

    fn data(&mut self, data: Bytes) -> Vec<Act> {
        match self.state {
            State::Flowing { .. } if data.is_empty() => {
                self.violated("an empty DataRequest; each has a record batch")
            }
            State::Flowing { sated: false } => vec![Act::Feed(data)],
            State::Flowing { sated: true } | State::Failed(Phase::Data) | State::Over => Vec::new(),
            State::Draining => self.violated("a DataRequest after Finish"),
            _ => self.violated("a DataRequest before InitResponse; wait for it"),
        }
    }

    fn finish(&mut self) -> Vec<Act> {
        match self.state {
            State::Flowing { sated: true } => self.finished(),
            State::Flowing { sated: false } => {
                self.state = State::Draining;
                vec![Act::EndInput]
            }
            State::Failed(Phase::Data) | State::Over => Vec::new(),
            State::Draining => self.violated("a second Finish"),
            _ => self.violated("Finish before InitResponse; wait for it"),
        }
    }

    fn cancel(&mut self) -> Vec<Act> {
        match std::mem::replace(&mut self.state, State::Over) {
            // FinishResponse has been sent: too late.
            State::Over => Vec::new(),
            _ => vec![Act::Kill, Act::Say(self.cancelled(None)), Act::Close],
        }
    }

    /// The engine's side of the stream has ended, and the connection has not.
    pub fn half_closed(&mut self) -> Vec<Act> {
        match self.state {
            State::Failed(_) => self.cancel(),
            _ => self.violated("the engine's side closed before the outcome; Finish or Cancel"),
        }
    }

    /// The stream is broken: nobody is there to be told.
    pub fn gone(&mut self) -> Vec<Act> {
        self.state = State::Over;
        vec![Act::Abandon]
    }

    /// The engine broke a rule of the protocol's.
    pub fn violated(&mut self, rule: &str) -> Vec<Act> {
        let failure = Failure::Protocol(rule.to_owned());
        match std::mem::replace(&mut self.state, State::Over) {
            State::Over => Vec::new(),
            State::Draining | State::Failed(_) => {
                vec![
                    Act::Kill,
                    Act::Say(self.cancelled(Some(failure))),
                    Act::Close,
                ]
            }
            before => self.end(&before, failure),
        }
    }

    /// The whole worker ends, and this stream at once.
    pub fn shut(&mut self, why: &str) -> Vec<Act> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Over => Vec::new(),
            State::Failed(_) => vec![Act::Kill, Act::Say(self.cancelled(None)), Act::Close],
            before => self.end(&before, Failure::Worker(why.to_owned())),
        }
    }

    /// The error where it belongs at this point, and the end.
    fn end(&self, before: &State, failure: Failure) -> Vec<Act> {
        let told = match before {
            State::Before | State::Collecting(_) | State::Opening => init(Some(failure)),
            _ => error(failure),
        };
        let end = Act::Say(self.cancelled(None));
        vec![Act::Kill, Act::Say(told), end, Act::Close]
    }

    /// The sandbox has the function.
    pub fn opened(&mut self) -> Vec<Act> {
        match self.state {
            State::Opening => {
                self.state = State::Flowing { sated: false };
                vec![Act::Say(init(None))]
            }
            _ => Vec::new(),
        }
    }

    /// The function has answered with a batch.
    pub fn answered(&mut self, data: Bytes) -> Vec<Act> {
        let response = Response::Data(DataResponse { data });
        match self.state {
            State::Flowing { .. } | State::Draining => vec![Act::Say(said(response))],
            _ => Vec::new(),
        }
    }

    /// All is answered, or the function wants no more.
    pub fn done(&mut self) -> Vec<Act> {
        match &mut self.state {
            State::Draining => self.finished(),
            State::Flowing { sated } => {
                *sated = true;
                vec![Act::Kill]
            }
            _ => Vec::new(),
        }
    }

    /// Nothing more is heard of the session.
    pub fn lost(&mut self) -> Vec<Act> {
        match self.state {
            State::Opening | State::Flowing { sated: false } | State::Draining => {
                let why = "the session ended without a word; start the task again";
                self.fail(Failure::Worker(why.to_owned()))
            }
            _ => Vec::new(),
        }
    }

    fn finished(&mut self) -> Vec<Act> {
        self.state = State::Over;
        let finish = FinishResponse {
            metrics: self.figures.told(),
            ..FinishResponse::default()
        };
        vec![Act::Say(control(Answer::Finish(finish))), Act::Close]
    }

    /// The function, its sandbox, or what Init asks for has failed. The engine cancels next.
    pub fn fail(&mut self, failure: Failure) -> Vec<Act> {
        let (phase, told) = match self.state {
            State::Failed(_) | State::Over => return Vec::new(),
            State::Before | State::Collecting(_) | State::Opening => {
                (Phase::Init, init(Some(failure)))
            }
            State::Flowing { .. } | State::Draining => (Phase::Data, error(failure)),
        };
        self.state = State::Failed(phase);
        vec![Act::Kill, Act::Say(told)]
    }

    fn cancelled(&self, failure: Option<Failure>) -> UdfResponse {
        control(Answer::Cancel(CancelResponse {
            metrics: self.figures.told(),
            error: failure.map(Into::into),
        }))
    }
}

fn init(failure: Option<Failure>) -> UdfResponse {
    control(Answer::Init(InitResponse {
        data: None,
        error: failure.map(Into::into),
    }))
}

fn error(failure: Failure) -> UdfResponse {
    control(Answer::Error(ErrorResponse {
        error: Some(failure.into()),
    }))
}

fn control(answer: Answer) -> UdfResponse {
    said(Response::Control(UdfControlResponse {
        control: Some(answer),
    }))
}

fn said(response: Response) -> UdfResponse {
    UdfResponse {
        response: Some(response),
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
