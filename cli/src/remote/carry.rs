//! A task's streams, to and from this program's own.
//!
//! Standard input is read, and the outputs are written, by threads of their own: these
//! descriptors are shared with other programs and cannot be made non-blocking, and a
//! reader that does not read must delay neither signals nor input.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

use lakekeep_client::{CHUNK, Control, Ending, Event, Session, Stdin};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::RemoteError;
use crate::run::{copy, kernel};
use crate::terminal;

const SIGPIPE: i32 = 13;
const SIGWINCH: i32 = 28;

/// Passed on to the command, as without a manager: INT, TERM, HUP, QUIT, USR1, USR2,
/// WINCH.
const FORWARDED: [i32; 7] = [2, 15, 1, 3, 10, 12, SIGWINCH];

/// Leaves a task that was attached to: ^], as telnet(1) has it.
const LEAVE: u8 = 0x1d;

/// Pieces that wait for a slow reader or a slow task.
const WAITING: usize = 2;

/// How a task's streams are carried.
#[derive(Debug, Default)]
pub struct Manner {
    /// What the task reads; `None`: nothing from here.
    pub input: Option<OwnedFd>,
    /// It has a terminal, and ours is raw.
    pub terminal: bool,
    /// ^] leaves it.
    pub can_leave: bool,
}

/// Why carrying ended.
#[derive(Debug)]
pub enum End {
    /// The task ended.
    Ended(Ending),
    /// Its follower left.
    Left,
}

/// This program's signals, which from now on are the task's.
#[derive(Debug)]
pub struct Signals(Vec<(i32, Signal)>);

impl Signals {
    /// Listens; what comes before the task is there waits for it.
    pub fn listen() -> Result<Self, RemoteError> {
        let listen = |number: &i32| {
            let signal = signal(SignalKind::from_raw(*number));
            Ok((*number, signal.map_err(RemoteError::Runtime)?))
        };
        let all: Result<_, RemoteError> = FORWARDED.iter().map(listen).collect();
        all.map(Self)
    }

    fn forward(self, control: &Control, terminal: bool) -> JoinSet<()> {
        let mut forwarding = JoinSet::new();
        for (number, mut signal) in self.0 {
            let control = control.clone();
            forwarding.spawn(async move {
                while signal.recv().await.is_some() {
                    let sent = match terminal::size().filter(|_| terminal && number == SIGWINCH) {
                        Some((rows, columns)) => control.resize(rows, columns).await,
                        None => control.signal(number).await,
                    };
                    if sent.is_err() {
                        return;
                    }
                }
            });
        }
        forwarding
    }
}

/// Carries a task's streams to its end.
pub async fn carry(session: Session, manner: Manner, signals: Signals) -> Result<End, RemoteError> {
    let Session {
        stdin,
        mut output,
        control,
        ..
    } = session;
    let _forwarding = signals.forward(&control, manner.terminal);
    let mut out = Writer::start(copy(rustix::stdio::stdout())?);
    let mut errors = Writer::start(copy(rustix::stdio::stderr())?);
    let mut feeding = JoinSet::new();
    if let Some(input) = manner.input {
        feeding.spawn(feed(stdin, read(input), manner.can_leave));
    }
    loop {
        let event = tokio::select! {
            event = output.next() => event?,
            Some(left) = feeding.join_next() => match left {
                Ok(true) => return Ok(End::Left),
                _ => continue,
            },
        };
        let written = match event {
            Some(Event::Stdout(bytes)) => out.write(bytes).await,
            Some(Event::Stderr(bytes)) => errors.write(bytes).await,
            Some(Event::Ended(ending)) => {
                // An output that nobody reads is not the task's end.
                drop((out.finish(), errors.finish()));
                return Ok(End::Ended(ending));
            }
            None => return Ok(End::Left),
        };
        if !written {
            // What it would meet if it wrote itself. One that has ended needs none.
            drop(control.signal(SIGPIPE).await);
        }
    }
}

/// Prints what a task wrote, to its end or as far as it is there.
pub async fn print(session: Session, only_errors: bool) -> Result<Option<Ending>, RemoteError> {
    let mut output = session.output;
    let mut out = Writer::start(copy(rustix::stdio::stdout())?);
    let mut errors = Writer::start(copy(rustix::stdio::stderr())?);
    let mut end = None;
    while let Some(event) = output.next().await? {
        let written = match event {
            Event::Stdout(_) if only_errors => true,
            Event::Stdout(bytes) => out.write(bytes).await,
            Event::Stderr(bytes) if only_errors => out.write(bytes).await,
            Event::Stderr(bytes) => errors.write(bytes).await,
            Event::Ended(ending) => {
                end = Some(ending);
                true
            }
        };
        if !written {
            return Err(out
                .finish()
                .err()
                .map_or(RemoteError::NobodyReads, Into::into));
        }
    }
    out.finish()?;
    errors.finish()?;
    Ok(end)
}

