//! The service `lakekeep.v1.Environments`.

use std::pin::Pin;
use std::sync::Arc;

use lakekeep_api::Reason;
use lakekeep_api::v1;
use lakekeep_api::v1::environments_server::Environments as Interface;
use lakekeep_api::v1::push_event::Event as Out;
use lakekeep_api::v1::push_request::Request as In;
use lakekeep_profiles::{Action, Resource};
use lakekeep_store::audit::Event;
use lakekeep_tree::TreeError;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::push::{Answers, Upload, Words, hear};
use super::shelves::{Environments, Shelf, Whose, parse, refused};
use crate::fault::Fault;
use crate::gate::{Gate, now};
use crate::who::Caller;
use crate::wire::{self, answer};

/// Answers that wait for their reader.
const WAITING: usize = 4;

type Pushed = Pin<Box<dyn Stream<Item = Result<v1::PushEvent, Status>> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    pub gate: Arc<Gate>,
    pub environments: Arc<Environments>,
}

impl Service {
    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Fault> {
        self.gate.authentication.caller(request).await
    }

    /// Runs what blocks where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Environments) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let environments = Arc::clone(&self.environments);
        tokio::task::spawn_blocking(move || work(&environments))
            .await
            .map_err(|error| Fault::internal("wait for a thread", &error))?
    }

    /// Whose store a request is about, for who may change what is in it.
    fn whose(&self, caller: &Caller, profile: &str) -> Result<Whose, Fault> {
        if !profile.is_empty() {
            let set = self.gate.profiles.current();
            let profile = self.gate.profile(&set, caller, profile)?.profile();
            let resource = Resource::Profile(profile);
            self.gate.check(caller, Action::EditProfile, resource)?;
            return Ok(Whose::of(profile));
        }
        // Who may make no sandbox has no use for it.
        match self.gate.profile_name(caller, "") {
            Err(fault) if fault.reason() == Reason::NotFound => Err(fault),
            // One, or several: it does not matter which.
            _ => Whose::own(caller),
        }
    }

    /// The profiles that the caller may make sandboxes in.
    fn readable(&self, caller: &Caller) -> Vec<(String, Whose)> {
        let set = self.gate.profiles.current();
        let profiles = set.iter().map(lakekeep_profiles::Stored::profile);
        let readable = profiles.filter(|profile| {
            let resource = Resource::Profile(profile);
            self.gate.may(caller, Action::CreateSandbox, resource)
        });
        readable
            .map(|profile| (profile.name().to_string(), Whose::of(profile)))
            .collect()
    }

    async fn pushed(&self, caller: Caller, mut words: Words) -> Result<Pushed, Fault> {
        let begin = match words.recv().await {
            Some(Ok(In::Begin(begin))) => begin,
            _ => {
                let text = "the first message of the stream is `begin`";
                return Err(Fault::new(Reason::BadRequest, text));
            }
        };
        let digest = parse(&begin.digest)?;
        let whose = self.whose(&caller, &begin.profile)?;
        let readable = self.readable(&caller);
        let upload = self.blocking(move |environments| {
            let shelf = environments.shelf(&whose)?;
            let shared = readable.iter();
            let shared =
                shared.filter_map(|(_, whose)| environments.shelf_if_there(whose).transpose());
            let shared = shared.collect::<Result<Vec<_>, _>>()?;
            Ok(Upload {
                digest,
                length: begin.manifest_bytes,
                shared: shared
                    .into_iter()
                    .filter(|other| !Arc::ptr_eq(other, &shelf))
                    .collect(),
                shelf,
                bounds: environments.bounds(),
            })
        });
        let upload = upload.await?;
        let (answers, events) = mpsc::channel(WAITING);
        let service = self.clone();
        tokio::spawn(async move {
            let stored = service
                .store(&caller, (upload, begin.profile), words, &answers)
                .await;
            let answer = stored.map_err(Status::from).map(|stored| v1::PushEvent {
                event: Some(Out::Stored(stored)),
            });
            if answers.send(answer).await.is_err() {
                // The sender has gone; what came whole is kept.
            }
        });
        Ok(Box::pin(ReceiverStream::new(events)))
    }

    /// Waits for its turn, and receives.
    async fn store(
        &self,
        caller: &Caller,
        (upload, profile): (Upload, String),
        mut words: Words,
        answers: &Answers,
    ) -> Result<v1::Stored, Fault> {
        // First behind the same user's others, so that one user has one place of all.
        let adding = Arc::clone(&upload.shelf.adding).lock_owned().await;
        let uploads = self.environments.uploads();
        let failed = |error: &(dyn std::error::Error + 'static)| Fault::internal("wait", error);
        let permit = uploads
            .acquire_owned()
            .await
            .map_err(|error| failed(&error))?;
        let (gate, caller, answers) = (Arc::clone(&self.gate), caller.clone(), answers.clone());
        let runtime = Handle::current();
        let received = tokio::task::spawn_blocking(move || {
            let _held = (adding, permit);
            if upload.shelf.domain.environment(&upload.digest).is_ok() {
                return Ok(v1::Stored {
                    known: true,
                    ..v1::Stored::default()
                });
            }
            let digest = upload.digest.to_string();
            upload.receive(&mut words, &answers, |stored| {
                let event = Event::allowed(now(), caller.user(), "push_environment")
                    .with_environment(&digest)
                    .with_extra("contents", &stored.contents.to_string())
                    .with_extra("bytes", &stored.bytes.to_string());
                let event = match profile.as_str() {
                    "" => event,
                    name => event.with_profile(name),
                };
                runtime.block_on(gate.note(&caller, event))
            })
        });
        received.await.map_err(|error| failed(&error))?
    }

    async fn listed(&self, caller: &Caller) -> Result<v1::ListEnvironmentsResponse, Fault> {
        let own = Whose::own(caller).ok().map(|whose| (String::new(), whose));
        let all: Vec<_> = own.into_iter().chain(self.readable(caller)).collect();
        self.blocking(move |environments| {
            let mut found = Vec::new();
            for (profile, whose) in &all {
                if let Some(shelf) = environments.shelf_if_there(whose)? {
                    found.extend(list(&shelf, profile)?);
                }
            }
            Ok(v1::ListEnvironmentsResponse {
                environments: found,
            })
        })
        .await
    }

    async fn removed(&self, caller: &Caller, asked: v1::EnvironmentRef) -> Result<(), Fault> {
        let digest = parse(&asked.digest)?;
        let whose = self.whose(caller, &asked.profile)?;
        let event = Event::allowed(now(), caller.user(), "remove_environment");
        let event = event.with_environment(&digest.to_string());
        self.gate.note(caller, event).await?;
        let shelf = self
            .blocking(move |environments| environments.shelf(&whose))
            .await?;
        let adding = Arc::clone(&shelf.adding).lock_owned().await;
        let removed = self.blocking(move |_| {
            let _adding = adding;
            let removed = lakekeep_tree::remove(shelf.domain.store(), &digest);
            removed.map_err(|error| refused(&error))
        });
        match removed.await? {
            true => Ok(()),
            false => Err(refused(&TreeError::Absent { digest })),
        }
    }

    async fn collected(
        &self,
        caller: &Caller,
        keep: u64,
    ) -> Result<v1::CollectEnvironmentsResponse, Fault> {
        let whose = Whose::own(caller)?;
        let event = Event::allowed(now(), caller.user(), "collect_environments");
        let event = event.with_extra("keep", &keep.to_string());
        self.gate.note(caller, event).await?;
        let shelf = self.blocking(move |environments| environments.shelf_if_there(&whose));
        let Some(shelf) = shelf.await? else {
            return Ok(v1::CollectEnvironmentsResponse::default());
        };
        let adding = Arc::clone(&shelf.adding).lock_owned().await;
        let collected = self.blocking(move |_| {
            let _adding = adding;
            let collected = shelf.domain.collect(keep);
            collected.map_err(|error| refused(&error))
        });
        let collected = collected.await?;
        let names = |digests: &[lakekeep_environment::Digest]| {
            digests.iter().map(ToString::to_string).collect()
        };
        Ok(v1::CollectEnvironmentsResponse {
            removed: names(&collected.removed),
            in_use: names(&collected.in_use),
            bytes: collected.bytes,
        })
    }
}

