//! The service `lakekeep.v1.Accounts`.

mod audit;
mod identities;
mod profiles;
mod variables;

use std::pin::Pin;
use std::sync::Arc;

use lakekeep_api::Reason;
use lakekeep_api::v1;
use lakekeep_api::v1::accounts_server::Accounts;
use lakekeep_identity::UserName;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::fault::Fault;
use crate::gate::Gate;
use crate::who::Caller;
use crate::wire::answer;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub struct Service {
    pub gate: Arc<Gate>,
    /// The audit log's key.
    pub audit_key: std::path::PathBuf,
}

impl Service {
    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Fault> {
        self.gate.authentication.caller(request).await
    }

    /// Runs what blocks where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Gate) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let gate = Arc::clone(&self.gate);
        tokio::task::spawn_blocking(move || work(&gate))
            .await
            .map_err(|error| Fault::internal("wait for a thread", &error))?
    }
}

fn user_name(text: &str) -> Result<UserName, Fault> {
    UserName::new(text).map_err(|error| Fault::new(Reason::BadRequest, format!("user: {error}")))
}

#[tonic::async_trait]
impl Accounts for Service {
    type QueryAuditStream = Streamed<v1::AuditEvent>;

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        answer(self.who(request).await)
    }

    async fn test_identity(
        &self,
        request: Request<v1::TestIdentityRequest>,
    ) -> Result<Response<v1::TestIdentityResponse>, Status> {
        answer(self.tested(request).await)
    }

    async fn delegate(
        &self,
        request: Request<v1::DelegateRequest>,
    ) -> Result<Response<v1::DelegateResponse>, Status> {
        answer(self.delegated(request).await)
    }

    async fn revoke_delegation(
        &self,
        request: Request<v1::RevokeDelegationRequest>,
    ) -> Result<Response<v1::RevokeDelegationResponse>, Status> {
        answer(
            self.revoked(request)
                .await
                .map(|()| v1::RevokeDelegationResponse {}),
        )
    }

    async fn can(
        &self,
        request: Request<v1::CanRequest>,
    ) -> Result<Response<v1::CanResponse>, Status> {
        answer(self.could(request).await)
    }

    async fn list_profiles(
        &self,
        request: Request<v1::ListProfilesRequest>,
    ) -> Result<Response<v1::ListProfilesResponse>, Status> {
        answer(self.profiles(request).await)
    }

    async fn get_profile(
        &self,
        request: Request<v1::ProfileRef>,
    ) -> Result<Response<v1::Profile>, Status> {
        let caller = self.caller(&request).await?;
        let name = request.into_inner().name;
        let set = self.gate.profiles.current();
        let found = self.gate.profile(&set, &caller, &name);
        answer(found.map(|stored| self.shown(&caller, stored)))
    }

    async fn put_profile(
        &self,
        request: Request<v1::PutProfileRequest>,
    ) -> Result<Response<v1::Profile>, Status> {
        answer(self.put(request).await)
    }

    async fn delete_profile(
        &self,
        request: Request<v1::DeleteProfileRequest>,
    ) -> Result<Response<v1::DeleteProfileResponse>, Status> {
        answer(
            self.deleted(request)
                .await
                .map(|()| v1::DeleteProfileResponse {}),
        )
    }

    async fn set_variable(
        &self,
        request: Request<v1::SetVariableRequest>,
    ) -> Result<Response<v1::SetVariableResponse>, Status> {
        answer(self.set(request).await.map(|()| v1::SetVariableResponse {}))
    }

    async fn delete_variable(
        &self,
        request: Request<v1::VariableRef>,
    ) -> Result<Response<v1::SetVariableResponse>, Status> {
        answer(
            self.removed(request)
                .await
                .map(|()| v1::SetVariableResponse {}),
        )
    }

    async fn list_variables(
        &self,
        request: Request<v1::ListVariablesRequest>,
    ) -> Result<Response<v1::ListVariablesResponse>, Status> {
        answer(self.variables(request).await)
    }

    async fn query_audit(
        &self,
        request: Request<v1::QueryAuditRequest>,
    ) -> Result<Response<Self::QueryAuditStream>, Status> {
        answer(self.audited(request).await)
    }

    async fn verify_audit(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Result<Response<v1::VerifyAuditResponse>, Status> {
        answer(self.verified(request).await)
    }
}