/// Feeds a task. `true`: its follower wants to leave.
async fn feed(
    mut stdin: Stdin,
    mut pieces: mpsc::Receiver<std::io::Result<Vec<u8>>>,
    can_leave: bool,
) -> bool {
    while let Some(Ok(piece)) = pieces.recv().await {
        let at = piece.iter().position(|byte| can_leave && *byte == LEAVE);
        let bytes = piece.get(..at.unwrap_or(piece.len())).unwrap_or_default();
        // It has ended, and reads no more.
        if stdin.write(bytes).await.is_err() {
            return false;
        }
        if at.is_some() {
            return true;
        }
    }
    drop(stdin.end().await);
    false
}

/// Reads a descriptor to its end.
pub fn read(from: OwnedFd) -> mpsc::Receiver<std::io::Result<Vec<u8>>> {
    let (to, pieces) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut from = File::from(from);
        loop {
            let mut piece = vec![0; CHUNK];
            let read = match from.read(&mut piece) {
                Ok(0) => return,
                Ok(length) => {
                    piece.truncate(length);
                    Ok(piece)
                }
                Err(error) if waits(&error, &from, PollFlags::IN) => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if to.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    pieces
}

/// Whether to try again; another program may have made the description non-blocking.
fn waits(error: &std::io::Error, file: &File, flags: PollFlags) -> bool {
    match error.kind() {
        ErrorKind::Interrupted => true,
        ErrorKind::WouldBlock => poll(&mut [PollFd::new(file, flags)], None).is_ok(),
        _ => false,
    }
}

/// Writes to a descriptor, in a thread.
pub struct Writer {
    pieces: Option<mpsc::Sender<Vec<u8>>>,
    thread: Option<std::thread::JoinHandle<std::io::Result<()>>>,
}

impl Writer {
    /// Writes to `to`.
    pub fn start(to: OwnedFd) -> Self {
        let (pieces, mut from) = mpsc::channel::<Vec<u8>>(WAITING);
        let thread = std::thread::spawn(move || {
            let mut to = File::from(to);
            while let Some(piece) = from.blocking_recv() {
                write_all(&mut to, &piece)?;
            }
            Ok(())
        });
        Self {
            pieces: Some(pieces),
            thread: Some(thread),
        }
    }

    /// `false`, once: it cannot be written any more, and what comes is dropped.
    pub async fn write(&mut self, bytes: Vec<u8>) -> bool {
        let Some(pieces) = &self.pieces else {
            return true;
        };
        let written = pieces.send(bytes).await.is_ok();
        if !written {
            self.pieces = None;
        }
        written
    }

    /// Waits until all is written.
    pub fn finish(&mut self) -> std::io::Result<()> {
        self.pieces = None;
        match self.thread.take().map(std::thread::JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(ErrorKind::Other.into()),
            None => Ok(()),
        }
    }
}

fn write_all(to: &mut File, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if waits(&error, to, PollFlags::OUT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes our terminal raw.
pub fn raw() -> Result<terminal::Raw, RemoteError> {
    Ok(terminal::Raw::enter().map_err(kernel("tcsetattr"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        rustix::pipe::pipe().unwrap()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    #[test]
    fn all_of_a_descriptor_is_read_and_written_even_a_non_blocking_one() {
        let (from, feed) = pipe();
        let (read_back, to) = pipe();
        for end in [&from, &to] {
            rustix::io::ioctl_fionbio(end, true).unwrap();
        }
        let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
        let sent = bytes.clone();
        let feeding = std::thread::spawn(move || File::from(feed).write_all(&sent).unwrap());
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            File::from(read_back).read_to_end(&mut all).unwrap();
            all
        });
        runtime().block_on(async {
            let mut pieces = read(from);
            let mut writer = Writer::start(to);
            while let Some(piece) = pieces.recv().await {
                assert!(writer.write(piece.unwrap()).await);
            }
            writer.finish().unwrap();
        });
        feeding.join().unwrap();
        assert!(reading.join().unwrap() == bytes);
    }

    #[test]
    fn an_output_that_nobody_reads_is_told_once() {
        let (read_back, to) = pipe();
        drop(read_back);
        runtime().block_on(async {
            let mut writer = Writer::start(to);
            while writer.write(vec![0; 16]).await {}
            assert!(writer.write(vec![0; 16]).await);
            let error = writer.finish().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        });
    }
}
