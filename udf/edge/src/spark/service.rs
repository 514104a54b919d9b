//! The service that the engine calls: Execute for each function, Manage for all.

use std::sync::Arc;

use tokio::sync::mpsc::channel;
use tokio::sync::{Semaphore, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::execute::Execute;
use super::figures::Figures;
use super::proto::udf_worker_server::UdfWorker;
use super::proto::worker_request::Manage as Asks;
use super::proto::worker_response::Manage as Answer;
use super::proto::{
    HeartbeatResponse, ShutdownRequest, ShutdownResponse, UdfRequest, UdfResponse, WorkerRequest,
    WorkerResponse,
};
use super::sessions::Sessions;

/// Whether the worker goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// It does.
    No,
    /// Streams that are there end by themselves; then it ends.
    WhenIdle,
    /// Streams are ended, and so is it.
    Now,
}

/// What all streams share.
#[derive(Debug)]
pub struct Worker {
    /// Where sandboxes come from.
    pub sessions: Arc<Sessions>,
    /// Of all streams.
    pub figures: Arc<Figures>,
    /// Each function that runs has one.
    pub places: Arc<Semaphore>,
    /// How many places there are.
    pub max_sessions: usize,
    /// Most bytes of a payload.
    pub payload_limit: u64,
    /// Whether it goes on.
    pub stopping: watch::Sender<Stopping>,
    /// Streams that live, and how many there were.
    pub streams: watch::Sender<Streams>,
}

/// How many streams there are.
#[derive(Debug, Default, Clone, Copy)]
pub struct Streams {
    /// Now.
    pub live: u64,
    /// In all.
    pub total: u64,
}

impl Worker {
    /// One that goes on.
    pub fn new(sessions: Sessions, max_sessions: usize, payload_limit: u64) -> Self {
        Self {
            sessions: Arc::new(sessions),
            figures: Arc::default(),
            places: Arc::new(Semaphore::new(max_sessions)),
            max_sessions,
            payload_limit,
            stopping: watch::Sender::new(Stopping::No),
            streams: watch::Sender::default(),
        }
    }

    /// Has it end; it does not take back what was said before.
    pub fn stop(&self, how: Stopping) {
        self.stopping.send_if_modified(|stopping| {
            let sooner = *stopping != Stopping::Now && *stopping != how;
            if sooner {
                *stopping = how;
            }
            sooner
        });
    }

    /// Until it was told to end and no stream lives, or is told to end at once.
    pub async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The senders are this worker's own: they live.
        drop(stopping.wait_for(|how| *how != Stopping::No).await);
        tokio::select! {
            () = self.idle() => {}
            _ = stopping.wait_for(|how| *how == Stopping::Now) => {}
        }
    }

    /// Until no stream lives.
    pub async fn idle(&self) {
        let mut streams = self.streams.subscribe();
        drop(streams.wait_for(|streams| streams.live == 0).await);
    }

    /// Until no sandbox is left, nor will be.
    pub async fn emptied(&self) {
        let all = u32::try_from(self.max_sessions).unwrap_or(u32::MAX);
        // It fails when the places are closed, which nobody does.
        drop(self.places.acquire_many(all).await);
    }

    async fn shut_down(&self, request: &ShutdownRequest) -> ShutdownResponse {
        if request.cancel_sessions() {
            self.stop(Stopping::Now);
            self.idle().await;
        } else {
            self.stop(Stopping::WhenIdle);
        }
        ShutdownResponse {
            sessions_settled: self.streams.borrow().live == 0,
        }
    }

    fn alive(&self) -> HeartbeatResponse {
        let streams = *self.streams.borrow();
        let mut metrics = self.figures.told();
        metrics.insert("sessions".to_owned(), streams.live.to_string());
        metrics.insert("sessions_total".to_owned(), streams.total.to_string());
        HeartbeatResponse { metrics }
    }
}

/// A stream that lives, as long as this does.
struct Live(Arc<Worker>);

impl Live {
    fn new(worker: &Arc<Worker>) -> Self {
        worker.streams.send_modify(|streams| {
            streams.live += 1;
            streams.total += 1;
        });
        Self(worker.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.streams.send_modify(|streams| streams.live -= 1);
    }
}

/// What tonic serves.
#[derive(Debug, Clone)]
pub struct Service(pub Arc<Worker>);

#[tonic::async_trait]
impl UdfWorker for Service {
    type ExecuteStream = ReceiverStream<Result<UdfResponse, Status>>;

    async fn execute(
        &self,
        request: Request<Streaming<UdfRequest>>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let (to, responses) = channel(1);
        let live = Live::new(&self.0);
        let (worker, requests) = (self.0.clone(), request.into_inner());
        tokio::spawn(async move {
            Execute::new(worker).drive(requests, to).await;
            drop(live);
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn manage(
        &self,
        request: Request<WorkerRequest>,
    ) -> Result<Response<WorkerResponse>, Status> {
        let manage = match request.into_inner().manage {
            Some(Asks::Heartbeat(_)) => Answer::Heartbeat(self.0.alive()),
            Some(Asks::Shutdown(request)) => Answer::Shutdown(self.0.shut_down(&request).await),
            None => {
                return Err(Status::invalid_argument(
                    "WorkerRequest.manage is not set; send heartbeat or shutdown",
                ));
            }
        };
        Ok(Response::new(WorkerResponse {
            manage: Some(manage),
        }))
    }
}
