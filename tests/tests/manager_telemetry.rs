//! What a manager tells whoever runs it: metrics and spans, of real calls.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_api::v1::{SandboxRef, WhoAmIRequest};
use lakekeep_tests::eventually;
use lakekeep_tests::manager::{ALICE, Code, Collector, Setup, create, kill, scrape, shell, value};

/// A trace that a caller has begun.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Samples that one sandbox and one task of it leave: name, labels, the least value.
const TOLD: &[(&str, &[&str], f64)] = &[
    (
        "lakekeep_sandboxes",
        &["profile=\"_user\"", "state=\"running\""],
        1.0,
    ),
    (
        "lakekeep_sandbox_creations_total",
        &["kind=\"interactive\""],
        1.0,
    ),
    ("lakekeep_sandbox_claims_total", &["result=\"reused\""], 1.0),
    ("lakekeep_task_starts_total", &[], 1.0),
    ("lakekeep_output_bytes_total", &[], 9.0),
    ("lakekeep_refusals_total", &["reason=\"NOT_FOUND\""], 1.0),
    ("lakekeep_audit_append_seconds_count", &[], 4.0),
    (
        "lakekeep_launcher_requests_total",
        &["request=\"create\""],
        1.0,
    ),
    ("lakekeep_launcher_connections_total", &[], 1.0),
    (
        "lakekeep_spawn_stage_seconds_count",
        &["stage=\"launcher_create\""],
        1.0,
    ),
    (
        "lakekeep_spawn_stage_seconds_count",
        &["stage=\"task_start\""],
        1.0,
    ),
    (
        "lakekeep_grpc_calls_total",
        &["Sandboxes/Create\"", "code=\"OK\""],
        1.0,
    ),
    (
        "lakekeep_grpc_calls_total",
        &["Sandboxes/Exec\"", "code=\"OK\""],
        1.0,
    ),
    (
        "lakekeep_grpc_calls_total",
        &["Sandboxes/Get\"", "code=\"NOT_FOUND\""],
        1.0,
    ),
    ("process_open_fds", &[], 10.0),
    ("process_resident_memory_bytes", &[], 1e6),
];

#[test]
fn the_metrics_tell_what_happened_and_of_nobody() {
    let setup = Setup::new();
    let socket = setup.place().path().join("m/run/metrics/m.sock");
    let table = format!("[metrics]\nsocket = {socket:?}\n");
    let Some(manager) = setup.tables(&table).start("metrics") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(create());
    alice.run(&sandbox.id, "echo 12345678");
    let claimed = alice.claim(create()).unwrap();
    assert_eq!(claimed.id, sandbox.id);
    let stranger = SandboxRef {
        sandbox: "of-nobody".to_owned(),
    };
    assert_eq!(alice.get(stranger).unwrap_err().code, Code::NotFound);
    // A call is counted when its stream has ended, after its caller heard of that.
    let text = eventually("the ends of task and call in the metrics", || {
        let text = scrape(&socket)?;
        let ends = value(&text, "lakekeep_task_ends_total", &["verdict=\"exit\""]);
        let calls = value(&text, "lakekeep_grpc_calls_total", &["Sandboxes/Exec\""]);
        (ends >= 1.0 && calls >= 1.0).then_some(text)
    });
    for (name, labels, least) in TOLD {
        let found = value(&text, name, labels);
        assert!(found >= *least, "{name} {labels:?}: {found}\n{text}");
    }
    for word in [ALICE, &sandbox.id, "echo", "home-"] {
        assert!(!text.contains(word), "{word}\n{text}");
    }
    let launcher = manager.launchers()[0];
    kill(launcher);
    manager.kill_manager();
    eventually("the restarts in the metrics", || {
        let text = scrape(&socket)?;
        let of = |process| value(&text, "lakekeep_restarts_total", &[process]);
        (of("process=\"manager\"") >= 1.0 && of("process=\"launcher\"") >= 1.0).then_some(())
    });
    manager.end();
}

#[test]
fn spans_of_calls_and_stages_reach_a_collector_in_their_callers_trace() {
    let collector = Collector::start();
    let setup = Setup::new().tables(&collector.table());
    let Some(manager) = setup.start("traces") else {
        return;
    };
    let alice = manager.alice().with("traceparent", PARENT);
    let sandbox = alice.sandbox(create());
    alice
        .exec(shell(&sandbox.id, "true"))
        .and_then(lakekeep_tests::manager::Talk::finish)
        .unwrap();
    // Who is not authenticated chooses nothing: neither this trace nor any other.
    let forged = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-00f067aa0ba902b7-01";
    let nobody = manager.bob().with("traceparent", forged);
    let refused = nobody
        .with("authorization", "Bearer none")
        .who_am_i(WhoAmIRequest::default());
    assert_eq!(refused.unwrap_err().code, Code::Unauthenticated);
    let last = "lakekeep.v1.Accounts/WhoAmI";
    let spans = eventually("the refused call among the spans", || {
        let spans = collector.spans();
        let done = |name| spans.iter().any(|span| span.name == name);
        (done(last) && done("lakekeep.v1.Sandboxes/Exec")).then_some(spans)
    });
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let named = |name: &str| {
        let found = spans
            .iter()
            .find(|span| span.name == name && hex(&span.trace_id) == TRACE);
        found.unwrap_or_else(|| {
            panic!(
                "no {name} in {:?}",
                spans.iter().map(|s| &s.name).collect::<Vec<_>>()
            )
        })
    };
    let create = named("lakekeep.v1.Sandboxes/Create");
    assert_eq!(hex(&create.parent_span_id), "00f067aa0ba902b7");
    for stage in [
        "resolve",
        "admission",
        "plan",
        "launcher_create",
        "keep_init",
    ] {
        let span = named(stage);
        assert_eq!(span.parent_span_id, create.span_id, "{stage}");
        assert!(span.start_time_unix_nano >= create.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= create.end_time_unix_nano);
    }
    let exec = named("lakekeep.v1.Sandboxes/Exec");
    for stage in ["task_plan", "keep_streams", "task_start", "task_note"] {
        assert_eq!(named(stage).parent_span_id, exec.span_id, "{stage}");
    }
    assert!(
        spans
            .iter()
            .all(|span| hex(&span.trace_id) != "a".repeat(32))
    );
    let told = format!("{spans:?}");
    for word in [ALICE, "true", "sh"] {
        assert!(!told.contains(&format!("\"{word}\"")), "{word}");
    }
    manager.end();
}
