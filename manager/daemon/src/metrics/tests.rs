use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::endpoint::format;
use super::*;

const PAGE: &str = include_str!("../../../../docs/manager.md");

/// Names in the first column of the page's table of metrics.
fn documented() -> BTreeSet<String> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split(['`', '{']).next());
    let ours = |name: &&str| name.starts_with("lakekeep_") || name.starts_with("process_");
    let plain = |name: &str| name.strip_suffix("_total").unwrap_or(name).to_owned();
    names.filter(ours).map(plain).collect()
}

#[test]
fn every_metric_is_documented_and_nothing_else_is() {
    let registered: BTreeSet<String> = Metrics::new().names().iter().cloned().collect();
    assert_eq!(documented(), registered);
}

#[test]
fn profiles_beyond_the_bound_share_a_label() {
    let metrics = Metrics::new();
    for number in 0..MOST_PROFILES {
        let name = format!("profile-{number}");
        assert_eq!(metrics.declared(&name), name);
    }
    assert_eq!(metrics.declared("one-more"), OTHER);
    assert_eq!(metrics.declared("profile-0"), "profile-0");
    assert_eq!(metrics.profile(&ProfileSet::default(), "secret"), OTHER);
}

#[test]
fn the_present_replaces_the_past() {
    let metrics = Metrics::new();
    let mut now = Snapshot::default();
    now.sandboxes.insert(("udf", "a".to_owned(), "running"), 2);
    let text = metrics.text(&now, Format::OpenMetrics).unwrap();
    let line = "lakekeep_sandboxes{kind=\"udf\",profile=\"a\",state=\"running\"} 2";
    assert!(text.contains(line), "{text}");
    assert!(text.ends_with("# EOF\n"));
    let text = metrics.text(&Snapshot::default(), Format::OpenMetrics);
    assert!(!text.unwrap().contains("lakekeep_sandboxes{"));
}

#[test]
fn flows_are_told_as_their_log_counts_them() {
    let metrics = Metrics::new();
    let mut now = Snapshot::default();
    for (written, lost) in [(3, 1), (5, 1)] {
        (now.flows.written, now.flows.lost) = (written, lost);
        let text = metrics.text(&now, Format::OpenMetrics).unwrap();
        assert!(
            text.contains(&format!("lakekeep_flows_written_total {written}")),
            "{text}"
        );
        assert!(
            text.contains(&format!("lakekeep_flows_lost_total {lost}")),
            "{text}"
        );
    }
}

#[test]
fn connections_to_services_are_counted_while_they_live_and_by_their_ends() {
    let metrics = Metrics::new();
    let text = || {
        metrics
            .text(&Snapshot::default(), Format::OpenMetrics)
            .unwrap()
    };
    let open = |number| format!("service_connections_open{{service=\"identity\"}} {number}");
    let one = metrics.local.answering("identity");
    let two = metrics.local.answering("identity");
    assert!(text().contains(&open(2)), "{}", text());
    drop((one, two));
    assert!(text().contains(&open(0)), "{}", text());
    metrics.local.too_many("identity", true);
    metrics.local.too_many("identity", false);
    metrics.local.failed("silent");
    for (result, number) in [("answered", 2), ("told_to_wait", 1), ("closed", 1)] {
        let labels = format!("service=\"identity\",result=\"{result}\"");
        let line = format!("lakekeep_service_connections_total{{{labels}}} {number}");
        assert!(text().contains(&line), "{}", text());
    }
    let failed = "lakekeep_service_failures_total{reason=\"silent\"} 1";
    assert!(text().contains(failed), "{}", text());
}

#[test]
fn who_asks_for_openmetrics_gets_it() {
    let asks = |text: &'static str| format(Some(&HeaderValue::from_static(text)));
    assert_eq!(
        asks("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"),
        Format::OpenMetrics
    );
    assert_eq!(asks("text/plain"), Format::Prometheus);
    assert_eq!(format(None), Format::Prometheus);
}

#[test]
fn an_address_that_others_reach_is_refused() {
    let read = |text: &str| toml(text).map_err(|error| error.to_string());
    assert!(read("listen = \"127.0.0.1:9464\"").is_ok());
    assert!(read("listen = \"[::1]:9464\"").is_ok());
    let refused = read("listen = \"0.0.0.0:9464\"").unwrap_err();
    assert!(refused.contains("loopback"), "{refused}");
    assert!(read("socket = \"metrics.sock\"").is_err());
    assert!(read("socket = \"/run/m.sock\"\nlisten = \"127.0.0.1:1\"").is_err());
    assert!(read("").is_err());
}

fn toml(text: &str) -> Result<MetricsDoc, lakekeep_identity::DocumentError> {
    lakekeep_identity::read_toml::<MetricsDoc>("t", text).map(|document| document.value().clone())
}

#[tokio::test]
async fn one_page_is_served_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.sock");
    let metrics = Arc::new(Metrics::new());
    metrics.sandboxes.ended("killed");
    metrics
        .stages
        .observe(Stage::Plan, Duration::from_millis(3));
    let endpoint = Endpoint::new(Arc::clone(&metrics), Snapshot::default);
    let place = MetricsDoc::Socket(path.clone());
    let serving = endpoint.clone().start(&place).await.unwrap();
    let ask = async |what: &str| {
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        let text = format!("{what} HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = ask("GET /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("version=0.0.4"), "{answer}");
    assert!(answer.contains("lakekeep_sandbox_ends_total{verdict=\"killed\"} 1"));
    let bucket = "lakekeep_spawn_stage_seconds_bucket{stage=\"plan\",le=\"0.005\"} 1";
    assert!(answer.contains(bucket), "{answer}");
    assert!(ask("GET /other").await.starts_with("HTTP/1.1 404"));
    assert!(ask("POST /metrics").await.starts_with("HTTP/1.1 405"));
    serving.abort();
}
