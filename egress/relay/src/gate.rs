//! What a client says before, and while, its bytes leave: held to the connection's name.

use std::io;
use std::time::Duration;

use lakekeep_egress_inspect::{Inspector, Progress, Refusal};
use tokio::time::{Instant, timeout, timeout_at};

use crate::pump::{Bounds, Carried, end_of, write_all};
use crate::side::Side;

/// Bytes that are read at once. On the stack, for the moment: a flow that says nothing holds
/// none.
const CHUNK: usize = 16 * 1024;

/// How a stream came through.
#[derive(Debug)]
pub enum Passed {
    /// Nothing of it needs to be looked at any more.
    Opaque,
    /// Both sides have said all, or one is lost.
    Ended(io::Result<()>),
    /// It says something that may not leave; nothing of that did.
    Refused(Refusal),
    /// It did not say for whom it is in its time.
    Silent,
    /// Nothing was said, or taken, for too long.
    Idle,
}

/// What a client said before anything was connected to.
#[derive(Debug)]
pub struct Opening {
    onward: Vec<u8>,
    found: Result<Progress, Refusal>,
    said_all: bool,
}

impl Opening {
    /// Nothing yet: of a flow whose server may speak first.
    pub fn unheard() -> Self {
        Self {
            onward: Vec::new(),
            found: Ok(Progress::Inspect),
            said_all: false,
        }
    }
}

/// Hears a client until something of what it says may leave, for at most `patience` in all.
///
/// # Errors
/// How the stream came through, when nothing of it may.
pub async fn hear(
    inside: &Side,
    inspector: &mut Inspector,
    patience: Duration,
) -> Result<Opening, Passed> {
    let mut opening = Opening::unheard();
    match timeout(patience, hear_all(inside, inspector, &mut opening)).await {
        Err(_) => return Err(Passed::Silent),
        Ok(Err(error)) => return Err(Passed::Ended(Err(error))),
        Ok(Ok(())) => {}
    }
    if !opening.onward.is_empty() {
        return Ok(opening);
    }
    Err(match opening.found {
        Err(refusal) => Passed::Refused(refusal),
        Ok(_) => Passed::Ended(Ok(())),
    })
}

async fn hear_all(
    inside: &Side,
    inspector: &mut Inspector,
    opening: &mut Opening,
) -> io::Result<()> {
    while opening.onward.is_empty() && opening.found.is_ok() && !opening.said_all {
        let bytes = read(inside).await?;
        opening.said_all = bytes.is_empty();
        opening.found = said(&bytes, Progress::Inspect, inspector, &mut opening.onward);
    }
    Ok(())
}

/// The two sides of an inspected flow.
#[derive(Debug)]
pub struct Gate<'a> {
    pub inside: &'a Side,
    pub outside: &'a Side,
    pub carried: &'a Carried,
    /// In which what was begun to be said must be said.
    pub patience: Duration,
    pub bounds: Bounds<'a>,
}

/// What one side has to say; nothing at its end.
enum Said {
    Client(Vec<u8>),
    Server(Vec<u8>),
}

/// Where the two directions are.
struct Ways {
    said_all: bool,
    heard_all: bool,
    /// What the inspector wants to hear next.
    progress: Progress,
    /// Since when it is not known for whom the client speaks: a client that sends a byte now
    /// and then has no more time than another.
    undecided: Option<Instant>,
}

impl Gate<'_> {
    /// Carries bytes while the inspector looks at them.
    pub async fn pass(&self, inspector: &mut Inspector, opening: Opening) -> Passed {
        self.carried.touch();
        tokio::select! {
            passed = self.carry(inspector, opening) => {
                passed.unwrap_or_else(|error| Passed::Ended(Err(error)))
            }
            () = self.carried.idle(self.bounds.limits) => Passed::Idle,
        }
    }

    async fn carry(&self, inspector: &mut Inspector, opening: Opening) -> io::Result<Passed> {
        let Opening {
            mut onward,
            mut found,
            said_all,
        } = opening;
        let mut ways = Ways {
            said_all,
            heard_all: false,
            progress: Progress::Inspect,
            undecided: None,
        };
        loop {
            // What may leave leaves first: it came before what may not.
            write_all(self.outside, &onward).await?;
            self.carried.add_sent(onward.len());
            self.carried.pay(self.bounds.out, onward.len()).await;
            onward.clear();
            ways.progress = match found {
                Err(refusal) => return Ok(Passed::Refused(refusal)),
                Ok(Progress::Opaque) => return Ok(Passed::Opaque),
                Ok(progress) => progress,
            };
            if ways.said_all {
                end_of(self.outside)?;
                if ways.heard_all {
                    return Ok(Passed::Ended(Ok(())));
                }
            }
            let Some(next) = self.next(&mut ways, inspector.is_undecided()).await? else {
                return Ok(Passed::Silent);
            };
            found = match next {
                Said::Client(bytes) => {
                    ways.said_all = bytes.is_empty();
                    said(&bytes, ways.progress, inspector, &mut onward)
                }
                Said::Server(bytes) => {
                    self.answer(&mut ways, &bytes).await?;
                    match ways.progress {
                        Progress::AwaitServer => inspector.server(&bytes, &mut onward),
                        progress => Ok(progress),
                    }
                }
            };
        }
    }

    /// `None` when it was not said in time for whom the stream is.
    async fn next(&self, ways: &mut Ways, undecided: bool) -> io::Result<Option<Said>> {
        let since = undecided.then(|| ways.undecided.unwrap_or_else(Instant::now));
        ways.undecided = since;
        let said = async {
            tokio::select! {
                bytes = read(self.inside), if !ways.said_all => bytes.map(Said::Client),
                bytes = read(self.outside), if !ways.heard_all => bytes.map(Said::Server),
            }
        };
        match since {
            None => said.await.map(Some),
            Some(since) => timeout_at(since + self.patience, said)
                .await
                .ok()
                .transpose(),
        }
    }

    /// The server's bytes go to the client at once, whatever they are.
    async fn answer(&self, ways: &mut Ways, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            ways.heard_all = true;
            return end_of(self.inside);
        }
        write_all(self.inside, bytes).await?;
        self.carried.add_received(bytes.len());
        self.carried.pay(self.bounds.back, bytes.len()).await;
        Ok(())
    }
}

/// What the client says, as far as it may leave, is `onward`; no bytes are its end.
fn said(
    bytes: &[u8],
    progress: Progress,
    inspector: &mut Inspector,
    onward: &mut Vec<u8>,
) -> Result<Progress, Refusal> {
    match bytes {
        [] => inspector.client_ended(onward).map(|()| progress),
        _ => inspector.client(bytes, onward),
    }
}

async fn read(from: &Side) -> io::Result<Vec<u8>> {
    loop {
        from.readable().await?;
        match take(from) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

fn take(from: &Side) -> io::Result<Vec<u8>> {
    let mut buffer = [0; CHUNK];
    let read = from.try_read(&mut buffer)?;
    Ok(buffer.get(..read).unwrap_or_default().to_vec())
}
