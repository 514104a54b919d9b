//! Every call of the interface, counted and timed, in a span of its own.
//!
//! Around all services: what is refused before a service sees it counts too.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use lakekeep_api::{DESCRIPTORS, Reason};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;
use tracing::{Instrument, Span};

use crate::metrics::{Called, Metrics};

/// Stands for methods that there are not.
const OTHER: &str = "other";

/// Counts calls.
#[derive(Debug, Clone)]
pub struct Counting {
    metrics: Arc<Metrics>,
    methods: Arc<BTreeSet<String>>,
}

impl Counting {
    /// Counts in `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            methods: Arc::new(methods()),
        }
    }

    /// The name of what is called, of a closed set: a caller chooses the path.
    fn method(&self, path: &str) -> String {
        let name = path.trim_start_matches('/');
        match self.methods.contains(name) {
            true => name.to_owned(),
            false => OTHER.to_owned(),
        }
    }
}

/// All methods of all services, as the interface describes them.
fn methods() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for descriptors in [DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET] {
        // Compiled in. Were one not readable, its methods would be `other`.
        let set = FileDescriptorSet::decode(descriptors).unwrap_or_default();
        for file in set.file {
            for service in &file.service {
                let called = service.name();
                let methods = service.method.iter();
                names.extend(
                    methods.map(|method| format!("{}.{called}/{}", file.package(), method.name())),
                );
            }
        }
    }
    names
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            counting: self.clone(),
            inner,
        }
    }
}

/// A service whose calls are counted.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    counting: Counting,
    inner: S,
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<CountedBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = self.counting.method(request.uri().path());
        let span = tracing::info_span!(
            "call",
            otel.name = method,
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            rpc.system = "grpc",
            rpc.method = method,
            rpc.grpc.status_code = tracing::field::Empty,
        );
        let open = Open::new(Arc::clone(&self.counting.metrics), method, span.clone());
        let answer = self.inner.call(request);
        Box::pin(
            async move {
                let response = answer.await?;
                Ok(open.answered(response))
            }
            .instrument(span),
        )
    }
}

/// A call that has not ended. Dropped, it has.
#[derive(Debug)]
struct Open {
    metrics: Arc<Metrics>,
    method: String,
    span: Span,
    began: Instant,
    code: Option<Code>,
}

impl Open {
    fn new(metrics: Arc<Metrics>, method: String, span: Span) -> Self {
        metrics.calls.began();
        Self {
            metrics,
            method,
            span,
            began: Instant::now(),
            code: None,
        }
    }

    /// A refusal stands in the head of an answer; else its end is in the trailers.
    fn answered(mut self, response: Response<Body>) -> Response<CountedBody> {
        self.note(response.headers());
        response.map(|body| CountedBody { body, open: self })
    }

    fn note(&mut self, headers: &HeaderMap) {
        let Some(status) = Status::from_header_map(headers) else {
            return;
        };
        self.code = Some(status.code());
        if status.code() != Code::Ok {
            self.refused(&status);
        }
    }

    fn refused(&self, status: &Status) {
        let named = Reason::of(status);
        let known = named.and_then(|name| Reason::ALL.iter().find(|known| known.name() == name));
        self.metrics
            .calls
            .refused(known.map_or("OTHER", |reason| reason.name()));
        if status.code() == Code::Internal {
            self.span.record("otel.status_code", "ERROR");
            tracing::error!(method = self.method, "a call failed: {}", status.message());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Without a status the caller went away before the end.
        let code = self.code.unwrap_or(Code::Cancelled);
        self.span.record("rpc.grpc.status_code", i32::from(code));
        let called = Called {
            method: std::mem::take(&mut self.method),
            code: word(code),
        };
        self.metrics.calls.ended(&called, self.began.elapsed());
    }
}

/// An answer whose end is noted.
#[derive(Debug)]
pub struct CountedBody {
    body: Body,
    open: Open,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.open.note(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The word for a status.
fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Format, Snapshot};

    #[test]
    fn a_path_that_a_caller_makes_up_is_no_label() {
        let counting = Counting::new(Arc::new(Metrics::new()));
        let known = "lakekeep.v1.Sandboxes/Create";
        assert_eq!(counting.method("/lakekeep.v1.Sandboxes/Create"), known);
        assert_eq!(counting.method("/lakekeep.v1.Sandboxes/Creat"), OTHER);
        assert_eq!(counting.method("/../x"), OTHER);
    }

    #[test]
    fn a_refusal_is_counted_by_its_reason_and_the_end_of_a_call_once() {
        let metrics = Arc::new(Metrics::new());
        let open = || Open::new(Arc::clone(&metrics), "S/M".to_owned(), Span::none());
        let refusal = Reason::QuotaExceeded.status("full", None);
        let response = refusal.into_http::<Body>();
        drop(open().answered(response));
        drop(open());
        let text = metrics.text(&Snapshot::default(), Format::OpenMetrics);
        let text = text.unwrap();
        for line in [
            "lakekeep_refusals_total{reason=\"QUOTA_EXCEEDED\"} 1",
            "lakekeep_grpc_calls_total{method=\"S/M\",code=\"RESOURCE_EXHAUSTED\"} 1",
            "lakekeep_grpc_calls_total{method=\"S/M\",code=\"CANCELLED\"} 1",
            "lakekeep_grpc_calls_open 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
