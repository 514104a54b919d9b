//! An OpenTelemetry collector that keeps what it is sent, on a loopback address.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::connect::{spawn, wait};
use crate::fail;

/// A running collector.
#[derive(Debug, Clone)]
pub struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let failed = |e: std::io::Error| -> ! { fail(format_args!("a collector: {e}")) };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| failed(e));
        let address = listener.local_addr().unwrap_or_else(|e| failed(e));
        let collector = Self {
            url: format!("http://{address}"),
            spans: Arc::default(),
        };
        let service = TraceServiceServer::new(collector.clone());
        let listener = wait("a listener", async move {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        });
        let incoming = TcpListenerStream::new(listener.unwrap_or_else(|e| failed(e)));
        let server = Server::builder().add_service(service);
        spawn(async move {
            if let Err(error) = server.serve_with_incoming(incoming).await {
                eprintln!("collector: {error}");
            }
        });
        collector
    }

    /// The table of a manager's configuration that sends to it.
    #[must_use]
    pub fn table(&self) -> String {
        format!("[telemetry]\notlp = \"{}\"\n", self.url)
    }

    /// What came so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        self.spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
