//! A query that is given up takes its calls with it, wherever they are.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::Duration;

use common::{context, makers, rows};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use lakekeep_udf_client::Kind;

/// Longer than any of it takes where machines are busy; what hangs would hang for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for ever at a number below zero.
const WAITS: &str = "import threading
def waits(x):
    if x < 0:
        threading.Event().wait()
    return x";

/// Gives a query up after a while.
async fn give_up(context: &SessionContext, query: &str, after: Duration) {
    let stream = context.sql(query).await.unwrap().execute_stream();
    let mut stream = stream.await.unwrap();
    let answered = tokio::time::timeout(after, stream.next()).await;
    assert!(answered.is_err(), "{query} answered {answered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_dropped_frees_the_session_of_its_call() {
    for maker in makers() {
        let waits = maker.numbers("waits", Kind::Rows, WAITS).with_sessions(1);
        let context = context();
        context.register_udf(waits.scalar().unwrap());
        // While its session is opened; while it is called; while it is called in a session that
        // was open. The only session is to be had again each time, though the function never
        // returns.
        for after in [1, 5_000, 2_000] {
            let query = "SELECT waits(x - 1000) FROM t";
            give_up(&context, query, Duration::from_millis(after)).await;
            let query = "SELECT waits(7)";
            let next = tokio::time::timeout(PATIENCE, rows(&context, query)).await;
            assert_eq!(next.unwrap().unwrap(), [Some(7)], "after {after} ms");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_wait_for_a_session_are_given_up_too() {
    for maker in makers() {
        let waits = maker.numbers("waits", Kind::Rows, WAITS).with_sessions(2);
        let context = context();
        context.register_udf(waits.scalar().unwrap());
        // Four partitions, two of which have a session.
        let query = "SELECT count(*) FROM t WHERE waits(x - 1000) > 0";
        give_up(&context, query, Duration::from_secs(3)).await;
        let query = "SELECT sum(waits(x)) FROM t";
        let next = tokio::time::timeout(PATIENCE, rows(&context, query)).await;
        assert_eq!(next.unwrap().unwrap(), [Some(499_500)]);
    }
}
