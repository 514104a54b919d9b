//! Profiles, read and written.

use lakekeep_api::Reason;
use lakekeep_api::v1;
use lakekeep_profiles::{Action, Etag, ProfileWriteError, Resource, Stored, Writer};
use lakekeep_sandbox::chain;
use lakekeep_store::audit::Event;
use tonic::Request;

use crate::fault::Fault;
use crate::gate::now;
use crate::who::Caller;

use super::Service;

impl Service {
    pub(super) async fn profiles(
        &self,
        request: Request<v1::ListProfilesRequest>,
    ) -> Result<v1::ListProfilesResponse, Fault> {
        let caller = self.caller(&request).await?;
        if let Some(template) = self.gate.personal.clone() {
            let user = caller.user().to_owned();
            self.blocking(move |gate| {
                let made = gate.profiles.personal(&template, &user);
                made.map(drop)
                    .map_err(|error| Fault::new(Reason::BadRequest, chain(&error)))
            })
            .await?;
        }
        let set = self.gate.profiles.current();
        let seen = set.iter().filter(|stored| {
            self.gate
                .profile(&set, &caller, stored.profile().name().as_str())
                .is_ok()
        });
        Ok(v1::ListProfilesResponse {
            profiles: seen.map(|stored| self.shown(&caller, stored)).collect(),
        })
    }

    pub(super) fn shown(&self, caller: &Caller, stored: &Stored) -> v1::Profile {
        let profile = stored.profile();
        let may = |action| self.gate.may(caller, action, Resource::Profile(profile));
        let role = match caller.user() {
            user if user == profile.owner() => "owner",
            _ if caller.subject.administrator => "administrator",
            _ if may(Action::CreateSandbox) => "contributor",
            _ => "viewer",
        };
        v1::Profile {
            name: profile.name().to_string(),
            document: stored.text().to_owned(),
            version: stored.etag().to_string(),
            declared: stored.declared(),
            owner: profile.owner().to_owned(),
            role: role.to_owned(),
        }
    }

    pub(super) async fn put(
        &self,
        request: Request<v1::PutProfileRequest>,
    ) -> Result<v1::Profile, Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        let named = document_name(&asked.document);
        let target = match asked.name.as_str() {
            "" => named.clone().unwrap_or_default(),
            name => name.to_owned(),
        };
        self.may_write(&caller, &target, Action::EditProfile)?;
        let event = Event::allowed(now(), caller.user(), "edit_profile").with_profile(&target);
        self.gate.note(&caller, event).await?;
        let writer = writer(&caller);
        let name = self
            .blocking(move |gate| {
                let expected =
                    (!asked.version.is_empty()).then(|| Etag::from_client(&asked.version));
                if named.is_some_and(|named| named != target) {
                    return Err(Fault::new(
                        Reason::BadRequest,
                        "the document's name is another than the request's",
                    ));
                }
                let written = gate
                    .profiles
                    .put(&asked.document, &writer, expected.as_ref());
                let (name, _) = written.map_err(|error| refused(&error))?;
                Ok(name.to_string())
            })
            .await?;
        let set = self.gate.profiles.current();
        Ok(self.shown(&caller, self.gate.profile(&set, &caller, &name)?))
    }

    pub(super) fn may_write(
        &self,
        caller: &Caller,
        name: &str,
        action: Action,
    ) -> Result<(), Fault> {
        let set = self.gate.profiles.current();
        match set.get(name) {
            Some(_) => {
                let stored = self.gate.profile(&set, caller, name)?;
                self.gate
                    .check(caller, action, Resource::Profile(stored.profile()))
            }
            // Of a new one, the ceilings decide.
            None => Ok(()),
        }
    }

    pub(super) async fn deleted(
        &self,
        request: Request<v1::DeleteProfileRequest>,
    ) -> Result<(), Fault> {
        let caller = self.caller(&request).await?;
        let asked = request.into_inner();
        self.may_write(&caller, &asked.name, Action::DeleteProfile)?;
        let event =
            Event::allowed(now(), caller.user(), "delete_profile").with_profile(&asked.name);
        self.gate.note(&caller, event).await?;
        let writer = writer(&caller);
        self.blocking(move |gate| {
            let expected = Etag::from_client(&asked.version);
            let deleted = gate.profiles.delete(&asked.name, &writer, &expected);
            deleted.map_err(|error| refused(&error))
        })
        .await
    }
}

fn writer(caller: &Caller) -> Writer {
    Writer {
        user: caller.user().to_owned(),
        administrator: caller.subject.administrator && caller.bound_to.is_none(),
    }
}

fn document_name(document: &str) -> Option<String> {
    let doc = lakekeep_profiles::ProfileDoc::from_toml("profile", document).ok()?;
    doc.name
}

fn refused(error: &ProfileWriteError) -> Fault {
    let reason = match error {
        ProfileWriteError::Refused(_) => Reason::BadRequest,
        ProfileWriteError::Unknown { .. } => Reason::NotFound,
        ProfileWriteError::Exists { .. } | ProfileWriteError::Conflict { .. } => Reason::Conflict,
        ProfileWriteError::Io { .. } => Reason::Internal,
        _ => Reason::Denied,
    };
    Fault::new(reason, chain(error))
}
