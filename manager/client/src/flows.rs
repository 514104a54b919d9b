//! What left sandboxes, what was refused, and what other rules would change.

use lakekeep_api::MAX_MESSAGE;
use lakekeep_api::v1::egress_client::EgressClient;
use lakekeep_api::v1::{
    ExplainEgressRequest, ExplainEgressResponse, FlowsChunk, ReadFlowsRequest, ReplayFlowsRequest,
    ReplayFlowsResponse,
};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::client::{Client, answered};
use crate::error::ClientError;

/// Flows of the log, in the order of their times.
#[derive(Debug)]
pub struct Flows {
    stream: Streaming<FlowsChunk>,
}

impl Flows {
    /// The next of them, some at once; the first also has the gaps. `None` after the last.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn next(&mut self) -> Result<Option<FlowsChunk>, ClientError> {
        Ok(self.stream.message().await?)
    }
}

impl Client {
    fn egress(&self) -> EgressClient<Channel> {
        EgressClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// The log of flows, as far as the caller may see it.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn flows(&self, query: ReadFlowsRequest) -> Result<Flows, ClientError> {
        let request = self.request(query)?;
        let stream = answered(self.egress().read_flows(request).await)?;
        Ok(Flows { stream })
    }

    /// What a document of rules would have said of flows that there were.
    ///
    /// # Errors
    /// As the manager says, with line and field of what is wrong in the document.
    pub async fn replay_flows(
        &self,
        query: ReplayFlowsRequest,
    ) -> Result<ReplayFlowsResponse, ClientError> {
        let request = self.request(query)?;
        answered(self.egress().replay_flows(request).await)
    }

    /// What the rules say of a destination, level by level; nothing is connected to.
    ///
    /// # Errors
    /// As the manager says: `Denied` for another user whose flows the caller may not see.
    pub async fn explain_egress(
        &self,
        query: ExplainEgressRequest,
    ) -> Result<ExplainEgressResponse, ClientError> {
        let request = self.request(query)?;
        answered(self.egress().explain_egress(request).await)
    }
}
