//! Identities, profiles, variables, secrets, delegations.

use std::time::Duration;

use lakekeep_api::MAX_MESSAGE;
use lakekeep_api::v1::accounts_client::AccountsClient;
use lakekeep_api::v1::{
    CanRequest, CanResponse, DelegateRequest, DelegateResponse, DeleteProfileRequest,
    ListProfilesRequest, ListVariablesRequest, Profile, ProfileRef, PutProfileRequest,
    RevokeDelegationRequest, SetVariableRequest, TestIdentityRequest, TestIdentityResponse,
    Variable, VariableRef, VerifyAuditRequest, VerifyAuditResponse, WhoAmIRequest, WhoAmIResponse,
};
use tonic::transport::Channel;

use crate::build::wire;
use crate::client::{Client, answered};
use crate::error::ClientError;

impl Client {
    pub(crate) fn accounts(&self) -> AccountsClient<Channel> {
        AccountsClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// Who the caller is, and whom it is mapped to in a project (empty: in none).
    ///
    /// # Errors
    /// As the manager says.
    pub async fn who_am_i(&self, project: &str) -> Result<WhoAmIResponse, ClientError> {
        let request = self.request(WhoAmIRequest {
            project: project.to_owned(),
        })?;
        answered(self.accounts().who_am_i(request).await)
    }

    /// What a user would be mapped to, with every rule tried.
    ///
    /// # Errors
    /// As the manager says: of others only administrators learn it.
    pub async fn test_identity(
        &self,
        request: TestIdentityRequest,
    ) -> Result<TestIdentityResponse, ClientError> {
        let request = self.request(request)?;
        answered(self.accounts().test_identity(request).await)
    }

    /// A token with which `actor` can act for the caller, in one profile or (empty) all.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn delegate(
        &self,
        actor: &str,
        profile: &str,
        lifetime: Option<Duration>,
    ) -> Result<DelegateResponse, ClientError> {
        let request = self.request(DelegateRequest {
            actor: actor.to_owned(),
            profile: profile.to_owned(),
            lifetime: lifetime.and_then(wire),
        })?;
        answered(self.accounts().delegate(request).await)
    }

    /// Takes a delegation back, or (empty) all of the caller's so far.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn revoke(&self, id: &str) -> Result<(), ClientError> {
        let request = self.request(RevokeDelegationRequest { id: id.to_owned() })?;
        answered(self.accounts().revoke_delegation(request).await).map(drop)
    }

    /// Whether a user may do something, and which rule says so.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn can(&self, request: CanRequest) -> Result<CanResponse, ClientError> {
        let request = self.request(request)?;
        answered(self.accounts().can(request).await)
    }

    /// The profiles that the caller may see.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn profiles(&self) -> Result<Vec<Profile>, ClientError> {
        let request = self.request(ListProfilesRequest {})?;
        let answer = answered(self.accounts().list_profiles(request).await)?;
        Ok(answer.profiles)
    }

    /// One profile.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn profile(&self, name: &str) -> Result<Profile, ClientError> {
        let request = self.request(ProfileRef {
            name: name.to_owned(),
        })?;
        answered(self.accounts().get_profile(request).await)
    }

    /// Writes a profile (TOML) in place of `version` (empty: there must be none).
    ///
    /// # Errors
    /// As the manager says, with line and field of what is wrong in the document.
    pub async fn put_profile(
        &self,
        name: &str,
        document: &str,
        version: &str,
    ) -> Result<Profile, ClientError> {
        let request = self.request(PutProfileRequest {
            name: name.to_owned(),
            document: document.to_owned(),
            version: version.to_owned(),
        })?;
        answered(self.accounts().put_profile(request).await)
    }

    /// Removes a profile as long as it is this `version`.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn delete_profile(&self, name: &str, version: &str) -> Result<(), ClientError> {
        let request = self.request(DeleteProfileRequest {
            name: name.to_owned(),
            version: version.to_owned(),
        })?;
        answered(self.accounts().delete_profile(request).await).map(drop)
    }

    /// Sets a variable or a secret.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn set_variable(
        &self,
        variable: VariableRef,
        value: Vec<u8>,
    ) -> Result<(), ClientError> {
        let request = self.request(SetVariableRequest {
            variable: Some(variable),
            value,
        })?;
        answered(self.accounts().set_variable(request).await).map(drop)
    }

    /// Removes a variable or a secret.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn delete_variable(&self, variable: VariableRef) -> Result<(), ClientError> {
        let request = self.request(variable)?;
        answered(self.accounts().delete_variable(request).await).map(drop)
    }

    /// Variables and the names of secrets of all scopes that count in a profile (empty:
    /// the caller's own).
    ///
    /// # Errors
    /// As the manager says.
    pub async fn variables(&self, profile: &str) -> Result<Vec<Variable>, ClientError> {
        let request = self.request(ListVariablesRequest {
            profile: profile.to_owned(),
            project: String::new(),
        })?;
        let answer = answered(self.accounts().list_variables(request).await)?;
        Ok(answer.variables)
    }

    /// Checks the chain of the audit log.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn verify_audit(&self) -> Result<VerifyAuditResponse, ClientError> {
        let request = self.request(VerifyAuditRequest {})?;
        answered(self.accounts().verify_audit(request).await)
    }
}
