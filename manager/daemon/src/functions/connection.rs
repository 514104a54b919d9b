//! One engine's connection: its requests and their answers.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lakekeep_api::Reason;
use lakekeep_sys::socket;
use lakekeep_udf_packets::{Answer, Counts, MAX_PACKET, Open, Request};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::Functions;
use super::session::{Asking, Session};
use crate::fault::Fault;
use crate::refusals::Seen;
use crate::sandbox::lock;
use crate::who::Claims;

/// Sessions of one connection at once; the profile's quotas bound them besides.
const MOST: usize = 1024;

/// An engine that does not take its answers for so long is not there any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// The connection. Clones are of the same.
#[derive(Debug, Clone)]
pub struct Connection {
    functions: Functions,
    uid: u32,
    socket: Arc<AsyncFd<OwnedFd>>,
    /// One answer is written after the other.
    writing: Arc<tokio::sync::Mutex<()>>,
    sessions: Arc<Mutex<HashMap<u32, Live>>>,
    /// Told when nobody can be answered.
    broken: watch::Sender<bool>,
}

/// A session that was asked for and has not ended.
#[derive(Debug)]
struct Live {
    /// Dropped, or told: it ends.
    end: watch::Sender<bool>,
    counts: Arc<Mutex<Counts>>,
}

impl Connection {
    pub fn new(functions: Functions, uid: u32, socket: Arc<AsyncFd<OwnedFd>>) -> Self {
        Self {
            functions,
            uid,
            socket,
            writing: Arc::default(),
            sessions: Arc::default(),
            broken: watch::Sender::new(false),
        }
    }

    /// Answers until the engine has closed its end, does not take its answers, or the
    /// manager stops. Every session ends then.
    pub async fn serve(self, mut stopping: watch::Receiver<bool>) {
        let mut broken = self.broken.subscribe();
        let hearing = async {
            let mut packet = vec![0; MAX_PACKET];
            while let Ok(Some(descriptors)) = self.hear(&mut packet).await {
                self.answer(descriptors).await;
            }
        };
        tokio::select! {
            () = hearing => {}
            _ = broken.wait_for(|broken| *broken) => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        lock(&self.sessions).clear();
    }

    /// The next packet; `None`: there will be none.
    async fn hear(&self, packet: &mut [u8]) -> std::io::Result<Option<Heard>> {
        loop {
            let mut ready = self.socket.readable().await?;
            let heard = ready.try_io(|fd| Ok(socket::receive(fd.get_ref(), packet)?));
            match heard {
                // Empty meanwhile.
                Err(_) => {}
                // Cut, or with more descriptors than there may be: it is told so, and no
                // session suffers.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                    return Ok(Some(Heard::Cut));
                }
                Ok(Err(error)) => return Err(error),
                Ok(Ok(heard)) if heard.length == 0 => return Ok(None),
                Ok(Ok(heard)) => {
                    let packet = packet.get(..heard.length).unwrap_or_default();
                    let request = Request::parse(packet)
                        .map_err(|error| bad_request(&lakekeep_sandbox::chain(&error)));
                    return Ok(Some(Heard::Request(request, heard.descriptors)));
                }
            }
        }
    }

    async fn answer(&self, heard: Heard) {
        let (request, given) = match heard {
            Heard::Request(Ok(request), given) => (request, given),
            // Number 0 is nobody's.
            Heard::Request(Err(fault), _) => return self.refuse(0, fault).await,
            Heard::Cut => {
                let why = "the packet is too long, or has too many descriptors";
                return self.refuse(0, bad_request(why)).await;
            }
        };
        match request {
            Request::Open(open) => {
                let number = open.number;
                if let Err(fault) = self.open(*open, given) {
                    self.refuse(number, fault).await;
                }
            }
            Request::Kill { number } => {
                if let Some(live) = lock(&self.sessions).get(&number) {
                    live.end.send_replace(true);
                }
                // One that has ended has said so: its end and this word have crossed.
            }
            Request::Used { number, counts } => {
                if let Some(live) = lock(&self.sessions).get(&number) {
                    *lock(&live.counts) = counts;
                }
            }
        }
    }

    /// Has a session made, on a task of its own.
    fn open(&self, open: Open, given: Vec<OwnedFd>) -> Result<(), Fault> {
        let number = open.number;
        let (end, ending) = watch::channel(false);
        let counts = Arc::new(Mutex::new(Counts::default()));
        {
            let mut sessions = lock(&self.sessions);
            if number == 0 || sessions.contains_key(&number) {
                let why = format!("a session of number {number} lives; number each anew");
                return Err(bad_request(&why));
            }
            if sessions.len() >= MOST {
                let why = format!("{MOST} sessions live on this connection, and no more may");
                return Err(Fault::new(Reason::QuotaExceeded, why));
            }
            let counts = Arc::clone(&counts);
            sessions.insert(number, Live { end, counts });
        }
        let this = self.clone();
        let asking = Asking {
            uid: self.uid,
            open,
            given,
            counts,
        };
        tokio::spawn(async move {
            match Session::start(&this.functions, asking).await {
                Ok(session) => {
                    this.say(&session.opened()).await;
                    let ended = session.until_its_end(ending).await;
                    lock(&this.sessions).remove(&number);
                    this.say(&ended).await;
                }
                Err(refused) => {
                    lock(&this.sessions).remove(&number);
                    this.say(&refused).await;
                }
            }
        });
        Ok(())
    }

    /// Says and notes that something was refused before it was looked at closely.
    async fn refuse(&self, number: u32, fault: Fault) {
        let seen = Seen::default();
        let authentication = &self.functions.sandboxes.gate.authentication;
        if authentication
            .peer(self.uid, Claims::default(), &seen)
            .is_err()
        {
            // Nobody's account: the log has the number.
        }
        let refused = self.functions.refused(self.uid, number, (seen, fault));
        let refused = refused.await;
        self.say(&refused).await;
    }

    async fn say(&self, answer: &Answer) {
        let packet = answer.to_packet();
        let written = async {
            let _turn = self.writing.lock().await;
            loop {
                let mut ready = self.socket.writable().await?;
                let sent = ready.try_io(|fd| Ok(socket::send(fd.get_ref(), &packet, &[])?));
                if let Ok(sent) = sent {
                    return sent;
                }
            }
        };
        if !matches!(tokio::time::timeout(PATIENCE, written).await, Ok(Ok(()))) {
            // It has gone, or hears nothing: its sessions end.
            self.broken.send_replace(true);
        }
    }
}

enum Heard {
    Request(Result<Request, Fault>, Vec<OwnedFd>),
    Cut,
}

fn bad_request(why: &str) -> Fault {
    Fault::new(Reason::BadRequest, why)
}
