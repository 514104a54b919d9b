//! Sessions against a manager's side that breaks connections on purpose.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lakekeep_api::Reason;
use lakekeep_api::v1::exec_event::Event as Say;
use lakekeep_api::v1::exec_request::Request as Hear;
use lakekeep_api::v1::{
    AttachStart, ExecEvent, ExecRequest, ExecStart, OutputData, StdinData, TaskEnded, TaskStarted,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::codegen::{Body, BoxFuture, StdError};
use tonic::{Request, Response, Status, Streaming};

use super::{Event, Session};
use crate::{Attach, Cause, Client, Command, Target};

/// What one connection does after its first request.
type Scene = Box<dyn FnOnce(Stage) -> Playing + Send>;
type Playing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One connection, as the manager has it.
struct Stage {
    first: Hear,
    requests: Streaming<ExecRequest>,
    to: mpsc::Sender<Result<ExecEvent, Status>>,
}

impl Stage {
    async fn say(&self, event: Say) {
        let event = ExecEvent { event: Some(event) };
        self.to.send(Ok(event)).await.unwrap();
    }

    async fn started(&self, stdin_offset: u64) {
        let started = TaskStarted {
            sandbox: "s".to_owned(),
            task: 1,
            stdin_offset,
        };
        self.say(Say::Started(started)).await;
    }

    async fn out(&self, offset: u64, data: &[u8]) {
        let data = data.to_vec();
        self.say(Say::Stdout(OutputData { offset, data })).await;
    }

    async fn end(&self) {
        let ended = TaskEnded {
            exit_code: 3,
            outcome: "{}".to_owned(),
        };
        self.say(Say::Ended(ended)).await;
    }

    async fn hear(&mut self) -> Hear {
        let request = self.requests.message().await.unwrap().unwrap();
        request.request.unwrap()
    }

    async fn hear_input(&mut self) -> StdinData {
        match self.hear().await {
            Hear::Stdin(input) => input,
            other => panic!("{other:?}"),
        }
    }

    fn start(&self) -> &ExecStart {
        match &self.first {
            Hear::Start(start) => start,
            other => panic!("{other:?}"),
        }
    }

    fn attach(&self) -> &AttachStart {
        match &self.first {
            Hear::Attach(attach) => attach,
            other => panic!("{other:?}"),
        }
    }

    /// As when the manager is killed: no message of ours says why.
    async fn break_off(self) {
        let status = Status::unavailable("broken on purpose");
        self.to.send(Err(status)).await.unwrap();
    }
}

/// Plays its scenes, one a connection.
#[derive(Clone)]
struct Play(Arc<Mutex<VecDeque<Scene>>>);

impl Play {
    async fn perform(
        self,
        request: Request<Streaming<ExecRequest>>,
    ) -> Result<Response<ReceiverStream<Result<ExecEvent, Status>>>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.unwrap().request.unwrap();
        let scene = self.0.lock().unwrap().pop_front();
        let Some(scene) = scene else {
            return Err(Reason::NotFound.status("no more scenes", None));
        };
        let (to, events) = mpsc::channel(4);
        let stage = Stage {
            first,
            requests,
            to,
        };
        tokio::spawn(scene(stage));
        Ok(Response::new(ReceiverStream::new(events)))
    }
}

/// The two streaming calls, without the other thirty methods of the service.
impl<B> tower::Service<tonic::codegen::http::Request<B>> for Play
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = tonic::codegen::http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::codegen::http::Request<B>) -> Self::Future {
        let play = Method(self.clone());
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::default();
            let mut grpc = tonic::server::Grpc::new(codec);
            Ok(grpc.streaming(play, request).await)
        })
    }
}

impl tonic::server::NamedService for Play {
    const NAME: &'static str = "lakekeep.v1.Sandboxes";
}

struct Method(Play);

