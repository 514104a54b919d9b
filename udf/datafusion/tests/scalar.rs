//! Scalar functions in queries: the same answers as DataFusion's own expressions.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{columns, context, makers, rows};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::logical_expr::Volatility;
use datafusion::prelude::SessionContext;
use lakekeep_datafusion::CallError;
use lakekeep_udf_client::{Kind, UdfError};

const DOUBLE: &str = "import pyarrow.compute as pc\ndef double(x): return pc.multiply(x, 2)";
/// Which worker answers: a number that each draws for itself.
const WHO: &str = "import secrets
ME = secrets.randbits(62)
def who(x): return [ME] * len(x)";

#[tokio::test(flavor = "multi_thread")]
async fn a_function_answers_as_the_engines_own_expression() {
    for maker in makers() {
        for volatility in [Volatility::Volatile, Volatility::Immutable] {
            let double = maker.numbers("double", Kind::Scalar, DOUBLE);
            let context = context();
            context.register_udf(double.with_volatility(volatility).scalar().unwrap());
            for (query, native) in [
                (
                    "SELECT double(x) AS y FROM t ORDER BY y",
                    "SELECT x * 2 AS y FROM t ORDER BY y",
                ),
                (
                    "SELECT x FROM t WHERE double(x) > 1990 ORDER BY x",
                    "SELECT x FROM t WHERE x * 2 > 1990 ORDER BY x",
                ),
                ("SELECT sum(double(x)) FROM t", "SELECT sum(x * 2) FROM t"),
                (
                    "SELECT double(x) + double(x + 1) AS y FROM t ORDER BY y",
                    "SELECT 4 * x + 2 AS y FROM t ORDER BY y",
                ),
                (
                    "SELECT sum(y) + max(z) FROM (SELECT double(x) AS y, double(-x) AS z FROM t)",
                    "SELECT sum(x * 2) + max(-x * 2) FROM t",
                ),
                ("SELECT double(21)", "SELECT 42"),
                ("SELECT double(NULL)", "SELECT CAST(NULL AS BIGINT)"),
                (
                    "SELECT double(x) FROM t WHERE x < 0",
                    "SELECT x FROM t WHERE x < 0",
                ),
            ] {
                let expected = rows(&context, native).await.unwrap();
                assert_eq!(rows(&context, query).await.unwrap(), expected, "{query}");
            }
        }
    }
}

