//! The real worker: as a plain process, and in a sandbox where `LAKEKEEP_BIN` names a
//! lakekeep of this source. `LAKEKEEP_TESTS_PYTHON` names a Python with pyarrow and
//! cloudpickle; `/usr/bin/python3` else. Without one these tests are skipped, and say so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod stand;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use lakekeep_udf_client::{
    Broker, Code, Environment, Function, Kind, Options, Session, UdfError, Verdict,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use stand::{Stand, Worker, column, numbers, stand, verdict};

/// What follows `-c`.
const SOURCE: &str = include!("../../worker/source.rs");

fn python() -> Option<PathBuf> {
    let named = std::env::var_os("LAKEKEEP_TESTS_PYTHON");
    let python = PathBuf::from(named.unwrap_or_else(|| "/usr/bin/python3".into()));
    let mut asked = Command::new(&python);
    asked.args(["-c", "import cloudpickle, pyarrow, pandas"]);
    let found = asked.stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    eprintln!(
        "SKIP: {} has no pyarrow; set LAKEKEEP_TESTS_PYTHON",
        python.display()
    );
    None
}

/// Runs the worker until it ends, or is to be killed.
fn process(python: &PathBuf, worker: Worker) -> Verdict {
    let socket = worker.socket.try_clone().unwrap();
    let child = Command::new(python)
        .args(["-c", SOURCE])
        .stdin(worker.socket)
        .stdout(worker.stdout)
        .stderr(worker.stderr)
        .spawn();
    let mut child: Child = child.unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let mut fds = [
        PollFd::new(&pidfd, PollFlags::IN),
        PollFd::new(&socket, PollFlags::empty()),
    ];
    poll(&mut fds, None).unwrap();
    if fds[0].revents().is_empty() {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let mut found = verdict(if status.signal().is_some() {
        "signal"
    } else {
        "exit"
    });
    found.signal = status.signal();
    found.exit_code = status.code().unwrap_or(-1);
    found
}

/// Whoever makes workers here.
struct Maker {
    broker: Broker,
    environment: Environment,
}

/// Runs a test with each maker that this host has.
fn each(test: impl Fn(&Maker)) {
    let Some(python) = python() else {
        return;
    };
    let environment = Environment::of(&python);
    let Stand { broker, folder } = stand(move |worker| process(&python, worker));
    test(&Maker {
        broker,
        environment: environment.clone(),
    });
    drop(folder);
    if let Some(lakekeep) = std::env::var_os("LAKEKEEP_BIN") {
        let broker = Broker::start(PathBuf::from(lakekeep)).unwrap();
        test(&Maker {
            broker,
            environment,
        });
    }
}

impl Maker {
    fn open(&self, kind: Kind, text: &str, options: Options) -> Result<Session, UdfError> {
        self.open_of((kind, text), (column(), column()), options)
    }

    fn open_of(
        &self,
        (kind, text): (Kind, &str),
        (arguments, returns): (SchemaRef, SchemaRef),
        options: Options,
    ) -> Result<Session, UdfError> {
        let function = Function {
            name: "f".to_owned(),
            kind,
            code: Code::Source {
                text: text.to_owned(),
                name: "f".to_owned(),
            },
            arguments,
            returns,
        };
        self.broker.open(&self.environment, &function, options)
    }
}

fn values(batch: &RecordBatch) -> Vec<Option<i64>> {
    let column = batch.column(0).as_any().downcast_ref::<Int64Array>();
    column.unwrap().iter().collect()
}

#[test]
fn the_program_is_the_same_however_it_is_joined() {
    let Some(python) = python() else {
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../worker/joined.py");
    let joined = Command::new(python).arg(script).output().unwrap();
    assert!(joined.status.success(), "{joined:?}");
    assert_eq!(String::from_utf8(joined.stdout).unwrap(), SOURCE);
}

#[test]
fn every_kind_answers_what_it_should() {
    each(|maker| {
        let batch = numbers(vec![1, 2, 3]);
        for (kind, text, expected) in [
            (
                Kind::Scalar,
                "import pyarrow.compute as pc\ndef f(x): return pc.multiply(x, 10)",
                vec![10, 20, 30],
            ),
            (Kind::Pandas, "def f(x): return x + 1", vec![2, 3, 4]),
            (Kind::Rows, "def f(x): return -x", vec![-1, -2, -3]),
            (
                Kind::Aggregate,
                "import pyarrow.compute as pc\ndef f(x): return pc.sum(x)",
                vec![6],
            ),
            (
                Kind::Grouped,
                "def f(group): return group.slice(1)",
                vec![2, 3],
            ),
        ] {
            let mut session = maker.open(kind, text, Options::default()).unwrap();
            let expected: Vec<_> = expected.into_iter().map(Some).collect();
            assert_eq!(values(&session.call(&batch).unwrap()), expected, "{kind:?}");
            assert!(session.alive());
        }
    });
}

#[test]
fn streams_and_tables_answer_at_any_time() {
    each(|maker| {
        let text = "def f(batches):\n  for batch in batches:\n    if batch.num_rows > 2:\n      yield batch.slice(2)";
        let mut session = maker.open(Kind::Batches, text, Options::default()).unwrap();
        for _ in 0..2 {
            let input = [
                numbers(vec![1, 2]),
                numbers(vec![1, 2, 3]),
                numbers(vec![4, 5, 6, 7]),
            ];
            let answers: Vec<_> = session.stream(input.map(Ok)).map(Result::unwrap).collect();
            let found: Vec<_> = answers.iter().map(values).collect();
            assert_eq!(found, [vec![Some(3)], vec![Some(6), Some(7)]]);
        }
        let text = "def f(n):\n  for i in range(n): yield (i,)";
        let mut session = maker.open(Kind::Table, text, Options::default()).unwrap();
        let answers: Vec<_> = session
            .stream([Ok(numbers(vec![3]))])
            .map(Result::unwrap)
            .collect();
        let found: Vec<_> = answers.iter().flat_map(values).collect();
        assert_eq!(found, [Some(0), Some(1), Some(2)]);
    });
}

#[test]
fn an_exception_shows_the_users_lines_and_the_session_goes_on() {
    each(|maker| {
        let text = "import sys\n\ndef inner(x):\n    print('about to fail')\n    return 1 // x\n\ndef f(x):\n    return inner(x)\n";
        let mut session = maker.open(Kind::Rows, text, Options::default()).unwrap();
        for _ in 0..2 {
            let error = session.call(&numbers(vec![1, 0])).unwrap_err();
            let UdfError::Raised(raised) = error else {
                panic!("{error}");
            };
            assert_eq!(
                (raised.kind.as_str(), raised.row),
                ("ZeroDivisionError", Some(1))
            );
            let shown = &raised.traceback;
            assert!(
                shown.contains("File \"user_function.py\", line 5, in inner\n    return 1 // x"),
                "{shown}"
            );
            assert!(!shown.contains("<string>"), "{shown}");
        }
        assert_eq!(values(&session.call(&numbers(vec![1])).unwrap()), [Some(1)]);
        assert!(session.output().contains("about to fail"));
        let text = "def f(batches):\n  next(batches)\n  raise KeyError('early')\n  yield";
        let mut session = maker.open(Kind::Batches, text, Options::default()).unwrap();
        for _ in 0..2 {
            let input = (0..50).map(|_| Ok(numbers(vec![1; 50_000])));
            let error = session.stream(input).find_map(Result::err).unwrap();
            assert!(matches!(error, UdfError::Raised(_)), "{error}");
        }
    });
}

#[test]
fn what_is_no_function_is_refused_at_its_opening() {
    each(|maker| {
        for (text, words) in [
            ("def g(x): ...", "no function 'f'"),
            ("f = 7", "no function 'f'"),
            ("def f(x)", "SyntaxError"),
            ("import no_such_module", "no_such_module"),
        ] {
            let error = maker
                .open(Kind::Rows, text, Options::default())
                .unwrap_err();
            assert!(matches!(error, UdfError::BadFunction(_)), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    });
}

#[test]
fn an_answer_of_another_type_is_refused_and_the_session_goes_on() {
    each(|maker| {
        let text = "def f(x): return 'text' if x else 7";
        let mut session = maker.open(Kind::Rows, text, Options::default()).unwrap();
        let error = session.call(&numbers(vec![1])).unwrap_err();
        assert!(
            matches!(
                error,
                UdfError::Refused {
                    by_worker: true,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(values(&session.call(&numbers(vec![0])).unwrap()), [Some(7)]);
    });
}

#[test]
fn ends_are_explained_and_the_next_session_works() {
    each(|maker| {
        let options = Options {
            call_timeout: Some(Duration::from_secs(2)),
            ..Options::default()
        };
        let asleep = "import time\ndef f(x): time.sleep(600)";
        let mut session = maker.open(Kind::Rows, asleep, options).unwrap();
        let error = session.call(&numbers(vec![1])).unwrap_err();
        assert!(error.to_string().contains("within 2s"), "{error}");
        assert!(matches!(error, UdfError::TimedOut { .. }));
        // By tgkill(2), as abort does: the preset has no kill(2).
        let killed = "import signal\ndef f(x): signal.raise_signal(signal.SIGKILL)";
        let mut session = maker.open(Kind::Rows, killed, Options::default()).unwrap();
        let error = session.call(&numbers(vec![1])).unwrap_err();
        let UdfError::Crashed(crash) = &error else {
            panic!("{error}");
        };
        assert_eq!(crash.signal, "SIGKILL", "{error}");
        let crashes = "import ctypes\ndef f(x): ctypes.string_at(8)";
        let mut session = maker.open(Kind::Rows, crashes, Options::default()).unwrap();
        let error = session.call(&numbers(vec![1])).unwrap_err();
        let UdfError::Crashed(crash) = &error else {
            panic!("{error}");
        };
        assert_eq!(crash.signal, "SIGSEGV", "{error}");
        assert!(
            crash.stack.contains("user_function.py\", line 2"),
            "{crash:?}"
        );
        let session = maker
            .open(Kind::Rows, "def f(x): return x", Options::default())
            .unwrap();
        assert_eq!(session.end().unwrap().verdict.kind, "exit");
    });
}

#[test]
fn a_pickle_is_opened_by_the_worker_alone() {
    each(|maker| {
        let text = "import cloudpickle, sys\n\
            sys.stdout.buffer.write(cloudpickle.dumps(lambda x: (x, print('here'))[0]))";
        let mut pickler = Command::new(&maker.environment.interpreter);
        let pickled = pickler.args(["-c", text]).output().unwrap();
        assert!(pickled.status.success(), "{pickled:?}");
        let function = Function {
            code: Code::Pickled(pickled.stdout),
            ..stand::function(Kind::Scalar)
        };
        let mut session = maker
            .broker
            .open(&maker.environment, &function, Options::default())
            .unwrap();
        for rows in [1, 100_000] {
            let batch = numbers((0..rows).collect());
            assert_eq!(session.call(&batch).unwrap().column(0), batch.column(0));
        }
        assert_eq!(session.output(), "here\nhere\n");
        let end = session.end().unwrap();
        assert_eq!(end.verdict.kind, "exit", "{end:?}");
    });
}

#[test]
fn text_and_large_batches_come_back_as_they_were() {
    each(|maker| {
        let field = |name| Field::new(name, DataType::Utf8, true);
        let given: SchemaRef = Schema::new(vec![field("word")]).into();
        let words: Vec<Option<String>> = (0..200_000)
            .map(|number| (number % 7 != 0).then(|| format!("wörd {number}")))
            .collect();
        let words: ArrayRef = Arc::new(StringArray::from(words));
        let batch = RecordBatch::try_new(given.clone(), vec![words.clone()]).unwrap();
        let same = "def f(x): return x";
        let returns = given.clone();
        let mut session = maker
            .open_of((Kind::Scalar, same), (given, returns), Options::default())
            .unwrap();
        // Another slice of it has other offsets.
        for part in [
            batch.slice(0, 200_000),
            batch.slice(3, 70_001),
            batch.slice(9, 0),
        ] {
            let found = session.call(&part).unwrap();
            assert_eq!(found.column(0), part.column(0));
            assert_eq!(found.column(0).null_count(), part.column(0).null_count());
        }
    });
}