impl tonic::server::StreamingService<ExecRequest> for Method {
    type Response = ExecEvent;
    type ResponseStream = ReceiverStream<Result<ExecEvent, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<ExecRequest>>) -> Self::Future {
        Box::pin(self.0.clone().perform(request))
    }
}

struct Theatre {
    client: Client,
    _folder: tempfile::TempDir,
}

fn scene<F>(play: impl FnOnce(Stage) -> F + Send + 'static) -> Scene
where
    F: Future<Output = ()> + Send + 'static,
{
    Box::new(|stage| Box::pin(play(stage)))
}

async fn theatre(scenes: Vec<Scene>) -> Theatre {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let play = Play(Arc::new(Mutex::new(scenes.into())));
    let server = tonic::transport::Server::builder().add_service(play);
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    Theatre {
        client: Client::connect(Target::unix(&path)).await.unwrap(),
        _folder: folder,
    }
}

async fn exec(theatre: &Theatre) -> Session {
    let command = Command::new("s", ["cat"]).reconnect_for(Duration::from_secs(60));
    theatre.client.exec(command).await.unwrap()
}

/// All output, and the exit code.
async fn all(session: &mut Session) -> (Vec<u8>, i32) {
    let mut bytes = Vec::new();
    loop {
        match session.output.next().await.unwrap().unwrap() {
            Event::Stdout(more) | Event::Stderr(more) => bytes.extend(more),
            Event::Ended(ending) => return (bytes, ending.exit_code),
        }
    }
}

#[tokio::test]
async fn output_goes_on_where_the_connection_broke_without_loss_or_repetition() {
    let theatre = theatre(vec![
        scene(async |stage: Stage| {
            stage.started(0).await;
            stage.out(0, b"one ").await;
            stage.out(4, b"two ").await;
            stage.break_off().await;
        }),
        scene(async |stage: Stage| {
            assert_eq!(stage.attach().task, 1);
            // However much was received, it is told; a manager that sends it again is heard
            // only once.
            assert!(stage.attach().stdout_offset <= 8);
            stage.started(0).await;
            stage.out(0, b"one two three").await;
            stage.end().await;
        }),
    ])
    .await;
    let mut session = exec(&theatre).await;
    assert_eq!(all(&mut session).await, (b"one two three".to_vec(), 3));
    assert_eq!(session.output.next().await.unwrap(), None);
}

#[tokio::test]
async fn input_is_sent_again_from_where_the_task_stands() {
    let theatre = theatre(vec![
        scene(async |mut stage: Stage| {
            stage.started(0).await;
            assert_eq!(stage.hear_input().await.data, b"first");
            stage.say(Say::StdinAccepted(5)).await;
            assert_eq!(stage.hear_input().await.offset, 5);
            stage.break_off().await;
        }),
        scene(async |mut stage: Stage| {
            // The task was given two bytes of the second piece before the manager died.
            stage.started(7).await;
            let again = stage.hear_input().await;
            assert_eq!((again.offset, again.data), (5, b"second".to_vec()));
            let last = stage.hear_input().await;
            assert_eq!((last.offset, last.end), (11, true));
            stage.end().await;
        }),
    ])
    .await;
    let mut session = exec(&theatre).await;
    session.stdin.write(b"first").await.unwrap();
    session.stdin.write(b"second").await.unwrap();
    let Session {
        stdin, mut output, ..
    } = session;
    stdin.end().await.unwrap();
    assert_eq!(output.wait().await.unwrap().unwrap().exit_code, 3);
}

#[tokio::test]
async fn a_signal_passes_input_that_nobody_takes() {
    let theatre = theatre(vec![scene(async |mut stage: Stage| {
        stage.started(0).await;
        while !matches!(stage.hear().await, Hear::Signal(15)) {}
        stage.end().await;
    })])
    .await;
    let Session {
        mut stdin,
        mut output,
        control,
        ..
    } = exec(&theatre).await;
    let feeding = tokio::spawn(async move {
        // Bounded: it waits for the task, and is told of its end.
        loop {
            if let Err(error) = stdin.write(&[0; 64 << 10]).await {
                return error.cause();
            }
        }
    });
    control.signal(15).await.unwrap();
    assert!(output.wait().await.unwrap().is_some());
    assert_eq!(feeding.await.unwrap(), Cause::Closed);
}

#[tokio::test]
async fn a_manager_that_does_not_know_the_task_any_more_ends_the_session() {
    let theatre = theatre(vec![scene(async |stage: Stage| {
        stage.started(0).await;
        stage.break_off().await;
    })])
    .await;
    let mut session = exec(&theatre).await;
    let error = session.output.next().await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::NotFound));
    assert_eq!(session.output.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_start_that_was_lost_is_asked_for_again_under_the_same_word() {
    let theatre = theatre(vec![
        scene(async |stage: Stage| {
            assert_eq!(stage.start().request_id, "word");
            stage.break_off().await;
        }),
        scene(async |stage: Stage| {
            // The one before is still being answered.
            let soon = Some(Duration::from_millis(1));
            let status = Reason::Conflict.status("being answered", soon);
            stage.to.send(Err(status)).await.unwrap();
        }),
        scene(async |stage: Stage| {
            assert_eq!(stage.start().request_id, "word");
            stage.started(0).await;
            stage.end().await;
        }),
    ])
    .await;
    let command = Command::new("s", ["cat"]).request_id("word");
    let mut session = theatre.client.exec(command).await.unwrap();
    let ending = session.output.wait().await.unwrap();
    assert_eq!(ending.map(|ending| ending.exit_code), Some(3));
}

#[tokio::test]
async fn a_start_that_is_refused_is_not_asked_for_again() {
    let theatre = theatre(vec![scene(async |stage: Stage| {
        let status = Reason::Conflict.status("another command", None);
        stage.to.send(Err(status)).await.unwrap();
    })])
    .await;
    let command = Command::new("s", ["cat"]);
    let error = theatre.client.exec(command).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Conflict));
}

