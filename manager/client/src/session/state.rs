//! Where a task's streams stand, across connections. Pure: no clock, no input, no output.
//!
//! One connection begins with `start` or `attach`, the manager answers `started`, and
//! from then on:
//!
//! | who | sends | the other |
//! |---|---|---|
//! | client | `stdin` | gives it to the task, answers `stdin_accepted` |
//! | client | `signal`, `window` | passes them on |
//! | manager | `stdout`, `stderr` | takes what is new of it, by its offset |
//! | manager | `ended` | closes |

use std::collections::VecDeque;

use lakekeep_api::v1::exec_event::Event as In;
use lakekeep_api::v1::exec_request::Request as Out;
use lakekeep_api::v1::{AttachStart, ExecEvent, ExecRequest, OutputData, TaskStarted, Window};

use super::input::Input;
use super::{Ending, Event};
use crate::error::{Cause, ClientError};

/// Where a task's streams stand.
#[derive(Debug, Default)]
pub(super) struct State {
    pub sandbox: String,
    pub task: u32,
    pub input: Input,
    /// Bytes of output and of errors that were received.
    received: (u64, u64),
    read_only: bool,
    no_follow: bool,
    /// The terminal's size, and whether it must be told on this connection.
    window: Option<Window>,
    window_due: bool,
    signals: VecDeque<i32>,
}

impl State {
    /// Of a task that is to be attached to.
    pub fn of(attach: &AttachStart) -> Self {
        Self {
            sandbox: attach.sandbox.clone(),
            task: attach.task,
            input: Input::after(attach.stdin_offset),
            received: (attach.stdout_offset, attach.stderr_offset),
            read_only: attach.read_only,
            no_follow: attach.no_follow,
            ..Self::default()
        }
    }

    /// How a new connection begins.
    pub fn attach(&self) -> ExecRequest {
        request(Out::Attach(AttachStart {
            sandbox: self.sandbox.clone(),
            task: self.task,
            stdout_offset: self.received.0,
            stderr_offset: self.received.1,
            read_only: self.read_only,
            no_follow: self.no_follow,
            stdin_offset: self.input.accepted(),
        }))
    }

    /// The manager may end the stream before the task's end.
    pub fn may_stop_early(&self) -> bool {
        self.no_follow
    }

    /// The manager has taken up the task.
    pub fn started(&mut self, started: TaskStarted) -> Result<(), ClientError> {
        self.task = started.task;
        if !started.sandbox.is_empty() {
            self.sandbox = started.sandbox;
        }
        self.window_due = self.window.is_some();
        self.input.rewind(started.stdin_offset)
    }

    /// What the manager sent, as far as it is new.
    pub fn receive(&mut self, event: ExecEvent) -> Result<Option<Event>, ClientError> {
        match event.event {
            Some(In::Stdout(data)) => {
                Ok(fresh(&mut self.received.0, data, "stdout")?.map(Event::Stdout))
            }
            Some(In::Stderr(data)) => {
                Ok(fresh(&mut self.received.1, data, "stderr")?.map(Event::Stderr))
            }
            Some(In::StdinAccepted(offset)) => self.input.accept(offset).map(|()| None),
            Some(In::Ended(ended)) => Ok(Some(Event::Ended(Ending {
                exit_code: ended.exit_code,
                outcome: ended.outcome,
            }))),
            // Once is enough; what a newer manager says beside is not for us.
            Some(In::Started(_)) | None => Ok(None),
        }
    }

    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.window = Some(Window {
            rows: rows.into(),
            columns: columns.into(),
        });
        self.window_due = true;
    }

    pub fn signal(&mut self, signal: i32) {
        self.signals.push_back(signal);
    }

    /// There is something to send.
    pub fn has_request(&self) -> bool {
        !self.read_only && (self.window_due || !self.signals.is_empty() || self.input.pending())
    }

    /// The next thing to send. Signals and sizes go before input, which may be long.
    pub fn next_request(&mut self) -> Result<Option<ExecRequest>, ClientError> {
        if std::mem::take(&mut self.window_due) {
            return Ok(self.window.map(|window| request(Out::Window(window))));
        }
        if let Some(signal) = self.signals.pop_front() {
            return Ok(Some(request(Out::Signal(signal))));
        }
        let piece = self.input.next()?;
        Ok(piece.map(|piece| request(Out::Stdin(piece))))
    }
}

