//! The service `lakekeep.v1.Sandboxes`.

use std::pin::Pin;
use std::sync::Arc;

use lakekeep_api::Reason;
use lakekeep_api::v1::exec_request::Request as In;
use lakekeep_api::v1::sandboxes_server::Sandboxes;
use lakekeep_api::v1::{
    self, AttachStart, CreateRequest, ExecEvent, ExecRequest, SandboxRef, TaskRef,
};
use lakekeep_profiles::Action;
use lakekeep_sandbox::{Kind as VerdictKind, Verdict};
use lakekeep_store::audit::Event;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use crate::events;
use crate::fault::{self, Fault};
use crate::gate::{Gate, now};
use crate::make::{Making, Use, about};
use crate::registry::Registry;
use crate::sandbox::Sandbox;
use crate::streams::{self, From};
use crate::told::shown;
use crate::who::Caller;
use crate::wire::answer;
use crate::{stats, transfer, wire};

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    pub gate: Arc<Gate>,
    pub registry: Arc<Registry>,
    pub making: Making,
}

impl Service {
    pub async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Fault> {
        self.gate.authentication.caller(request).await
    }

    /// A sandbox to which the caller may do something.
    pub async fn find(
        &self,
        caller: &Caller,
        id: &str,
        action: Action,
    ) -> Result<Arc<Sandbox>, Fault> {
        let sandbox = match self.registry.get(id) {
            Ok(sandbox) => sandbox,
            Err(fault) => {
                if let Some(past) = self.find_past(caller, id, action).await? {
                    return Err(past.over());
                }
                let event = Event::denied(now(), caller.user(), action.as_str(), "no such sandbox");
                return Err(fault.noted_as(event.with_sandbox(fault::shown(id))));
            }
        };
        self.gate.check_sandbox(caller, action, &sandbox.meta)?;
        Ok(sandbox)
    }

    async fn noted(
        &self,
        caller: &Caller,
        action: &str,
        sandbox: &Sandbox,
        task: u32,
    ) -> Result<(), Fault> {
        let event = Event::allowed(now(), caller.user(), action).with_task(u64::from(task));
        self.gate.note(caller, about(event, &sandbox.meta)).await
    }

    async fn streamed(
        &self,
        caller: Caller,
        mut requests: Streaming<ExecRequest>,
    ) -> Result<Streamed<ExecEvent>, Fault> {
        let (sandbox, task, from, write) = match streams::first(&mut requests).await? {
            In::Start(start) => {
                let (sandbox, task) = self.start(&caller, *start).await?;
                (sandbox, task, From::default(), true)
            }
            In::Attach(attach) => self.attached(&caller, attach).await?,
            _ => {
                return Err(Fault::new(
                    Reason::BadRequest,
                    "the first message of the stream is `start` or `attach`",
                ));
            }
        };
        let (to, events) = streams::channel();
        if write {
            tokio::spawn(streams::hear_all(
                Arc::clone(&sandbox),
                Arc::clone(&task),
                requests,
                to.clone(),
            ));
        }
        tokio::spawn(streams::send_all(sandbox, task, from, to));
        Ok(Box::pin(ReceiverStream::new(events)))
    }

    async fn attached(
        &self,
        caller: &Caller,
        attach: AttachStart,
    ) -> Result<(Arc<Sandbox>, Arc<crate::task::Task>, From, bool), Fault> {
        let action = match attach.read_only {
            true => Action::ReadOutput,
            false => Action::Attach,
        };
        let sandbox = self.find(caller, &attach.sandbox, action).await?;
        let task = sandbox.task(attach.task)?;
        self.noted(caller, action.as_str(), &sandbox, task.number)
            .await?;
        let from = From {
            stdout: attach.stdout_offset,
            stderr: attach.stderr_offset,
            no_follow: attach.no_follow,
        };
        Ok((sandbox, task, from, !attach.read_only))
    }

    async fn frozen(
        &self,
        request: Request<SandboxRef>,
        frozen: bool,
    ) -> Result<v1::Sandbox, Fault> {
        let caller = self.caller(&request).await?;
        let id = request.into_inner().sandbox;
        let sandbox = self.find(&caller, &id, Action::Freeze).await?;
        let word = if frozen { "freeze" } else { "thaw" };
        self.noted(&caller, word, &sandbox, 0).await?;
        // To its end, also when the caller goes meanwhile: it is as it is told to be.
        let turned = Arc::clone(&sandbox);
        let done = async move { turned.freeze(frozen).await };
        let done = tokio::spawn(done.in_current_span()).await;
        done.map_err(|error| Fault::internal(word, &error))??;
        Ok(wire::sandbox(&sandbox))
    }

