//! A user of a manager: every request as a plain call.

use lakekeep_api::v1::accounts_client::AccountsClient;
use lakekeep_api::v1::environments_client::EnvironmentsClient;
use lakekeep_api::v1::push_request::Request as Pushed;
use lakekeep_api::v1::sandboxes_client::SandboxesClient;
use lakekeep_api::v1::write_file_request::Request as Piece;
use lakekeep_api::v1::{self, ExecStart};
use lakekeep_api::{MAX_MESSAGE, Reason};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use super::connect::{spawn, wait};
use super::talk::{Done, Talk};
use crate::fail;
use crate::internet::python;

/// A request that was refused, or failed.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The word in the error's details; the status code's name where there is none.
    pub reason: String,
    /// What the manager says.
    pub message: String,
    /// Whether it says when to try again.
    pub retry: bool,
    /// The gRPC code.
    pub code: Code,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        use tonic_types::StatusExt;
        Self {
            reason: Reason::of(&status).unwrap_or_else(|| format!("{:?}", status.code())),
            message: status.message().to_owned(),
            retry: status.get_details_retry_info().is_some(),
            code: status.code(),
        }
    }
}

/// Somebody with a connection to a manager. Clones share the connection.
#[derive(Debug, Clone)]
pub struct User {
    name: String,
    channel: Channel,
    metadata: Vec<(String, String)>,
}

/// One method for each request that has one answer.
macro_rules! unary {
    ($($client:ident { $($name:ident($message:ident) -> $answer:ident;)+ })+) => {
        impl User {
            $($(
                #[doc = concat!("`", stringify!($name), "`.")]
                ///
                /// # Errors
                /// As the manager says.
                #[track_caller]
                pub fn $name(&self, message: v1::$message) -> Result<v1::$answer, Refused> {
                    let mut client = self.$client();
                    let answer = client.$name(self.request(message));
                    Ok(wait(stringify!($name), answer)?.into_inner())
                }
            )+)+
        }
    };
}

unary! {
    sandboxes {
    create(CreateRequest) -> Sandbox;
    claim(CreateRequest) -> Sandbox;
    list_files(ListFilesRequest) -> ListFilesResponse;
    get(SandboxRef) -> Sandbox;
    list(ListRequest) -> ListResponse;
    freeze(SandboxRef) -> Sandbox;
    thaw(SandboxRef) -> Sandbox;
    signal(SignalRequest) -> SignalResponse;
    kill(SandboxRef) -> Sandbox;
    receipt(TaskRef) -> ReceiptResponse;
    verdict(TaskRef) -> VerdictResponse;
    attach_volume(AttachVolumeRequest) -> Sandbox;
    }
    accounts {
    who_am_i(WhoAmIRequest) -> WhoAmIResponse;
    test_identity(TestIdentityRequest) -> TestIdentityResponse;
    delegate(DelegateRequest) -> DelegateResponse;
    revoke_delegation(RevokeDelegationRequest) -> RevokeDelegationResponse;
    can(CanRequest) -> CanResponse;
    list_profiles(ListProfilesRequest) -> ListProfilesResponse;
    get_profile(ProfileRef) -> Profile;
    put_profile(PutProfileRequest) -> Profile;
    delete_profile(DeleteProfileRequest) -> DeleteProfileResponse;
    set_variable(SetVariableRequest) -> SetVariableResponse;
    delete_variable(VariableRef) -> SetVariableResponse;
    list_variables(ListVariablesRequest) -> ListVariablesResponse;
    verify_audit(VerifyAuditRequest) -> VerifyAuditResponse;
    }
    environments {
    list_environments(ListEnvironmentsRequest) -> ListEnvironmentsResponse;
    remove_environment(EnvironmentRef) -> RemoveEnvironmentResponse;
    collect_environments(CollectEnvironmentsRequest) -> CollectEnvironmentsResponse;
    }
}

impl User {
    /// Somebody behind this channel.
    #[must_use]
    pub fn new(name: &str, channel: Channel) -> Self {
        Self {
            name: name.to_owned(),
            channel,
            metadata: Vec::new(),
        }
    }

