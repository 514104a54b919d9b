//! Streams of what happens: events, figures, the audit log.

use std::time::Duration;

use lakekeep_api::v1::{
    AuditEvent, Event, EventsRequest, QueryAuditRequest, StatsRequest, StatsSample,
};
use tokio::time::Instant;
use tonic::Streaming;

use crate::RECONNECT_FOR;
use crate::backoff::Backoff;
use crate::build::wire;
use crate::client::{Client, answered};
use crate::error::{Cause, ClientError};

/// What happens to sandboxes. Goes on after the last event when the connection is lost.
#[derive(Debug)]
pub struct Events {
    client: Client,
    request: EventsRequest,
    stream: Option<Streaming<Event>>,
    backoff: Backoff,
}

impl Events {
    /// The next event; `None` after the last of those that are kept, where no more were
    /// asked for.
    ///
    /// # Errors
    /// As the manager says, or when it stays away: `OutputGone` when events were missed,
    /// because it was restarted or keeps them no more. Follow anew then.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            match self.receive().await {
                Ok(Some(event)) => {
                    self.request.after = event.number;
                    self.backoff.progressed();
                    return Ok(Some(event));
                }
                Ok(None) if self.request.no_follow => return Ok(None),
                other => {
                    self.stream = None;
                    pause(&mut self.backoff, other.err().unwrap_or_else(ended)).await?;
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Event>, ClientError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request = self.client.request(self.request.clone())?;
                let stream = answered(self.client.sandboxes().events(request).await)?;
                self.stream.insert(stream)
            }
        };
        Ok(stream.message().await?)
    }
}

/// What sandboxes use.
#[derive(Debug)]
pub struct Samples {
    client: Client,
    request: StatsRequest,
    stream: Option<Streaming<StatsSample>>,
    backoff: Backoff,
}

impl Samples {
    /// The next sample; `None` after the only one, where no interval was asked for.
    ///
    /// # Errors
    /// As the manager says, or when it stays away.
    pub async fn next(&mut self) -> Result<Option<StatsSample>, ClientError> {
        loop {
            match self.receive().await {
                Ok(Some(sample)) => {
                    self.backoff.progressed();
                    return Ok(Some(sample));
                }
                Ok(None) if self.request.interval.is_none() => return Ok(None),
                other => {
                    self.stream = None;
                    pause(&mut self.backoff, other.err().unwrap_or_else(ended)).await?;
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<StatsSample>, ClientError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request = self.client.request(self.request.clone())?;
                let stream = answered(self.client.sandboxes().stats(request).await)?;
                self.stream.insert(stream)
            }
        };
        Ok(stream.message().await?)
    }
}

/// Events of the audit log.
#[derive(Debug)]
pub struct Audit {
    stream: Streaming<AuditEvent>,
}

impl Audit {
    /// The next event, one line of JSON; `None` after the last.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        let event = self.stream.message().await?;
        Ok(event.map(|event| event.json))
    }
}

fn ended() -> ClientError {
    ClientError::new(Cause::Lost, "the manager closed the stream")
}

/// Waits before the next attempt, as long as one may help.
pub(crate) async fn pause(backoff: &mut Backoff, error: ClientError) -> Result<(), ClientError> {
    if !error.is_transient() {
        return Err(error);
    }
    match backoff.after(Instant::now(), error.retry_after()) {
        Some(pause) => {
            tokio::time::sleep(pause).await;
            Ok(())
        }
        None => Err(error),
    }
}

impl Client {
    /// What happens to sandboxes: from now on, after the event of number `after`, or from
    /// the oldest that is kept.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn events(&self, request: EventsRequest) -> Result<Events, ClientError> {
        let call = self.request(request.clone())?;
        let stream = answered(self.sandboxes().events(call).await)?;
        Ok(Events {
            client: self.clone(),
            request,
            stream: Some(stream),
            backoff: Backoff::new(RECONNECT_FOR),
        })
    }

    /// What a sandbox (empty: each of the caller's) uses: once, or again and again.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn stats(
        &self,
        sandbox: &str,
        interval: Option<Duration>,
    ) -> Result<Samples, ClientError> {
        let request = StatsRequest {
            sandbox: sandbox.to_owned(),
            interval: interval.and_then(wire),
        };
        let call = self.request(request.clone())?;
        let stream = answered(self.sandboxes().stats(call).await)?;
        Ok(Samples {
            client: self.clone(),
            request,
            stream: Some(stream),
            backoff: Backoff::new(RECONNECT_FOR),
        })
    }

    /// Events of the audit log, oldest first.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn audit(&self, query: QueryAuditRequest) -> Result<Audit, ClientError> {
        let request = self.request(query)?;
        let stream = answered(self.accounts().query_audit(request).await)?;
        Ok(Audit { stream })
    }
}
