//! What a client says before, and while, its bytes leave: held to the connection's name.

use std::io;
use std::time::Duration;

use lakekeep_egress_inspect::{Inspector, Progress, Refusal};
use rustix::io::Errno;
use rustix::net::Shutdown;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dns::write_all;
use crate::pump::{Bounds, Carried, paid};

/// Bytes that are read at once.
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
}

/// The two sides of an inspected flow.
#[derive(Debug)]
pub struct Gate<'a> {
    pub inside: &'a TcpStream,
    pub outside: &'a TcpStream,
    pub carried: &'a Carried,
    /// In which what was begun to be said must be said.
    pub patience: Duration,
    pub bounds: Bounds<'a>,
}

/// What one side has to say.
enum Said {
    Client(usize),
    Server(usize),
}

/// Where the two directions are.
struct Ways {
    client: Vec<u8>,
    server: Vec<u8>,
    said_all: bool,
    heard_all: bool,
    /// What the inspector wants to hear next.
    progress: Progress,
}

impl Gate<'_> {
    /// Carries bytes while the inspector looks at them.
    pub async fn pass(&self, inspector: &mut Inspector) -> Passed {
        match self.carry(inspector).await {
            Ok(passed) => passed,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Passed::Silent,
            Err(error) => Passed::Ended(Err(error)),
        }
    }

    async fn carry(&self, inspector: &mut Inspector) -> io::Result<Passed> {
        let mut ways = Ways {
            client: vec![0; CHUNK],
            server: vec![0; CHUNK],
            said_all: false,
            heard_all: false,
            progress: Progress::Inspect,
        };
        while !(ways.said_all && ways.heard_all) {
            let patience = match inspector.is_undecided() {
                true => self.patience,
                false => self.bounds.idle,
            };
            let mut onward = Vec::new();
            let found = match timeout(patience, self.next(&mut ways)).await?? {
                Said::Client(count) => said(&mut ways, count, inspector, &mut onward),
                Said::Server(count) => self.heard(&mut ways, count, inspector, &mut onward).await?,
            };
            // What may leave leaves first: it came before what may not.
            write_all(self.outside, &onward).await?;
            self.carried.add_sent(onward.len());
            paid(self.bounds.out, onward.len()).await;
            ways.progress = match found {
                Err(refusal) => return Ok(Passed::Refused(refusal)),
                Ok(Progress::Opaque) => return Ok(Passed::Opaque),
                Ok(progress) => progress,
            };
            if ways.said_all {
                end_of(self.outside)?;
            }
        }
        Ok(Passed::Ended(Ok(())))
    }

    async fn next(&self, ways: &mut Ways) -> io::Result<Said> {
        tokio::select! {
            count = read(self.inside, &mut ways.client), if !ways.said_all => {
                count.map(Said::Client)
            }
            count = read(self.outside, &mut ways.server), if !ways.heard_all => {
                count.map(Said::Server)
            }
        }
    }

    /// The server's bytes go to the client at once, whatever they are.
    async fn heard(
        &self,
        ways: &mut Ways,
        count: usize,
        inspector: &mut Inspector,
        onward: &mut Vec<u8>,
    ) -> io::Result<Result<Progress, Refusal>> {
        if count == 0 {
            ways.heard_all = true;
            end_of(self.inside)?;
            return Ok(Ok(ways.progress));
        }
        let bytes = ways.server.get(..count).unwrap_or_default();
        write_all(self.inside, bytes).await?;
        self.carried.add_received(count);
        paid(self.bounds.back, count).await;
        Ok(match ways.progress {
            Progress::AwaitServer => inspector.server(bytes, onward),
            progress => Ok(progress),
        })
    }
}

/// What the client says, as far as it may leave, is `onward`.
fn said(
    ways: &mut Ways,
    count: usize,
    inspector: &mut Inspector,
    onward: &mut Vec<u8>,
) -> Result<Progress, Refusal> {
    if count == 0 {
        ways.said_all = true;
        return inspector.client_ended(onward).map(|()| ways.progress);
    }
    inspector.client(ways.client.get(..count).unwrap_or_default(), onward)
}

/// Tells one side that the other has said all; it may have gone already.
fn end_of(side: &TcpStream) -> io::Result<()> {
    match rustix::net::shutdown(side, Shutdown::Write) {
        Err(Errno::NOTCONN) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

async fn read(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}
