//! Environments, sent to the manager: only what it has not from the same user.

use std::io::{self, Write};

use lakekeep_api::v1::environments_client::EnvironmentsClient;
use lakekeep_api::v1::push_event::Event as In;
use lakekeep_api::v1::push_request::Request as Out;
use lakekeep_api::v1::{
    CollectEnvironmentsRequest, CollectEnvironmentsResponse, Environment, EnvironmentRef,
    ListEnvironmentsRequest, PushBegin, PushEvent, PushRequest, Stored,
};
use lakekeep_api::{CHUNK, MAX_MESSAGE};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::client::{Client, answered};
use crate::error::{Cause, ClientError};

/// Pieces that wait for the connection.
const SENDING: usize = 4;

/// An environment to be sent.
#[derive(Debug, Clone)]
pub struct Push {
    /// BLAKE3 of the manifest, in hexadecimal.
    pub digest: String,
    /// The manifest's text.
    pub manifest: String,
    /// The profile to share it in; `None`: for the caller alone.
    pub profile: Option<String>,
}

/// An environment that is there, and what that took.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The manager's answer.
    pub stored: Stored,
    /// Bytes that were sent: the manifest's text, if it was asked for, and the pack, compressed.
    pub sent: u64,
}

/// What became of it.
#[derive(Debug)]
pub enum Pushing {
    /// It is there.
    Stored(Pushed),
    /// The manager wants contents, in this order, as one pack.
    Wanted(Vec<Vec<u8>>, Box<Pack>),
}

/// Takes the bytes of a pack to the manager. Writing blocks, on a thread that is none of the
/// runtime's, until the manager has taken earlier bytes.
#[derive(Debug)]
pub struct Pack {
    to: mpsc::Sender<PushRequest>,
    events: Streaming<PushEvent>,
    piece: Vec<u8>,
    /// Bytes that were sent, with the manifest's.
    sent: u64,
}

impl Client {
    fn environments(&self) -> EnvironmentsClient<Channel> {
        EnvironmentsClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// Begins to send an environment. What came whole is kept where the connection is lost: the
    /// same again sends the rest.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn push(&self, push: &Push) -> Result<Pushing, ClientError> {
        let (to, requests) = mpsc::channel(SENDING);
        let begin = Out::Begin(PushBegin {
            digest: push.digest.clone(),
            manifest_bytes: u64::try_from(push.manifest.len()).unwrap_or(u64::MAX),
            profile: push.profile.clone().unwrap_or_default(),
        });
        // There is room for it.
        drop(to.send(request(begin)).await);
        let asked = self.request(ReceiverStream::new(requests))?;
        let mut events = answered(self.environments().push_environment(asked).await)?;
        let mut wanted = Vec::new();
        let mut sent = 0;
        loop {
            match next(&mut events).await? {
                In::Stored(stored) => return Ok(Pushing::Stored(Pushed { stored, sent })),
                In::SendManifest(_) => {
                    sent += push.manifest.len() as u64;
                    for piece in push.manifest.as_bytes().chunks(CHUNK) {
                        if to
                            .send(request(Out::Manifest(piece.to_vec())))
                            .await
                            .is_err()
                        {
                            // Why, is the next answer.
                            break;
                        }
                    }
                }
                In::Wanted(more) => wanted.extend(more.digests),
                In::Send(_) => {
                    let pack = Pack {
                        to,
                        events,
                        piece: Vec::with_capacity(CHUNK),
                        sent,
                    };
                    return Ok(Pushing::Wanted(wanted, Box::new(pack)));
                }
            }
        }
    }

    /// The caller's environments, and those that are shared with it.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn list_environments(&self) -> Result<Vec<Environment>, ClientError> {
        let request = self.request(ListEnvironmentsRequest {})?;
        let answer = answered(self.environments().list_environments(request).await)?;
        Ok(answer.environments)
    }

    /// Removes an environment of the caller's, or of a profile's.
    ///
    /// # Errors
    /// As the manager says: `Conflict` while a sandbox uses it.
    pub async fn remove_environment(
        &self,
        digest: &str,
        profile: Option<&str>,
    ) -> Result<(), ClientError> {
        let request = self.request(EnvironmentRef {
            digest: digest.to_owned(),
            profile: profile.unwrap_or_default().to_owned(),
        })?;
        answered(self.environments().remove_environment(request).await).map(drop)
    }

    /// Removes what of the caller's was not used for long, until the rest has at most `keep` bytes.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn collect_environments(
        &self,
        keep: u64,
    ) -> Result<CollectEnvironmentsResponse, ClientError> {
        let request = self.request(CollectEnvironmentsRequest { keep })?;
        answered(self.environments().collect_environments(request).await)
    }
}

impl Pack {
    /// Ends the pack; answers when the environment is stored.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn finish(mut self) -> Result<Pushed, ClientError> {
        if !self.piece.is_empty() {
            let rest = std::mem::take(&mut self.piece);
            self.sent += rest.len() as u64;
            // Where it is taken no more, the answer says why.
            drop(self.to.send(request(Out::Pack(rest))).await);
        }
        drop(self.to);
        match next(&mut self.events).await? {
            In::Stored(stored) => Ok(Pushed {
                stored,
                sent: self.sent,
            }),
            _ => Err(out_of_turn()),
        }
    }
}

impl Write for Pack {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK - self.piece.len();
        let part = bytes.get(..room).unwrap_or(bytes);
        self.piece.extend_from_slice(part);
        if self.piece.len() == CHUNK {
            self.flush()?;
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(CHUNK));
        self.sent += piece.len() as u64;
        let sent = self.to.blocking_send(request(Out::Pack(piece)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

fn request(request: Out) -> PushRequest {
    PushRequest {
        request: Some(request),
    }
}

async fn next(events: &mut Streaming<PushEvent>) -> Result<In, ClientError> {
    let event = events.message().await?.and_then(|event| event.event);
    event.ok_or_else(out_of_turn)
}

fn out_of_turn() -> ClientError {
    ClientError::new(Cause::Protocol, "the manager answered out of turn")
}
