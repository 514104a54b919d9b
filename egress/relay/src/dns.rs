//! Names, asked for inside and answered here: nothing of a question leaves.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use lakekeep_egress_names::{Frames, MAX_QUERY_BYTES, Via, framed};
use lakekeep_sys::net::{Datagram, receive_datagram, send_datagram};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::pump::write_all;
use crate::sandbox::Sandbox;
use crate::side::Side;

/// How long a stream of questions may say nothing (RFC 7766, 6.2.3).
const IDLE: Duration = Duration::from_secs(10);

/// Questions of one sandbox that are answered each second, by UDP and TCP together. What is above
/// waits in its sockets: answers are the relay's work, and how many are asked for is the code
/// inside's to choose.
pub const QUESTIONS_PER_SECOND: u64 = 2000;

/// Until the next datagram is asked for, after one that could not be had.
const PAUSE: Duration = Duration::from_millis(10);

/// The socket at which questions by UDP arrive.
#[derive(Debug)]
pub struct Questions(UdpSocket);

impl Questions {
    pub fn new(udp: OwnedFd) -> io::Result<Self> {
        let udp = std::net::UdpSocket::from(udp);
        udp.set_nonblocking(true)?;
        UdpSocket::from_std(udp).map(Self)
    }

    /// Answers every question, one after the other.
    pub async fn answer_all(&self, sandbox: &Sandbox) {
        loop {
            if self.answer_one(sandbox).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn answer_one(&self, sandbox: &Sandbox) -> io::Result<()> {
        let mut buffer = [0; MAX_QUERY_BYTES];
        let datagram: Datagram = self
            .0
            .async_io(Interest::READABLE, || {
                Ok(receive_datagram(&self.0, &mut buffer)?)
            })
            .await?;
        // A longer one was cut, and is no question.
        let Some(question) = buffer.get(..datagram.length) else {
            return Ok(());
        };
        sandbox.questions.take(1).await;
        let Some(answer) = sandbox.answer(question, Via::Udp).await else {
            return Ok(());
        };
        match send_datagram(&self.0, &answer, &datagram) {
            // Whoever asked has gone, or reads nothing: it asks again.
            Err(Errno::AGAIN | Errno::CONNREFUSED) | Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Whether a connection is to a resolver: port 53 of any address.
pub fn is_resolver(asked: SocketAddr) -> bool {
    asked.port() == 53
}

/// Answers the questions of one stream, until it ends or is none of questions.
pub async fn answer_stream(sandbox: &Arc<Sandbox>, inside: &Side) {
    // However it ended: nobody is there to be told.
    let ended: io::Result<()> = stream(sandbox, inside).await;
    drop(ended);
}

async fn stream(sandbox: &Sandbox, inside: &Side) -> io::Result<()> {
    let (mut frames, mut buffer) = (Frames::default(), [0; MAX_QUERY_BYTES]);
    loop {
        timeout(IDLE, inside.readable()).await??;
        match inside.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => frames.push(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        while let Some(question) = frames.next_message().map_err(io::Error::other)? {
            sandbox.questions.take(1).await;
            let answer = sandbox.answer(&question, Via::Tcp).await;
            if let Some(answer) = answer.as_deref().and_then(framed) {
                timeout(IDLE, write_all(inside, &answer)).await??;
            }
        }
    }
}