pub(super) fn request(request: Out) -> ExecRequest {
    ExecRequest {
        request: Some(request),
    }
}

/// The part of `output` that was not received before.
fn fresh(
    received: &mut u64,
    mut output: OutputData,
    stream: &str,
) -> Result<Option<Vec<u8>>, ClientError> {
    let known = received.checked_sub(output.offset).ok_or_else(|| {
        let message = format!(
            "bytes {received} to {} of {stream} were left out by the manager",
            output.offset
        );
        ClientError::new(Cause::Protocol, message)
    })?;
    let known = usize::try_from(known).unwrap_or(usize::MAX);
    if known >= output.data.len() {
        return Ok(None);
    }
    output.data.drain(..known);
    *received += u64::try_from(output.data.len()).unwrap_or(0);
    Ok(Some(output.data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stdout(offset: u64, data: &[u8]) -> ExecEvent {
        ExecEvent {
            event: Some(In::Stdout(OutputData {
                offset,
                data: data.to_vec(),
            })),
        }
    }

    fn bytes(event: Option<Event>) -> Option<Vec<u8>> {
        match event {
            Some(Event::Stdout(bytes)) => Some(bytes),
            _ => None,
        }
    }

    #[test]
    fn repeated_output_is_dropped_and_a_gap_is_an_error() {
        let mut state = State::default();
        assert_eq!(
            bytes(state.receive(stdout(0, b"abc")).unwrap()).unwrap(),
            b"abc"
        );
        assert_eq!(bytes(state.receive(stdout(1, b"bc")).unwrap()), None);
        assert_eq!(
            bytes(state.receive(stdout(2, b"cde")).unwrap()).unwrap(),
            b"de"
        );
        let gap = state.receive(stdout(9, b"x")).unwrap_err();
        assert_eq!(gap.cause(), Cause::Protocol);
    }

    #[test]
    fn a_new_connection_attaches_where_the_old_one_broke() {
        let mut state = State {
            sandbox: "s".to_owned(),
            task: 3,
            ..State::default()
        };
        state.receive(stdout(0, b"abc")).unwrap();
        state.input.push(b"in".to_vec());
        state.next_request().unwrap();
        let accepted = ExecEvent {
            event: Some(In::StdinAccepted(2)),
        };
        state.receive(accepted).unwrap();
        let Some(Out::Attach(attach)) = state.attach().request else {
            panic!("no attach");
        };
        assert_eq!((attach.task, attach.stdout_offset), (3, 3));
        assert_eq!((attach.stderr_offset, attach.stdin_offset), (0, 2));
    }

    #[test]
    fn the_windows_size_is_told_again_and_goes_before_input() {
        let mut state = State::default();
        state.input.push(b"in".to_vec());
        state.resize(3, 4);
        state.signal(2);
        let kinds = |state: &mut State| {
            let mut kinds = Vec::new();
            while let Some(request) = state.next_request().unwrap() {
                kinds.push(match request.request {
                    Some(Out::Window(_)) => 'w',
                    Some(Out::Signal(_)) => 's',
                    Some(Out::Stdin(_)) => 'i',
                    _ => '?',
                });
            }
            kinds
        };
        assert_eq!(kinds(&mut state), ['w', 's', 'i']);
        state.started(TaskStarted::default()).unwrap();
        assert_eq!(kinds(&mut state), ['w', 'i']);
    }

    #[test]
    fn who_only_reads_sends_nothing() {
        let mut state = State::of(&AttachStart {
            read_only: true,
            ..AttachStart::default()
        });
        state.signal(9);
        assert!(!state.has_request());
    }
}
