//! An environment that is being sent. Hashing, decompressing and writing block, so it has a thread.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use lakekeep_api::Reason;
use lakekeep_api::v1;
use lakekeep_api::v1::push_event::Event as Out;
use lakekeep_api::v1::push_request::Request as In;
use lakekeep_environment::{Digest, FileNode, MAX_MANIFEST_BYTES, Manifest};
use lakekeep_sandbox::chain;
use lakekeep_tree::Bounds;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::shelves::{Shelf, refused};
use crate::fault::Fault;

/// Pieces that wait for the disk; when there are so many, the sender waits.
const WAITING: usize = 8;

/// A sender that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// Digests in one message.
const DIGESTS: usize = 4096;

/// What was asked for, and by whom it may be read.
pub(super) struct Upload {
    pub digest: Digest,
    /// Bytes of the manifest, as the sender says.
    pub length: u64,
    pub shelf: Arc<Shelf>,
    /// What the sender may read anyway.
    pub shared: Vec<Arc<Shelf>>,
    pub bounds: Bounds,
}

/// The sender's words, as a thread hears them.
pub(super) type Words = mpsc::Receiver<Result<In, Status>>;

/// Where answers go.
pub(super) type Answers = mpsc::Sender<Result<v1::PushEvent, Status>>;

/// Gives a thread what the sender says; without a word for long, its stream ends.
pub(super) fn hear(mut stream: Streaming<v1::PushRequest>) -> Words {
    let (to, words) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        loop {
            let word = match tokio::time::timeout(SILENCE, stream.message()).await {
                Ok(Ok(Some(v1::PushRequest { request }))) => {
                    request.ok_or_else(|| Status::invalid_argument("a message without a request"))
                }
                Ok(Ok(None)) => return,
                Ok(Err(status)) => Err(status),
                Err(_) => Err(Status::deadline_exceeded("the sender is silent")),
            };
            let over = word.is_err();
            if to.send(word).await.is_err() || over {
                return;
            }
        }
    });
    words
}

impl Upload {
    /// Receives what is lacking, and makes the environment. What came whole stays when this fails.
    /// `note` is called before the environment is made: what is not noted is not done.
    ///
    /// # Errors
    /// `BadRequest` for what was not asked for, `QuotaExceeded`; what the store says.
    pub(super) fn receive(
        &self,
        words: &mut Words,
        answers: &Answers,
        note: impl FnOnce(&v1::Stored) -> Result<(), Fault>,
    ) -> Result<v1::Stored, Fault> {
        let manifest = self.manifest(words, answers)?;
        let shared: Vec<_> = self.shared.iter().map(|shelf| &shelf.domain).collect();
        let arrival = self.shelf.domain.expect(&manifest, &shared, self.bounds);
        let mut arrival = arrival.map_err(|error| refused(&error))?;
        let wanted = arrival.wanted().to_vec();
        ask_for(&wanted, answers)?;
        if !wanted.is_empty() {
            let mut pack = Pack::new(words);
            let taken = lakekeep_tree::receive(&mut pack, &wanted, &mut |file, content| {
                arrival.take(file, content)
            });
            taken.map_err(|error| refused(&error))?;
        }
        let stored = v1::Stored {
            known: false,
            contents: count(wanted.len()),
            bytes: wanted.iter().map(|file| file.size).sum(),
        };
        note(&stored)?;
        arrival.finish().map_err(|error| refused(&error))?;
        Ok(stored)
    }

    fn manifest(&self, words: &mut Words, answers: &Answers) -> Result<Manifest, Fault> {
        let bad = |message: String| Fault::new(Reason::BadRequest, message);
        let most = count(MAX_MANIFEST_BYTES);
        if self.length > most {
            return Err(bad(format!("manifest_bytes: at most {most}")));
        }
        tell(answers, Out::SendManifest(v1::SendManifest {}))?;
        let mut text = Vec::new();
        while count(text.len()) < self.length {
            match words.blocking_recv() {
                Some(Ok(In::Manifest(piece))) => text.extend_from_slice(&piece),
                Some(Ok(_)) => return Err(bad("the manifest is not whole".to_owned())),
                Some(Err(status)) => return Err(bad(status.message().to_owned())),
                None => return Err(bad("the manifest ends early".to_owned())),
            }
        }
        if count(text.len()) != self.length || Digest::of(&text) != self.digest {
            return Err(bad(
                "the manifest is not what its digest says; capture again".to_owned(),
            ));
        }
        Manifest::parse(&text).map_err(|error| bad(chain(&error)))
    }
}

fn ask_for(wanted: &[FileNode], answers: &Answers) -> Result<(), Fault> {
    let lists = wanted.chunks(DIGESTS).map(|part| {
        let digests = part.iter().map(|file| file.digest.as_bytes().to_vec());
        Out::Wanted(v1::Wanted {
            digests: digests.collect(),
        })
    });
    for event in lists.chain([Out::Send(v1::Send {})]) {
        tell(answers, event)?;
    }
    Ok(())
}

fn tell(answers: &Answers, event: Out) -> Result<(), Fault> {
    let answer = v1::PushEvent { event: Some(event) };
    let sent = answers.blocking_send(Ok(answer));
    sent.map_err(|_| Fault::new(Reason::BadRequest, "the sender has gone"))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The pack's bytes, one message after the other.
struct Pack<'w> {
    words: &'w mut Words,
    piece: Vec<u8>,
    at: usize,
}

impl<'w> Pack<'w> {
    fn new(words: &'w mut Words) -> Self {
        Self {
            words,
            piece: Vec::new(),
            at: 0,
        }
    }
}

impl Read for Pack<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.piece.len() {
            self.at = 0;
            self.piece = match self.words.blocking_recv() {
                Some(Ok(In::Pack(piece))) => piece,
                Some(Ok(_)) => return Err(io::Error::other("only pack follows")),
                Some(Err(status)) => return Err(io::Error::other(status.message().to_owned())),
                None => return Ok(0),
            };
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        let (Some(to), Some(from)) = (buffer.get_mut(..length), rest.get(..length)) else {
            return Ok(0);
        };
        to.copy_from_slice(from);
        self.at += length;
        Ok(length)
    }
}