    /// The host account's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, sending this metadata too; twice the same key, twice.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> Self {
        let mut other = self.clone();
        other.metadata.push((key.to_owned(), value.to_owned()));
        other
    }

    fn sandboxes(&self) -> SandboxesClient<Channel> {
        SandboxesClient::new(self.channel.clone())
            .max_decoding_message_size(2 * MAX_MESSAGE)
            .max_encoding_message_size(16 * MAX_MESSAGE)
    }

    fn accounts(&self) -> AccountsClient<Channel> {
        AccountsClient::new(self.channel.clone())
            .max_decoding_message_size(2 * MAX_MESSAGE)
            .max_encoding_message_size(16 * MAX_MESSAGE)
    }

    fn environments(&self) -> EnvironmentsClient<Channel> {
        EnvironmentsClient::new(self.channel.clone())
            .max_decoding_message_size(2 * MAX_MESSAGE)
            .max_encoding_message_size(16 * MAX_MESSAGE)
    }

    /// Says all of `words` and hears every answer, whatever they are.
    ///
    /// # Errors
    /// As the manager says: the first refusal.
    #[track_caller]
    pub fn push(&self, words: Vec<Pushed>) -> Result<Vec<v1::push_event::Event>, Refused> {
        let words = words.into_iter().map(|word| v1::PushRequest {
            request: Some(word),
        });
        let words: Vec<v1::PushRequest> = words.collect();
        let mut client = self.environments();
        let request = self.request(tokio_stream::iter(words));
        let heard = async move {
            let mut answers = client.push_environment(request).await?.into_inner();
            let mut heard = Vec::new();
            while let Some(answer) = answers.message().await? {
                heard.extend(answer.event);
            }
            Ok::<_, Status>(heard)
        };
        Ok(wait("push_environment", heard)?)
    }

    /// A request with this user's metadata.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (key, value) in &self.metadata {
            let pair = (
                key.parse::<AsciiMetadataKey>(),
                value.parse::<AsciiMetadataValue>(),
            );
            let (Ok(key), Ok(value)) = pair else {
                fail(format_args!("{key}: cannot be metadata"));
            };
            request.metadata_mut().append(key, value);
        }
        request
    }

    /// A new sandbox.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    #[track_caller]
    pub fn sandbox(&self, request: v1::CreateRequest) -> v1::Sandbox {
        self.create(request)
            .unwrap_or_else(|e| fail(format_args!("create: {e:?}")))
    }

    /// Starts a command.
    ///
    /// # Errors
    /// As the manager says.
    #[track_caller]
    pub fn exec(&self, start: ExecStart) -> Result<Talk, Refused> {
        let (to, said) = Talk::channel(v1::exec_request::Request::Start(Box::new(start)));
        let mut client = self.sandboxes();
        let answer = wait("exec", client.exec(self.request(said)))?;
        Ok(Talk::new(to, answer.into_inner(), (0, 0)))
    }

    /// Takes a task's streams up.
    ///
    /// # Errors
    /// As the manager says.
    #[track_caller]
    pub fn attach(&self, attach: v1::AttachStart) -> Result<Talk, Refused> {
        let from = (attach.stdout_offset, attach.stderr_offset);
        let (to, said) = Talk::channel(v1::exec_request::Request::Attach(attach));
        let mut client = self.sandboxes();
        let answer = wait("attach", client.attach(self.request(said)))?;
        Ok(Talk::new(to, answer.into_inner(), from))
    }

    /// Runs a shell script to its end.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn run(&self, sandbox: &str, script: &str) -> Done {
        self.exec(shell(sandbox, script))
            .and_then(Talk::finish)
            .unwrap_or_else(|e| fail(format_args!("{script}: {e:?}")))
    }

    /// Starts a program of Python's.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn python(&self, sandbox: &str, script: &str) -> Talk {
        let words = python(script);
        let words = words.each_ref().map(String::as_str);
        self.exec(command(sandbox, &words))
            .unwrap_or_else(|e| fail(format_args!("{script}: {e:?}")))
    }

    /// A file's bytes.
    ///
    /// # Errors
    /// As the manager says.
    #[track_caller]
    pub fn read_file(&self, message: v1::ReadFileRequest) -> Result<Vec<u8>, Refused> {
        let mut client = self.sandboxes();
        let answer = wait("read_file", client.read_file(self.request(message)))?;
        let mut bytes = Vec::new();
        for chunk in all(answer)? {
            bytes.extend(chunk.data);
        }
        Ok(bytes)
    }

    /// Writes a file in pieces.
    ///
    /// # Errors
    /// As the manager says.
    #[track_caller]
    pub fn write_file(&self, header: v1::WriteFileHeader, bytes: &[u8]) -> Result<u64, Refused> {
        let piece = |piece| v1::WriteFileRequest {
            request: Some(piece),
        };
        let mut pieces = vec![piece(Piece::Header(header))];
        let data = bytes.chunks(lakekeep_api::CHUNK);
        pieces.extend(data.map(|data| piece(Piece::Data(data.to_vec()))));
        let mut client = self.sandboxes();
        let answer = client.write_file(self.request(tokio_stream::iter(pieces)));
        Ok(wait("write_file", answer)?.into_inner().size)
    }

    /// Begins to write a file.
    #[must_use]
    pub fn begin_to_write(&self, header: v1::WriteFileHeader) -> Writing {
        let (to, pieces) = mpsc::channel(1);
        let (done, written) = oneshot::channel();
        let mut client = self.sandboxes();
        let first = v1::WriteFileRequest {
            request: Some(Piece::Header(header)),
        };
        let pieces = tokio_stream::once(first).chain(ReceiverStream::new(pieces));
        let request = self.request(pieces);
        spawn(async move {
            let answer = client.write_file(request).await;
            // Nobody may want to know any more.
            drop(done.send(answer.map(|answer| answer.into_inner().size)));
        });
        Writing { to, written }
    }

    /// What sandboxes use.
    ///
    /// # Errors
    /// As the manager says.
    #[track_caller]
    pub fn stats(&self, message: v1::StatsRequest) -> Result<Feed<v1::StatsSample>, Refused> {
        let mut client = self.sandboxes();
        let answer = wait("stats", client.stats(self.request(message)))?;
        Ok(Feed(answer.into_inner()))
    }

    /// What happens.
    ///
    /// # Errors
    /// As the manager says.
    #[track_caller]
    pub fn events(&self, message: v1::EventsRequest) -> Result<Feed<v1::Event>, Refused> {
        let mut client = self.sandboxes();
        let answer = wait("events", client.events(self.request(message)))?;
        Ok(Feed(answer.into_inner()))
    }

    /// Events of the audit log, as JSON.
    ///
    /// # Errors
    /// As the manager says.
    #[track_caller]
    pub fn audit(&self, message: v1::QueryAuditRequest) -> Result<Vec<serde_json::Value>, Refused> {
        let mut client = self.accounts();
        let answer = wait("query_audit", client.query_audit(self.request(message)))?;
        let events = all(answer)?.into_iter();
        let events = events.map(|event| {
            serde_json::from_str(&event.json)
                .unwrap_or_else(|e| fail(format_args!("{}: {e}", event.json)))
        });
        Ok(events.collect())
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct Writing {
    /// Its end is the file's.
    to: mpsc::Sender<v1::WriteFileRequest>,
    written: oneshot::Receiver<Result<u64, Status>>,
}

impl Writing {
    /// Ends it: its length.
    ///
    /// # Errors
    /// As the manager says.
    #[track_caller]
    pub fn end(self) -> Result<u64, Refused> {
        let Self { to, written } = self;
        drop(to);
        match wait("the end of a file", written) {
            Ok(answer) => Ok(answer?),
            Err(_) => fail(format_args!("a request was not answered")),
        }
    }
}

/// Answers that come one by one.
#[derive(Debug)]
pub struct Feed<T>(Streaming<T>);

impl<T> Feed<T> {
    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// As the manager says.
    #[track_caller]
    pub fn next_one(&mut self) -> Result<Option<T>, Refused> {
        Ok(wait("the next of a stream", self.0.message())?)
    }

    /// The next one that fits.
    ///
    /// # Panics
    /// When the stream ends before it.
    #[track_caller]
    pub fn until(&mut self, what: &str, fits: impl Fn(&T) -> bool) -> T {
        loop {
            match self.next_one() {
                Ok(Some(one)) if fits(&one) => return one,
                Ok(Some(_)) => {}
                other => fail(format_args!(
                    "{what}: the stream ended: {:?}",
                    other.map(|_| ())
                )),
            }
        }
    }
}

fn all<T>(answer: Response<Streaming<T>>) -> Result<Vec<T>, Refused> {
    let mut stream = answer.into_inner();
    let mut found = Vec::new();
    while let Some(one) = wait("the next of a stream", stream.message())? {
        found.push(one);
    }
    Ok(found)
}

/// A request for this command.
#[must_use]
pub fn command(sandbox: &str, words: &[&str]) -> ExecStart {
    ExecStart {
        sandbox: sandbox.to_owned(),
        arguments: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
        ..ExecStart::default()
    }
}

/// A request for a shell script.
#[must_use]
pub fn shell(sandbox: &str, script: &str) -> ExecStart {
    command(sandbox, &["/bin/sh", "-c", script])
}

/// The sandbox's name in a request.
#[must_use]
pub fn of(sandbox: &str) -> v1::SandboxRef {
    v1::SandboxRef {
        sandbox: sandbox.to_owned(),
    }
}