    async fn killed(&self, request: Request<SandboxRef>) -> Result<v1::Sandbox, Fault> {
        let caller = self.caller(&request).await?;
        let id = request.into_inner().sandbox;
        let sandbox = self.find(&caller, &id, Action::Kill).await?;
        self.noted(&caller, "kill", &sandbox, 0).await?;
        let verdict = Verdict::of_sandbox(
            VerdictKind::Killed,
            format!("its sandbox was ended by {}", caller.user()),
            "",
        );
        sandbox.kill(verdict).await?;
        Ok(wire::sandbox(&sandbox))
    }

    async fn told(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Streamed<v1::Event>, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        if !asked.sandbox.is_empty() {
            self.find(&caller, &asked.sandbox, Action::Inspect).await?;
        }
        let from = match (asked.after, asked.from_oldest) {
            (0, false) => events::From::Now,
            (0, true) => events::From::Oldest,
            (number, _) => events::From::After(number),
        };
        let followed = self.registry.events().follow(from);
        let (kept, live) = followed.ok_or_else(|| {
            Fault::new(
                Reason::OutputGone,
                "after: events since then are kept no more; list the sandboxes and follow from the oldest",
            )
        })?;
        let service = self.clone();
        let mine = move |event: &Arc<events::Event>| {
            let fits = asked.sandbox.is_empty() || event.sandbox == asked.sandbox;
            let own = event.owner == caller.user();
            let listed = || {
                let found = service.registry.get(&event.sandbox);
                asked.all_users && found.is_ok_and(|sandbox| service.lists(&caller, &sandbox.meta))
            };
            fits && (own || listed())
        };
        let live = tokio_stream::wrappers::BroadcastStream::new(live);
        let wanted = if asked.no_follow { 0 } else { usize::MAX };
        let live = live.map_while(Result::ok).take(wanted);
        let all = tokio_stream::iter(kept).chain(live).filter(mine);
        Ok(Box::pin(all.map(|event| Ok(told(&event)))))
    }

    async fn signaled(&self, request: Request<v1::SignalRequest>) -> Result<(), Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let sandbox = self.find(&caller, &asked.sandbox, Action::Signal).await?;
        let task = sandbox.task(asked.task)?;
        self.noted(&caller, "signal", &sandbox, task.number).await?;
        sandbox.signal_now(task.number, streams::check_signal(asked.signal)?)
    }

    async fn made(&self, request: Request<CreateRequest>, how: Use) -> Result<v1::Sandbox, Fault> {
        let caller = self.caller(&request).await?;
        // To its end, also when the caller goes meanwhile: what is made is noted.
        let making = self.making.clone();
        let made = async move { making.create(&caller, request.into_inner(), how).await };
        let made = tokio::spawn(made.in_current_span()).await;
        let made = made.map_err(|error| Fault::internal("make a sandbox", &error))?;
        Ok(wire::sandbox(&*made?))
    }

    async fn sampled(
        &self,
        request: Request<v1::StatsRequest>,
    ) -> Result<Streamed<v1::StatsSample>, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let of = match asked.sandbox.as_str() {
            "" => None,
            id => Some(self.find(&caller, id, Action::Inspect).await?),
        };
        let interval = wire::duration(asked.interval.as_ref());
        let (service, mine) = (self.clone(), caller.clone());
        let which = move || match &of {
            Some(sandbox) => vec![Arc::clone(sandbox)],
            None => service
                .registry
                .all()
                .into_iter()
                .filter(|sandbox| sandbox.meta.owner == mine.user())
                .collect(),
        };
        Ok(Box::pin(ReceiverStream::new(stats::stream(
            which, interval,
        ))))
    }
}

fn told(event: &events::Event) -> v1::Event {
    v1::Event {
        number: event.number,
        time: wire::timestamp(event.time),
        what: event.what.name().to_owned(),
        sandbox: event.sandbox.clone(),
        task: event.task,
        owner: event.owner.clone(),
        profile: event.profile.clone(),
        detail: event.detail.clone(),
    }
}

#[tonic::async_trait]
impl Sandboxes for Service {
    type ExecStream = Streamed<ExecEvent>;
    type AttachStream = Streamed<ExecEvent>;
    type ReadFileStream = Streamed<v1::FileChunk>;
    type StatsStream = Streamed<v1::StatsSample>;
    type EventsStream = Streamed<v1::Event>;

