//! A task's streams, between its spools and a caller.

use std::sync::Arc;
use std::time::Duration;

use lakekeep_api::v1::exec_event::Event as Out;
use lakekeep_api::v1::exec_request::Request as In;
use lakekeep_api::v1::{ExecEvent, ExecRequest, OutputData, TaskEnded, TaskStarted};
use lakekeep_api::{CHUNK, Reason};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::fault::Fault;
use crate::sandbox::Sandbox;
use crate::spool::Spool;
use crate::task::Task;

/// Messages that wait for a caller that reads slowly; the rest waits in the spools.
const WAITING: usize = 4;

/// How long a caller may take to say what it wants.
pub const FIRST_WORD: Duration = Duration::from_secs(30);

/// What goes to the caller.
pub type Sender = mpsc::Sender<Result<ExecEvent, Status>>;

/// From where on a caller wants to hear a task.
#[derive(Debug, Clone, Copy, Default)]
pub struct From {
    /// Bytes of standard output that it has.
    pub stdout: u64,
    /// Bytes of standard error that it has.
    pub stderr: u64,
    /// Send what is there, and end.
    pub no_follow: bool,
}

/// A channel to a caller.
pub fn channel() -> (Sender, mpsc::Receiver<Result<ExecEvent, Status>>) {
    mpsc::channel(WAITING)
}

/// Sends a task's streams until it ends, the caller goes, or all that was asked for is
/// sent.
pub async fn send_all(sandbox: Arc<Sandbox>, task: Arc<Task>, from: From, to: Sender) {
    let _follower = task.follow();
    let sent = send_streams(&sandbox, &task, from, &to).await;
    let last = match sent {
        Ok(true) => {
            let ended = task.wait().await;
            // One that ends with its task has ended, and its place in the quotas is free,
            // when the caller hears of it.
            sandbox.over_with_its_task().await;
            Ok(event(Out::Ended(TaskEnded {
                exit_code: ended.exit_code,
                outcome: ended.outcome.clone(),
            })))
        }
        Ok(false) => return,
        Err(fault) => Err(Status::from(fault)),
    };
    // A caller that has gone can attach again and hear it then.
    drop(to.send(last).await);
}

/// `Ok(true)`: the task has ended and all of it is sent.
async fn send_streams(
    sandbox: &Sandbox,
    task: &Task,
    from: From,
    to: &Sender,
) -> Result<bool, Fault> {
    let (mut stdout, mut stderr) = (from.stdout, from.stderr);
    let (mut out, mut errors) = (task.stdout.follow(), task.stderr.follow());
    let mut accepted = task.accepted();
    let started = Out::Started(TaskStarted {
        sandbox: sandbox.id().to_owned(),
        task: task.number,
        stdin_offset: *accepted.borrow_and_update(),
    });
    if to.send(Ok(event(started))).await.is_err() {
        return Ok(false);
    }
    for (spool, offset) in [(&task.stdout, stdout), (&task.stderr, stderr)] {
        check_offset(spool, offset)?;
    }
    loop {
        let progress = (*out.borrow_and_update(), *errors.borrow_and_update());
        let some = send_piece(&task.stdout, &mut stdout, to, Out::Stdout).await?
            | send_piece(&task.stderr, &mut stderr, to, Out::Stderr).await?;
        let all = stdout >= progress.0.end && stderr >= progress.1.end;
        if all && progress.0.closed && progress.1.closed {
            return Ok(true);
        }
        if all && from.no_follow {
            return Ok(task.ended().is_some());
        }
        if some {
            continue;
        }
        tokio::select! {
            _ = out.changed() => {}
            _ = errors.changed() => {}
            _ = accepted.changed() => {
                let so_far = *accepted.borrow_and_update();
                if to.send(Ok(event(Out::StdinAccepted(so_far)))).await.is_err() {
                    return Ok(false);
                }
            }
            () = to.closed() => return Ok(false),
        }
    }
}