fn list(shelf: &Shelf, profile: &str) -> Result<Vec<v1::Environment>, Fault> {
    let store = shelf.domain.store();
    let known = lakekeep_tree::list(store).map_err(|error| refused(&error))?;
    let mut found = Vec::new();
    for (digest, used) in known {
        // One that is damaged or removed meanwhile cannot be used, and is not told of.
        let Ok(environment) = lakekeep_tree::look(store, &digest) else {
            continue;
        };
        let manifest = environment.manifest();
        let (files, bytes) = manifest.contents().fold((0, 0), |(files, bytes), file| {
            (files + 1, bytes + file.size)
        });
        found.push(v1::Environment {
            digest: digest.to_string(),
            profile: profile.to_owned(),
            used: wire::timestamp(used),
            files,
            bytes,
            python: manifest.interpreter().version.clone(),
            prefix: manifest.interpreter().prefix.as_str().to_owned(),
        });
    }
    Ok(found)
}

#[tonic::async_trait]
impl Interface for Service {
    type PushEnvironmentStream = Pushed;

    async fn push_environment(
        &self,
        request: Request<Streaming<v1::PushRequest>>,
    ) -> Result<Response<Pushed>, Status> {
        let caller = self.caller(&request).await?;
        let words = hear(request.into_inner());
        answer(self.pushed(caller, words).await)
    }

    async fn list_environments(
        &self,
        request: Request<v1::ListEnvironmentsRequest>,
    ) -> Result<Response<v1::ListEnvironmentsResponse>, Status> {
        let caller = self.caller(&request).await?;
        answer(self.listed(&caller).await)
    }

    async fn remove_environment(
        &self,
        request: Request<v1::EnvironmentRef>,
    ) -> Result<Response<v1::RemoveEnvironmentResponse>, Status> {
        let caller = self.caller(&request).await?;
        let removed = self.removed(&caller, request.into_inner()).await;
        answer(removed.map(|()| v1::RemoveEnvironmentResponse {}))
    }

    async fn collect_environments(
        &self,
        request: Request<v1::CollectEnvironmentsRequest>,
    ) -> Result<Response<v1::CollectEnvironmentsResponse>, Status> {
        let caller = self.caller(&request).await?;
        answer(self.collected(&caller, request.into_inner().keep).await)
    }
}
