//! Table functions in queries.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::Duration;

use common::{Maker, columns, context, makers, rows};
use datafusion::arrow::datatypes::DataType;
use datafusion::assert_batches_eq;
use datafusion::prelude::SessionContext;
use lakekeep_datafusion::{CallError, Sandboxed};
use lakekeep_udf_client::Kind;

const SERIES: &str = "def series(start, count, word):
    for number in range(start, start + count):
        if number == 13:
            raise ValueError('unlucky')
        yield (number, None if word is None else word * number)";

fn series(maker: &Maker) -> Sandboxed {
    let given = columns(&[
        ("start", DataType::Int64),
        ("count", DataType::Int8),
        ("word", DataType::Utf8),
    ]);
    let returned = columns(&[("number", DataType::Int64), ("words", DataType::Utf8)]);
    maker.of(("series", Kind::Table, SERIES), (given, returned))
}

fn with_series(maker: &Maker) -> SessionContext {
    let context = context();
    context.register_udtf("series", series(maker).table().unwrap());
    context
}

#[tokio::test(flavor = "multi_thread")]
async fn its_rows_are_a_table_of_the_query() {
    for maker in makers() {
        let context = with_series(&maker);
        let query = "SELECT words, number + 1 AS next FROM series(1 + 0, 3, 'ab')";
        let batches = context.sql(query).await.unwrap().collect().await.unwrap();
        let expected = [
            "+--------+------+",
            "| words  | next |",
            "+--------+------+",
            "| ab     | 2    |",
            "| abab   | 3    |",
            "| ababab | 4    |",
            "+--------+------+",
        ];
        assert_batches_eq!(expected, &batches);
        for (query, expected) in [
            ("SELECT number FROM series(0, 0, 'a')", vec![]),
            ("SELECT count(words) FROM series(0, 5, NULL)", vec![Some(0)]),
            ("SELECT count(*) FROM series(0, 5, 'a')", vec![Some(5)]),
            (
                "SELECT t.x FROM t JOIN series(998, 9, 'a') ON t.x = number ORDER BY t.x",
                vec![Some(998), Some(999)],
            ),
            (
                "SELECT a.number FROM series(0, 2, 'a') a, series(0, 2, 'b') b ORDER BY 1",
                vec![Some(0), Some(0), Some(1), Some(1)],
            ),
        ] {
            assert_eq!(rows(&context, query).await.unwrap(), expected, "{query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_checked_when_a_query_is_planned() {
    for maker in makers() {
        let context = with_series(&maker);
        let double = maker.numbers("double", Kind::Rows, "def double(x): return 2 * x");
        context.register_udf(double.scalar().unwrap());
        for (given, words) in [
            ("1, 2", "2 arguments for its 3"),
            (
                "1, 300, 'a'",
                "argument count: 300 of type Int64 is no Int8",
            ),
            (
                "1.5, 2, 'a'",
                "argument start: 1.5 of type Float64 is no Int64",
            ),
            ("'x', 2, 'a'", "argument start"),
            ("1, double(1), 'a'", "is no constant"),
        ] {
            let planned = context.sql(&format!("SELECT * FROM series({given})")).await;
            let error = planned
                .err()
                .unwrap_or_else(|| panic!("{given} was planned"));
            assert!(error.to_string().contains(words), "{given}: {error}");
        }
        let error = maker
            .numbers("f", Kind::Rows, "def f(x): ...")
            .table()
            .unwrap_err();
        assert!(error.to_string().contains("one of table"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_error_is_the_querys_and_the_next_call_works() {
    for maker in makers() {
        let context = with_series(&maker);
        let query = "SELECT number FROM series(12, 3, 'a')";
        let error = rows(&context, query).await.unwrap_err();
        let told = CallError::of(&error).unwrap_or_else(|| panic!("{error}"));
        assert_eq!(told.error.reason(), "UDF_RAISED");
        assert!(error.to_string().contains("unlucky"), "{error}");
        let query = "SELECT number FROM series(14, 1, 'a')";
        assert_eq!(rows(&context, query).await.unwrap(), [Some(14)]);
    }
}

/// What nobody takes is not made: the function is held up, and then ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_without_end_ends_when_the_query_has_enough() {
    const NATURALS: &str = "import itertools
def naturals(x):
    for number in itertools.count(x):
        yield (number,)";
    for maker in makers() {
        let naturals = maker.numbers("naturals", Kind::Table, NATURALS);
        let context = context();
        // One session: the second query would wait for the first one's for ever.
        context.register_udtf("naturals", naturals.with_sessions(1).table().unwrap());
        for start in [0, 70] {
            let query = format!("SELECT x FROM naturals({start}) LIMIT 3");
            let answer = tokio::time::timeout(Duration::from_secs(120), rows(&context, &query));
            let expected: Vec<_> = (start..start + 3).map(Some).collect();
            assert_eq!(answer.await.unwrap().unwrap(), expected);
        }
    }
}