fn check_offset(spool: &Spool, offset: u64) -> Result<(), Fault> {
    let end = spool.follow().borrow().end;
    if offset <= end {
        return Ok(());
    }
    Err(Fault::new(
        Reason::OutputGone,
        format!("the stream has {end} bytes, not {offset}; attach from 0"),
    ))
}

/// Sends what is there, at most a piece. `true`: there was something.
async fn send_piece(
    spool: &Spool,
    offset: &mut u64,
    to: &Sender,
    wrap: fn(OutputData) -> Out,
) -> Result<bool, Fault> {
    let data = spool
        .read(*offset, CHUNK)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Fault::new(
                Reason::OutputGone,
                "the sandbox ended long ago and is forgotten",
            ),
            _ => Fault::internal("read a task's output", &error),
        })?;
    if data.is_empty() {
        return Ok(false);
    }
    let length = u64::try_from(data.len()).unwrap_or(0);
    let piece = wrap(OutputData {
        offset: *offset,
        data,
    });
    *offset += length;
    // A caller that has gone is noticed by the loop.
    Ok(to.send(Ok(event(piece))).await.is_ok())
}

fn event(event: Out) -> ExecEvent {
    ExecEvent { event: Some(event) }
}

/// The first message of a caller.
///
/// # Errors
/// `BadRequest` when none comes in time.
pub async fn first(requests: &mut Streaming<ExecRequest>) -> Result<In, Fault> {
    let missing = || {
        Fault::new(
            Reason::BadRequest,
            "the first message of the stream says what is wanted; it did not come",
        )
    };
    let first = tokio::time::timeout(FIRST_WORD, requests.message()).await;
    let first = first.map_err(|_| missing())?.map_err(|_| missing())?;
    first.and_then(|first| first.request).ok_or_else(missing)
}

/// Hears a caller until it ends its side, and does what it says.
pub async fn hear_all(
    sandbox: Arc<Sandbox>,
    task: Arc<Task>,
    mut requests: Streaming<ExecRequest>,
    to: Sender,
) {
    loop {
        let said = tokio::select! {
            said = requests.message() => said,
            _ = task.wait() => return,
        };
        // The end of the caller's side says nothing: input ends by a message.
        let Ok(Some(request)) = said else {
            return;
        };
        let Some(request) = request.request else {
            continue;
        };
        if let Err(fault) = obey(&sandbox, &task, request).await {
            // A caller that has gone cannot be told.
            drop(to.send(Err(fault.into())).await);
            return;
        }
    }
}

async fn obey(sandbox: &Sandbox, task: &Task, request: In) -> Result<(), Fault> {
    match request {
        In::Stdin(input) => {
            if !input.data.is_empty() {
                let given = tokio::select! {
                    given = task.give(input.offset, &input.data) => given,
                    _ = task.wait() => return Ok(()),
                };
                match given {
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                        return Err(Fault::new(
                            Reason::BadRequest,
                            "stdin.offset: bytes before these are missing; send from the offset that `started` told",
                        ));
                    }
                    Err(error) => return Err(Fault::internal("write a task's input", &error)),
                }
            }
            if input.end {
                sandbox.end_input(task).await;
            }
            Ok(())
        }
        In::Signal(signal) => {
            let signal = check_signal(signal)?;
            sandbox.thawed().await;
            sandbox.signal(task.number, signal)
        }
        In::Window(window) => {
            let size = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
            task.resize(size(window.rows), size(window.columns))
                .map_err(|_| Fault::new(Reason::BadRequest, "window: the task has no terminal"))
        }
        In::Start(_) | In::Attach(_) => Err(Fault::new(
            Reason::BadRequest,
            "only the first message of the stream starts or attaches",
        )),
    }
}

/// A signal that there is.
///
/// # Errors
/// `BadRequest` for a number that names none.
pub fn check_signal(signal: i32) -> Result<i32, Fault> {
    match signal {
        1..=64 => Ok(signal),
        _ => Err(Fault::new(
            Reason::BadRequest,
            "signal: not a number of signal(7)",
        )),
    }
}
