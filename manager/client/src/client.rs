//! The connection to a manager, and what is asked of it about sandboxes.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use lakekeep_api::v1::sandboxes_client::SandboxesClient;
use lakekeep_api::v1::{self, SandboxRef, TaskRef};
use lakekeep_api::{MAX_MESSAGE, SOCKET_VARIABLE};
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Response, Status};

use crate::RECONNECT_FOR;
use crate::backoff::Backoff;
use crate::build::{Attach, Command, Create};
use crate::error::{Cause, ClientError, story};
use crate::session::{self, Session};
use crate::target::{Credentials, Place, Target};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection that is silent for so long is asked for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// And is given up when none comes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// What one stream and one connection may have on the way to us, bytes.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// A connection to a manager; clones share it. It is made again by itself when it is
/// lost.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    credentials: Arc<Credentials>,
}

impl Client {
    /// Connects, so that nobody answering is told at once.
    ///
    /// # Errors
    /// `Unreachable` with the reason; `Credentials` for a file that cannot be read.
    pub async fn connect(target: Target) -> Result<Self, ClientError> {
        let place = target.place;
        let unreachable = |error: &(dyn std::error::Error + 'static)| {
            ClientError::new(
                Cause::Unreachable,
                format!(
                    "no manager answers at {place}: {}; start one with `lakekeep serve`, or correct {SOCKET_VARIABLE}",
                    story(error)
                ),
            )
        };
        let tls = place.tls()?;
        let channel = match &place {
            Place::Unix(path) => {
                let path = path.clone();
                let connect = move |_: Uri| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                };
                // The name is sent as the request's authority, and means nothing.
                tuned(Endpoint::from_static("http://localhost"))
                    .connect_with_connector(tower::service_fn(connect))
                    .await
            }
            Place::Tls { url, .. } => {
                let endpoint = Endpoint::from_shared(url.clone());
                let endpoint = tuned(endpoint.map_err(|error| unreachable(&error))?);
                let endpoint = endpoint.tls_config(tls.unwrap_or_default());
                endpoint
                    .map_err(|error| unreachable(&error))?
                    .connect()
                    .await
            }
        };
        Ok(Self {
            channel: channel.map_err(|error| unreachable(&error))?,
            credentials: Arc::new(target.credentials),
        })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn sandboxes(&self) -> SandboxesClient<Channel> {
        SandboxesClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// A request that shows who asks.
    pub(crate) fn request<T>(&self, message: T) -> Result<Request<T>, ClientError> {
        let mut request = Request::new(message);
        self.credentials.apply(request.metadata_mut())?;
        Ok(request)
    }

    /// Makes a sandbox, and waits until it can take tasks. When the connection is lost
    /// meanwhile, asks again: the same request makes one sandbox.
    ///
    /// # Errors
    /// As the manager says, or when it stays away.
    pub async fn create(&self, create: Create) -> Result<v1::Sandbox, ClientError> {
        let message = create.into_request();
        self.again(async || {
            let request = self.request(message.clone())?;
            answered(self.sandboxes().create(request).await)
        })
        .await
    }

    /// Asks until there is an answer, as long as it may help. Only for what may be done
    /// twice.
    async fn again<T>(
        &self,
        ask: impl AsyncFn() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut backoff = Backoff::new(RECONNECT_FOR);
        loop {
            let error = match ask().await {
                Err(error) if error.is_transient() => error,
                other => return other,
            };
            match backoff.after(Instant::now(), error.retry_after()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    /// The caller's live sandbox for the same trust key and policy, or a new one.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn claim(&self, create: Create) -> Result<v1::Sandbox, ClientError> {
        let request = self.request(create.into_claim())?;
        answered(self.sandboxes().claim(request).await)
    }

    /// Starts a command, and waits until it runs. When the connection is lost meanwhile,
    /// asks again: the same request starts one task.
    ///
    /// # Errors
    /// As the manager says, or when it stays away: nobody knows then whether it was
    /// started.
    pub async fn exec(&self, command: Command) -> Result<Session, ClientError> {
        session::start(self.clone(), command).await
    }

    /// Takes up the streams of a task.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn attach(&self, attach: Attach) -> Result<Session, ClientError> {
        session::attach(self.clone(), attach).await
    }

    /// One sandbox.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn get(&self, sandbox: &str) -> Result<v1::Sandbox, ClientError> {
        answered(self.sandboxes().get(self.named(sandbox)?).await)
    }

    /// One page of sandboxes.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn list_page(&self, page: v1::ListRequest) -> Result<v1::ListResponse, ClientError> {
        answered(self.sandboxes().list(self.request(page)?).await)
    }

