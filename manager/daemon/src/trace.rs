//! What the manager says to whoever runs it: logs on standard error and, where a
//! collector is configured, spans of calls and of the stages of their work.
//!
//! A span holds methods, stages, identifiers of sandboxes and statuses: no user, no
//! program, no path. Of a caller it takes the trace to which it belongs, and only once
//! the caller is authenticated.

use std::fmt;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde::Deserialize;
use tonic::metadata::MetadataMap;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The header of the W3C's trace context.
const TRACEPARENT: &str = "traceparent";

/// What of this program's own is said and traced.
const OURS: &str = "lakekeep";

/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// `[telemetry]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryDoc {
    /// Where spans go: an OpenTelemetry collector, over gRPC.
    pub otlp: Option<Collector>,
    /// How many of the traces that begin here are kept: 0 to 1.
    pub sample: Option<Share>,
    /// How logs are written.
    pub log: LogForm,
    /// The least that is logged.
    pub level: LogLevel,
}

/// `http://HOST:PORT`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Collector(String);

impl TryFrom<String> for Collector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let authority = text.strip_prefix("http://").map(|rest| {
            let rest = rest.trim_end_matches('/');
            rest.parse::<http::uri::Authority>()
        });
        match authority {
            Some(Ok(authority)) if authority.port().is_some() => Ok(Self(text)),
            _ => Err(format!(
                "{text:?} is not http://HOST:PORT; run a collector on this host, such as http://127.0.0.1:4317"
            )),
        }
    }
}

/// A part of a whole, 0 to 1.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
pub struct Share(f64);

impl TryFrom<f64> for Share {
    type Error = String;

    fn try_from(share: f64) -> Result<Self, String> {
        match (0.0..=1.0).contains(&share) {
            true => Ok(Self(share)),
            false => Err(format!("{share} is not between 0 and 1")),
        }
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogForm {
    /// A line for a person; the journal adds the time.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The least that is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

impl LogLevel {
    fn level(self) -> Level {
        match self {
            Self::Error => Level::ERROR,
            Self::Warn => Level::WARN,
            Self::Info => Level::INFO,
            Self::Debug => Level::DEBUG,
        }
    }
}

/// Logs and traces, until it is ended.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Starts what is configured. In a runtime: the exporter speaks through it.
    ///
    /// # Errors
    /// When the exporter cannot be made, or something else listens to this process.
    pub fn start(doc: &TelemetryDoc, name: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let provider = match &doc.otlp {
            Some(collector) => Some(provider(collector, doc.sample, name)?),
            None => None,
        };
        let spans = provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer(OURS))
                // The caller's trace is known only after the call's span has begun.
                .with_context_activation(false)
                .with_tracked_inactivity(false)
                .with_location(false)
                .with_threads(false)
                .with_level(false)
                .with_target(false)
                .with_filter(filter_fn(|of| of.is_span() && is_ours(of)))
        });
        let least = doc.level.level();
        let heard = filter_fn(move |of| {
            let least = if is_ours(of) { least } else { Level::WARN };
            of.is_event() && *of.level() <= least
        });
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = match doc.log {
            LogForm::Text => lines.event_format(Plain).with_filter(heard).boxed(),
            LogForm::Json => {
                let json = lines.json().flatten_event(true);
                json.with_current_span(false).with_filter(heard).boxed()
            }
        };
        tracing_subscriber::registry()
            .with(lines)
            .with(spans)
            .try_init()?;
        Ok(Self { provider })
    }

    /// Sends what is left. Waits for a collector no longer than for any other message.
    pub async fn end(self) {
        let Some(provider) = self.provider else {
            return;
        };
        let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(PATIENCE));
        if let Ok(Err(error)) = sent.await {
            tracing::warn!("the last spans are lost: {error}");
        }
    }
}

fn is_ours(of: &Metadata<'_>) -> bool {
    of.target().starts_with(OURS)
}

fn provider(
    collector: &Collector,
    sample: Option<Share>,
    name: &str,
) -> Result<SdkTracerProvider, opentelemetry_otlp::ExporterBuildError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(collector.0.clone())
        .with_timeout(PATIENCE)
        .build()?;
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", OURS),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", name.to_owned()),
    ]);
    let share = sample.map_or(1.0, |share| share.0);
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share)));
    // Spans that a slow collector does not take are dropped, not kept for ever.
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(resource.build())
        .build())
}

/// Puts the call that is being answered into its caller's trace. Only of somebody who
/// is authenticated: others choose nothing of ours.
pub fn join(metadata: &MetadataMap) {
    let parent = TraceContextPropagator::new().extract(&Parent(metadata));
    if !parent.span().span_context().is_valid() {
        return;
    }
    if tracing::Span::current().set_parent(parent).is_err() {
        // Nobody collects spans, or not this one.
    }
}

/// The one header that is taken: `tracestate` is as long as a caller likes.
struct Parent<'m>(&'m MetadataMap);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let wanted = key == TRACEPARENT;
        self.0.get(key).filter(|_| wanted)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// `lakekeep: warning: text name=value`
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut words = Words::default();
        event.record(&mut words);
        let level = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => "",
        };
        writeln!(writer, "lakekeep: {level}{}{}", words.message, words.rest)
    }
}

#[derive(Default)]
struct Words {
    message: String,
    rest: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.rest.push_str(&format!(" {name}={value:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TelemetryDoc, String> {
        let read = lakekeep_identity::read_toml::<TelemetryDoc>("t", text);
        read.map(|document| document.value().clone())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_collected_from_is_refused_with_its_line() {
        assert!(read("otlp = \"http://127.0.0.1:4317\"\nsample = 0.1\nlog = \"json\"").is_ok());
        for text in [
            "otlp = \"https://127.0.0.1:4317\"",
            "otlp = \"http://127.0.0.1\"",
            "otlp = \"127.0.0.1:4317\"",
            "sample = 1.5",
            "log = \"xml\"",
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.starts_with("t:1:"), "{refused}");
        }
    }

    #[test]
    fn only_the_trace_itself_is_taken_from_a_caller() {
        let mut metadata = MetadataMap::new();
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        metadata.insert(TRACEPARENT, parent.parse().unwrap());
        metadata.insert("tracestate", "vendor=secret".parse().unwrap());
        let taken = TraceContextPropagator::new().extract(&Parent(&metadata));
        let context = taken.span().span_context().clone();
        assert_eq!(
            context.trace_id().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(context.trace_state().header(), "");
    }
}
