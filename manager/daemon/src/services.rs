//! Everything that is served over gRPC.

use std::path::Path;
use std::sync::Arc;

use lakekeep_api::v1::accounts_server::AccountsServer;
use lakekeep_api::v1::egress_server::EgressServer;
use lakekeep_api::v1::environments_server::EnvironmentsServer;
use lakekeep_api::v1::sandboxes_server::SandboxesServer;
use lakekeep_api::{DESCRIPTORS, MAX_MESSAGE};
use lakekeep_egress_rules::FixedAddresses;
use lakekeep_store::flows::FlowLog;
use tonic::service::Routes;

use crate::calls::Counting;
use crate::gate::Gate;
use crate::make::Making;
use crate::refusals::Refusals;
use crate::registry::Registry;
use crate::server::ManagerError;
use crate::{accounts, environments, flows, sandboxes};

/// Everything that is served.
#[derive(Debug, Clone)]
pub struct Services {
    /// Sandboxes and their tasks.
    pub sandboxes: sandboxes::Service,
    accounts: accounts::Service,
    environments: environments::Service,
    flows: flows::Service,
    /// What is refused becomes an event.
    pub refusals: Refusals,
}

impl Services {
    /// Those of a manager, whose folder is `state`, with its log of flows and the addresses that
    /// its local services have inside.
    pub fn new(
        gate: &Arc<Gate>,
        registry: &Arc<Registry>,
        making: Making,
        (state, log, fixed): (&Path, &Arc<FlowLog>, FixedAddresses),
    ) -> Self {
        Self {
            sandboxes: sandboxes::Service {
                gate: Arc::clone(gate),
                registry: Arc::clone(registry),
                making,
            },
            environments: environments::Service {
                gate: Arc::clone(gate),
                environments: Arc::clone(registry.environments()),
            },
            accounts: accounts::Service {
                gate: Arc::clone(gate),
                audit_key: state.join("audit.key"),
            },
            flows: flows::Service {
                gate: Arc::clone(gate),
                log: Arc::clone(log),
                registry: Arc::clone(registry),
                fixed: Arc::new(fixed),
            },
            refusals: Refusals::new(Arc::clone(gate)),
        }
    }

    /// What counts their calls.
    pub fn counting(&self) -> Counting {
        Counting::new(Arc::clone(&self.accounts.gate.metrics))
    }

    /// All of them, with health and reflection.
    ///
    /// # Errors
    /// When the interface cannot be described: a fault of this program's.
    pub async fn routes(self) -> Result<Routes, ManagerError> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            ManagerError::start("describe the interface")(error)
        };
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| failed(&error))?;
        let (reporter, health) = tonic_health::server::health_reporter();
        let sandboxes = SandboxesServer::new(self.sandboxes)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let accounts = AccountsServer::new(self.accounts)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        reporter
            .set_serving::<SandboxesServer<sandboxes::Service>>()
            .await;
        let environments = EnvironmentsServer::new(self.environments)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        reporter
            .set_serving::<EnvironmentsServer<environments::Service>>()
            .await;
        let flows = EgressServer::new(self.flows)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        reporter.set_serving::<EgressServer<flows::Service>>().await;
        reporter
            .set_serving::<AccountsServer<accounts::Service>>()
            .await;
        let mut routes = Routes::builder();
        routes
            .add_service(health)
            .add_service(reflection)
            .add_service(sandboxes)
            .add_service(accounts)
            .add_service(environments)
            .add_service(flows);
        Ok(routes.routes())
    }
}