    /// All sandboxes that `request` describes, page after page.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn list(
        &self,
        mut request: v1::ListRequest,
    ) -> Result<Vec<v1::Sandbox>, ClientError> {
        let mut all = Vec::new();
        loop {
            let page = self.list_page(request.clone()).await?;
            all.extend(page.sandboxes);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            if page.next_page_token == request.page_token {
                let message = "the manager gave the same page of sandboxes twice";
                return Err(ClientError::new(Cause::Protocol, message));
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Stops all processes of a sandbox where they are.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn freeze(&self, sandbox: &str) -> Result<v1::Sandbox, ClientError> {
        answered(self.sandboxes().freeze(self.named(sandbox)?).await)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn thaw(&self, sandbox: &str) -> Result<v1::Sandbox, ClientError> {
        answered(self.sandboxes().thaw(self.named(sandbox)?).await)
    }

    /// Ends a sandbox with everything in it, and waits until nothing is left. When the
    /// connection is lost meanwhile, asks again: it may then have `Ended` already.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn kill(&self, sandbox: &str) -> Result<v1::Sandbox, ClientError> {
        self.again(async || answered(self.sandboxes().kill(self.named(sandbox)?).await))
            .await
    }

    /// Sends a signal (signal(7)) to a task's command.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn signal(&self, sandbox: &str, task: u32, signal: i32) -> Result<(), ClientError> {
        let request = self.request(v1::SignalRequest {
            sandbox: sandbox.to_owned(),
            task,
            signal,
        })?;
        answered(self.sandboxes().signal(request).await).map(drop)
    }

    /// What was enforced for a task (0: the last), as JSON.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn receipt(&self, sandbox: &str, task: u32) -> Result<String, ClientError> {
        let request = self.request(task_of(sandbox, task))?;
        let answer = answered(self.sandboxes().receipt(request).await)?;
        Ok(answer.receipt)
    }

    /// Why a task (0: the last) ended.
    ///
    /// # Errors
    /// As the manager says: `NotFound` while it runs.
    pub async fn verdict(
        &self,
        sandbox: &str,
        task: u32,
    ) -> Result<v1::VerdictResponse, ClientError> {
        let request = self.request(task_of(sandbox, task))?;
        answered(self.sandboxes().verdict(request).await)
    }

    /// Shows a volume of its profile in a running sandbox.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn attach_volume(
        &self,
        sandbox: &str,
        volume: &str,
    ) -> Result<v1::Sandbox, ClientError> {
        let request = self.request(v1::AttachVolumeRequest {
            sandbox: sandbox.to_owned(),
            volume: volume.to_owned(),
        })?;
        answered(self.sandboxes().attach_volume(request).await)
    }

    fn named(&self, sandbox: &str) -> Result<Request<SandboxRef>, ClientError> {
        self.request(SandboxRef {
            sandbox: sandbox.to_owned(),
        })
    }
}

fn task_of(sandbox: &str, task: u32) -> TaskRef {
    TaskRef {
        sandbox: sandbox.to_owned(),
        task,
    }
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(SIGN_OF_LIFE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .tcp_nodelay(true)
}

pub(crate) fn answered<T>(result: Result<Response<T>, Status>) -> Result<T, ClientError> {
    Ok(result?.into_inner())
}
