//! A task's streams. They outlive connections: when one is lost, another is made and
//! the streams go on where they stood, with no byte lost or doubled.

mod driver;
mod input;
mod state;
#[cfg(test)]
mod tests;

use lakekeep_api::CHUNK;
use lakekeep_api::v1::AttachStart;
use lakekeep_api::v1::exec_request::Request as Out;
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::build::{Attach, Command};
use crate::client::Client;
use crate::error::{Cause, ClientError};
use crate::follow::pause;

use driver::{Driver, Handles, Wire};
use state::{State, request};

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// As `lakekeep run` exits.
    pub exit_code: i32,
    /// Verdict, receipt and usage: the JSON of `lakekeep_sandbox::Outcome`.
    pub outcome: String,
}

/// What comes from a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Standard output; with a terminal, all output.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
    /// Its end. Nothing follows.
    Ended(Ending),
}

/// A task that is followed. Its parts can be moved to different tasks of the runtime.
#[derive(Debug)]
pub struct Session {
    /// The sandbox's identifier.
    pub sandbox: String,
    /// The task's number in it.
    pub task: u32,
    /// Its input.
    pub stdin: Stdin,
    /// Its output. When it is dropped, nobody follows the task any more.
    pub output: Output,
    /// Its signals and its terminal's size.
    pub control: Control,
}

/// A task's input. At most 256 KiB of it are kept here until the task has them.
#[derive(Debug)]
pub struct Stdin {
    pieces: mpsc::Sender<Piece>,
}

/// A task's output. At most a few pieces wait here; the rest waits at the manager.
#[derive(Debug)]
pub struct Output {
    events: mpsc::Receiver<Result<Event, ClientError>>,
}

/// What is sent to a task beside its input.
#[derive(Debug, Clone)]
pub struct Control {
    words: mpsc::Sender<Word>,
}

#[derive(Debug)]
enum Piece {
    Data(Vec<u8>),
    End,
}

#[derive(Debug)]
enum Word {
    Signal(i32),
    Resize(u16, u16),
}

impl Stdin {
    /// Writes all of `bytes`; waits while too much is on its way.
    ///
    /// # Errors
    /// `Closed` when the task has ended: it reads no more.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        for piece in bytes.chunks(CHUNK) {
            let sent = self.pieces.send(Piece::Data(piece.to_vec())).await;
            sent.map_err(|_| closed())?;
        }
        Ok(())
    }

    /// Ends the input. Dropping it does not: who attaches later may go on.
    ///
    /// # Errors
    /// `Closed` when the task has ended.
    pub async fn end(self) -> Result<(), ClientError> {
        self.pieces.send(Piece::End).await.map_err(|_| closed())
    }
}

impl Output {
    /// The next thing that comes; `None` after the end.
    ///
    /// # Errors
    /// When the streams cannot go on; nothing follows.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        self.events.recv().await.transpose()
    }

    /// Waits for the task's end, and drops its output.
    ///
    /// # Errors
    /// When the streams cannot go on.
    pub async fn wait(&mut self) -> Result<Option<Ending>, ClientError> {
        loop {
            match self.next().await? {
                Some(Event::Ended(ending)) => return Ok(Some(ending)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

impl Control {
    /// Sends a signal (signal(7)) to the command, as soon as there is a connection.
    ///
    /// # Errors
    /// `Closed` when the task has ended.
    pub async fn signal(&self, signal: i32) -> Result<(), ClientError> {
        let sent = self.words.send(Word::Signal(signal)).await;
        sent.map_err(|_| closed())
    }

    /// Sets the terminal's size.
    ///
    /// # Errors
    /// `Closed` when the task has ended.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), ClientError> {
        let sent = self.words.send(Word::Resize(rows, columns)).await;
        sent.map_err(|_| closed())
    }
}

fn closed() -> ClientError {
    ClientError::new(Cause::Closed, "the task takes nothing any more: it ended")
}

/// Starts a command and follows it.
pub(crate) async fn start(client: Client, command: Command) -> Result<Session, ClientError> {
    let reconnect_for = command.reconnect_for;
    let start = command.into_start();
    let mut state = State::of(&AttachStart {
        sandbox: start.sandbox.clone(),
        ..AttachStart::default()
    });
    // Asked again until there is an answer: the same request starts one task.
    let mut backoff = Backoff::new(reconnect_for);
    let wire = loop {
        let first = request(Out::Start(Box::new(start.clone())));
        match Wire::open(&client, first, &mut state).await {
            Ok(wire) => break wire,
            Err(error) => pause(&mut backoff, error).await?,
        }
    };
    Ok(follow(Driver::new(client, state, reconnect_for), wire))
}

/// Follows a task that was started before.
pub(crate) async fn attach(client: Client, attach: Attach) -> Result<Session, ClientError> {
    let mut state = State::of(&attach.start);
    let wire = Wire::open(&client, state.attach(), &mut state).await?;
    Ok(follow(
        Driver::new(client, state, attach.reconnect_for),
        wire,
    ))
}

fn follow((driver, handles): (Driver, Handles), wire: Wire) -> Session {
    let (sandbox, task) = driver.of();
    tokio::spawn(driver.run(wire));
    Session {
        sandbox,
        task,
        stdin: handles.stdin,
        output: handles.output,
        control: handles.control,
    }
}