/// What DataFusion cannot plan is an error, and the documented way around it works.
#[tokio::test(flavor = "multi_thread")]
async fn one_within_another_takes_a_table_between_them() {
    for maker in makers() {
        let context = context();
        let double = maker.numbers("double", Kind::Scalar, DOUBLE);
        context.register_udf(double.scalar().unwrap());
        let error = rows(&context, "SELECT double(double(x)) FROM t").await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("should not be called directly"), "{error}");
        let between = context.sql("SELECT double(x) AS y FROM t").await.unwrap();
        let between = between.cache().await.unwrap();
        context.register_table("once", between.into_view()).unwrap();
        let twice = rows(&context, "SELECT sum(double(y)) FROM once").await;
        assert_eq!(twice.unwrap(), [Some(4 * 499_500)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_have_sessions_of_their_own_as_many_as_there_may_be() {
    for maker in makers() {
        for (most, least) in [(1, 1), (4, 2)] {
            let who = maker.numbers("who", Kind::Scalar, WHO).with_sessions(most);
            let context = context();
            context.register_udf(who.scalar().unwrap());
            let query = "SELECT DISTINCT p FROM (SELECT who(x) AS p FROM t) ORDER BY p";
            let first = rows(&context, query).await.unwrap();
            assert!((least..=most).contains(&first.len()), "{first:?} of {most}");
            // They stay for the next query.
            let next = rows(&context, query).await.unwrap();
            assert!(
                next.iter().all(|one| first.contains(one)),
                "{next:?} of {first:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_are_checked_when_a_query_is_planned() {
    for maker in makers() {
        let context = context();
        let double = maker.numbers("double", Kind::Scalar, DOUBLE);
        context.register_udf(double.scalar().unwrap());
        for query in [
            "SELECT double(1.5)",
            "SELECT double('many')",
            "SELECT double(x, x) FROM t",
            "SELECT double()",
            "SELECT double(struct(x)) FROM t",
        ] {
            let planned = context.sql(query).await;
            let error = planned
                .err()
                .unwrap_or_else(|| panic!("{query} was planned"));
            assert!(error.to_string().contains("double"), "{query}: {error}");
            assert!(CallError::of(&error).is_none(), "{error}");
        }
        // Nothing is lost by these.
        let query = "SELECT double(CAST(x AS SMALLINT)) AS y FROM t ORDER BY y LIMIT 2";
        assert_eq!(rows(&context, query).await.unwrap(), [Some(0), Some(2)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_scalar_function_is_refused() {
    for maker in makers() {
        for kind in [Kind::Table, Kind::Batches, Kind::Grouped, Kind::Aggregate] {
            let error = maker
                .numbers("f", kind, "def f(x): ...")
                .scalar()
                .unwrap_err();
            assert!(matches!(error.error, UdfError::BadFunction(_)), "{error}");
            assert!(
                error.to_string().contains("scalar, pandas, rows"),
                "{error}"
            );
        }
        let views = columns(&[("x", DataType::Utf8View)]);
        let function = maker.of(("f", Kind::Rows, "def f(x): ..."), (views.clone(), views));
        let error = function.scalar().unwrap_err();
        assert!(error.to_string().contains("Utf8View"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_users_is_the_querys_with_what_to_do() {
    const PICKY: &str =
        "def picky(x):\n    if x == 500: raise ValueError(f'not {x}')\n    return x";
    for maker in makers() {
        let context = context();
        context.register_udf(maker.numbers("picky", Kind::Rows, PICKY).scalar().unwrap());
        context.register_udf(maker.numbers("none", Kind::Rows, "f = 1").scalar().unwrap());
        let error = rows(&context, "SELECT picky(x) FROM t").await.unwrap_err();
        let told = CallError::of(&error).unwrap_or_else(|| panic!("{error}"));
        assert_eq!(
            (told.function.as_str(), told.error.reason()),
            ("picky", "UDF_RAISED")
        );
        let text = error.to_string();
        for words in [
            "user function picky",
            "ValueError in row",
            "not 500",
            "mend the function",
        ] {
            assert!(text.contains(words), "{text}");
        }
        // The next query works.
        let query = "SELECT sum(picky(x)) FROM t WHERE x < 500";
        assert_eq!(rows(&context, query).await.unwrap(), [Some(499 * 250)]);
        // It is opened when it is called, and not before.
        let error = rows(&context, "SELECT none(x) FROM t").await.unwrap_err();
        let told = CallError::of(&error).unwrap_or_else(|| panic!("{error}"));
        assert_eq!(told.error.reason(), "UDF_BAD_FUNCTION", "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_without_arguments_is_called_for_each_row() {
    for maker in makers() {
        let none = columns(&[]);
        let one = columns(&[("n", DataType::Int64)]);
        let text = "def answer(): return 42";
        let answer = maker.of(("answer", Kind::Rows, text), (none, one));
        let context = context();
        context.register_udf(answer.scalar().unwrap());
        let query = "SELECT sum(a) FROM (SELECT answer() AS a FROM t)";
        assert_eq!(rows(&context, query).await.unwrap(), [Some(42_000)]);
        assert_eq!(rows(&context, "SELECT answer()").await.unwrap(), [Some(42)]);
    }
}

/// DataFusion reads text of Parquet as views, which do not travel: it converts them.
#[tokio::test(flavor = "multi_thread")]
async fn text_of_a_parquet_file_comes_as_text() {
    for maker in makers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.parquet");
        let path = path.to_str().unwrap();
        let context = SessionContext::new();
        let words = "SELECT * FROM (VALUES ('wörd', 'WÖRD!'), (NULL, NULL), ('', '!'),
            ('a longer one than views have inline', 'A LONGER ONE THAN VIEWS HAVE INLINE!')) AS v(w, n)";
        let written = context.sql(words).await.unwrap();
        let written = written.write_parquet(path, DataFrameWriteOptions::new(), None);
        written.await.unwrap();
        context
            .register_parquet("words", path, Default::default())
            .await
            .unwrap();
        let text = columns(&[("w", DataType::Utf8)]);
        let shout = "def shout(w): return None if w is None else w.upper() + '!'";
        let shout = maker.of(("shout", Kind::Rows, shout), (text.clone(), text));
        context.register_udf(shout.scalar().unwrap());
        let query = "SELECT shout(w), n FROM words";
        let batches = context.sql(query).await.unwrap().collect().await.unwrap();
        let mut seen = 0;
        for batch in batches {
            let found = batch.column(0).as_string::<i32>();
            let native = datafusion::arrow::compute::cast(batch.column(1), &DataType::Utf8);
            assert_eq!(found, native.unwrap().as_string::<i32>());
            seen += found.len();
        }
        assert_eq!(seen, 4);
    }
}