    async fn create(
        &self,
        request: Request<CreateRequest>,
    ) -> Result<Response<v1::Sandbox>, Status> {
        answer(self.made(request, Use::New).await)
    }

    async fn claim(
        &self,
        request: Request<CreateRequest>,
    ) -> Result<Response<v1::Sandbox>, Status> {
        answer(self.made(request, Use::Again).await)
    }

    async fn exec(
        &self,
        request: Request<Streaming<ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let caller = self.caller(&request).await?;
        answer(self.streamed(caller, request.into_inner()).await)
    }

    async fn attach(
        &self,
        request: Request<Streaming<ExecRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let caller = self.caller(&request).await?;
        answer(self.streamed(caller, request.into_inner()).await)
    }

    async fn read_file(
        &self,
        request: Request<v1::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let sandbox = self
            .find(&caller, &asked.sandbox, Action::ReadFiles)
            .await?;
        let permit = self.making.admit_task(&sandbox)?;
        self.noted(&caller, "read_files", &sandbox, 0).await?;
        answer(transfer::read(&sandbox, permit, &asked).await)
    }

    async fn write_file(
        &self,
        request: Request<Streaming<v1::WriteFileRequest>>,
    ) -> Result<Response<v1::WriteFileResponse>, Status> {
        let caller = self.caller(&request).await?;
        let mut pieces = request.into_inner();
        let header = transfer::header(&mut pieces).await?;
        let sandbox = self
            .find(&caller, &header.sandbox, Action::WriteFiles)
            .await?;
        let permit = self.making.admit_task(&sandbox)?;
        self.noted(&caller, "write_files", &sandbox, 0).await?;
        answer(transfer::write(&sandbox, permit, &header, pieces).await)
    }

    async fn list_files(
        &self,
        request: Request<v1::ListFilesRequest>,
    ) -> Result<Response<v1::ListFilesResponse>, Status> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let sandbox = self
            .find(&caller, &asked.sandbox, Action::ReadFiles)
            .await?;
        let permit = self.making.admit_task(&sandbox)?;
        self.noted(&caller, "read_files", &sandbox, 0).await?;
        answer(transfer::list(&sandbox, permit, &asked).await)
    }

    async fn get(&self, request: Request<SandboxRef>) -> Result<Response<v1::Sandbox>, Status> {
        let caller = self.caller(&request).await?;
        let id = request.into_inner().sandbox;
        if let Some(past) = self.find_past(&caller, &id, Action::Inspect).await? {
            return answer(Ok(shown(&caller, past.shown())));
        }
        let sandbox = self.find(&caller, &id, Action::Inspect).await?;
        answer(Ok(shown(&caller, wire::sandbox(&sandbox))))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        answer(self.listed(request).await)
    }

    async fn stats(
        &self,
        request: Request<v1::StatsRequest>,
    ) -> Result<Response<Self::StatsStream>, Status> {
        answer(self.sampled(request).await)
    }

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        answer(self.told(request).await)
    }

    async fn freeze(&self, request: Request<SandboxRef>) -> Result<Response<v1::Sandbox>, Status> {
        answer(self.frozen(request, true).await)
    }

    async fn thaw(&self, request: Request<SandboxRef>) -> Result<Response<v1::Sandbox>, Status> {
        answer(self.frozen(request, false).await)
    }

    async fn signal(
        &self,
        request: Request<v1::SignalRequest>,
    ) -> Result<Response<v1::SignalResponse>, Status> {
        answer(self.signaled(request).await.map(|()| v1::SignalResponse {}))
    }

    async fn kill(&self, request: Request<SandboxRef>) -> Result<Response<v1::Sandbox>, Status> {
        answer(self.killed(request).await)
    }

    async fn receipt(
        &self,
        request: Request<TaskRef>,
    ) -> Result<Response<v1::ReceiptResponse>, Status> {
        answer(self.receipt_of(request).await)
    }

    async fn verdict(
        &self,
        request: Request<TaskRef>,
    ) -> Result<Response<v1::VerdictResponse>, Status> {
        answer(self.verdict_of(request).await)
    }

    async fn attach_volume(
        &self,
        request: Request<v1::AttachVolumeRequest>,
    ) -> Result<Response<v1::Sandbox>, Status> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let sandbox = self.find(&caller, &asked.sandbox, Action::Exec).await?;
        self.noted(&caller, "use_volume", &sandbox, 0).await?;
        answer(
            self.making
                .attach_volume(&caller, &sandbox, &asked.volume)
                .await
                .map(|()| wire::sandbox(&sandbox)),
        )
    }
}