#[tokio::test]
async fn what_is_there_is_read_and_no_more() {
    let theatre = theatre(vec![scene(async |stage: Stage| {
        assert!(stage.attach().no_follow && stage.attach().read_only);
        stage.started(0).await;
        stage.out(2, b"tail").await;
    })])
    .await;
    let attach = Attach::new("s", 0).after(2, 0).read_only().no_follow();
    let mut session = theatre.client.attach(attach).await.unwrap();
    let tail = session.output.next().await.unwrap();
    assert_eq!(tail, Some(Event::Stdout(b"tail".to_vec())));
    assert_eq!(session.output.next().await.unwrap(), None);
}

#[tokio::test]
async fn nobody_answering_is_told_with_the_remedy() {
    let error = Client::connect(Target::unix("/nowhere/s"))
        .await
        .unwrap_err();
    assert_eq!(error.cause(), Cause::Unreachable);
    assert!(error.message().contains("/nowhere/s"), "{error}");
    assert!(error.message().contains("No such file"), "{error}");
}

// The stream of events is not polled while the caller takes none: memory is bounded by
// the windows of HTTP/2 and a few pieces.
#[tokio::test]
async fn a_caller_that_reads_slowly_holds_the_manager_back() {
    let theatre = theatre(vec![scene(async |stage: Stage| {
        stage.started(0).await;
        let piece = vec![b'x'; 64 << 10];
        let mut at = 0;
        // 16 MiB, far more than is kept anywhere: it ends only because somebody reads.
        while at < 16 << 20 {
            stage.out(at, &piece).await;
            at += 64 << 10;
        }
        stage.end().await;
    })])
    .await;
    let mut session = exec(&theatre).await;
    let (bytes, _) = all(&mut session).await;
    assert_eq!(bytes.len(), 16 << 20);
}
