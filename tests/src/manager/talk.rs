//! One caller's streams to and from a task.

use lakekeep_api::v1::exec_event::Event as Out;
use lakekeep_api::v1::exec_request::Request as In;
use lakekeep_api::v1::{ExecEvent, ExecRequest, StdinData, TaskEnded, Window};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::connect::wait;
use super::user::Refused;
use crate::fail;

/// A conversation with a task; dropped, its stream is reset.
#[derive(Debug)]
pub struct Talk {
    to: Option<mpsc::Sender<ExecRequest>>,
    events: Streaming<ExecEvent>,
    from: (u64, u64),
    sent: u64,
    /// Its sandbox, once it has started.
    pub sandbox: String,
    /// Its number.
    pub task: u32,
    /// Standard output since this conversation began.
    pub stdout: Vec<u8>,
    /// Standard error since this conversation began.
    pub stderr: Vec<u8>,
    /// Bytes of input that the task was given.
    pub accepted: u64,
    ended: Option<TaskEnded>,
}

/// A task that ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// Its number.
    pub task: u32,
    /// The exit code.
    pub code: i32,
    /// Standard output since the conversation began.
    pub stdout: Vec<u8>,
    /// Standard error since the conversation began.
    pub stderr: Vec<u8>,
    /// Verdict, receipt and usage.
    pub outcome: Value,
}

impl Done {
    /// The standard output as text, without blanks around.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// The verdict's kind.
    #[must_use]
    pub fn verdict(&self) -> &str {
        self.outcome["verdict"]["kind"].as_str().unwrap_or_default()
    }

    /// The standard output as text.
    ///
    /// # Panics
    /// When the exit code is not 0.
    #[track_caller]
    pub fn success(&self) -> String {
        if self.code != 0 {
            fail(format_args!(
                "exit {}: {}\n{}\n{}",
                self.code,
                self.outcome["verdict"],
                self.text(),
                String::from_utf8_lossy(&self.stderr)
            ));
        }
        self.text()
    }
}

impl Talk {
    /// What goes to the manager, with its first word.
    pub(super) fn channel(first: In) -> (mpsc::Sender<ExecRequest>, ReceiverStream<ExecRequest>) {
        let (to, said) = mpsc::channel(16);
        let first = ExecRequest {
            request: Some(first),
        };
        if to.try_send(first).is_err() {
            fail(format_args!("a new channel is full"));
        }
        (to, ReceiverStream::new(said))
    }

    pub(super) fn new(
        to: mpsc::Sender<ExecRequest>,
        events: Streaming<ExecEvent>,
        from: (u64, u64),
    ) -> Self {
        Self {
            to: Some(to),
            events,
            from,
            sent: 0,
            sandbox: String::new(),
            task: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
            accepted: 0,
            ended: None,
        }
    }

    /// Takes the next event in; `false` at the end.
    ///
    /// # Errors
    /// As the manager says.
    ///
    /// # Panics
    /// When output is lost or comes twice.
    #[track_caller]
    pub fn step(&mut self) -> Result<bool, Refused> {
        let event = wait("a task's next event", self.events.message())?;
        let Some(event) = event.and_then(|event| event.event) else {
            return Ok(false);
        };
        match event {
            Out::Started(started) => {
                self.sandbox = started.sandbox;
                self.task = started.task;
                self.sent = self.sent.max(started.stdin_offset);
                self.accepted = started.stdin_offset;
            }
            Out::Stdout(data) => put(self.from.0, &mut self.stdout, data.offset, data.data),
            Out::Stderr(data) => put(self.from.1, &mut self.stderr, data.offset, data.data),
            Out::StdinAccepted(accepted) => self.accepted = accepted,
            Out::Ended(ended) => self.ended = Some(ended),
        }
        Ok(true)
    }

    /// Takes events in until this is so.
    ///
    /// # Panics
    /// When the stream ends before.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        while !so(self) {
            match self.step() {
                Ok(true) => {}
                other => fail(format_args!(
                    "{what}: the stream ended ({other:?}) after {:?} {:?}",
                    String::from_utf8_lossy(&self.stdout),
                    String::from_utf8_lossy(&self.stderr)
                )),
            }
        }
    }

    /// Waits until the output holds this.
    #[track_caller]
    pub fn prints(&mut self, text: &str) {
        self.until(text, |talk| talk.text().contains(text));
    }

    /// The output so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Takes the output so far out: what follows is checked as before.
    pub fn take_output(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.from = self.offsets();
        (
            std::mem::take(&mut self.stdout),
            std::mem::take(&mut self.stderr),
        )
    }

    /// The next byte of each stream that this caller does not have.
    #[must_use]
    pub fn offsets(&self) -> (u64, u64) {
        let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        (
            self.from.0 + length(&self.stdout),
            self.from.1 + length(&self.stderr),
        )
    }

    fn say(&self, request: In) {
        let request = ExecRequest {
            request: Some(request),
        };
        let Some(to) = &self.to else {
            fail(format_args!("this side has ended"));
        };
        // A conversation that ended meanwhile hears nothing: that shows where it is read.
        if wait("room to speak", to.send(request)).is_err() {
            eprintln!("the conversation has ended");
        }
    }

    /// Gives the task input.
    pub fn give(&mut self, bytes: &[u8]) {
        self.give_at(self.sent, bytes);
        self.sent += u64::try_from(bytes.len()).unwrap_or(0);
    }

    /// Gives the task input that claims to begin there.
    pub fn give_at(&mut self, offset: u64, bytes: &[u8]) {
        self.say(In::Stdin(StdinData {
            offset,
            data: bytes.to_vec(),
            end: false,
        }));
    }

    /// Ends its input.
    pub fn end_input(&mut self) {
        self.say(In::Stdin(StdinData {
            offset: self.sent,
            data: Vec::new(),
            end: true,
        }));
    }

    /// Sends the command a signal.
    pub fn signal(&self, signal: i32) {
        self.say(In::Signal(signal));
    }

    /// Sets the terminal's size.
    pub fn resize(&self, rows: u32, columns: u32) {
        self.say(In::Window(Window { rows, columns }));
    }

    /// Says something that is not to be said here.
    pub fn say_anything(&self, request: In) {
        self.say(request);
    }

    /// Hears it to its end.
    ///
    /// # Errors
    /// As the manager says.
    ///
    /// # Panics
    /// When the stream ends without the task's end.
    #[track_caller]
    pub fn finish(mut self) -> Result<Done, Refused> {
        while self.ended.is_none() {
            if !self.step()? {
                fail(format_args!("the stream ended and the task did not"));
            }
        }
        let ended = self.ended.unwrap_or_default();
        let outcome = serde_json::from_str(&ended.outcome)
            .unwrap_or_else(|e| fail(format_args!("{}: {e}", ended.outcome)));
        Ok(Done {
            task: self.task,
            code: ended.exit_code,
            stdout: self.stdout,
            stderr: self.stderr,
            outcome,
        })
    }
}

#[track_caller]
fn put(from: u64, so_far: &mut Vec<u8>, offset: u64, data: Vec<u8>) {
    let expected = from + u64::try_from(so_far.len()).unwrap_or(u64::MAX);
    if offset != expected {
        fail(format_args!("bytes from {offset} and not from {expected}"));
    }
    so_far.extend(data);
}
