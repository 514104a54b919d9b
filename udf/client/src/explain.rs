//! From what is known of a worker's end to the error that says so.

use crate::UdfError;
use crate::error::Crash;
use crate::link::End;
use crate::told;

/// The error for a function whose worker is gone. `end` is what the broker saw, and is
/// believed before `crash`, the worker's own word.
pub(crate) fn explained(name: &str, end: Option<End>, crash: Option<Crash>, rows: u64) -> UdfError {
    let Some(end) = end else {
        return crashed(crash.unwrap_or_else(|| ended(name, "and nobody could tell how")));
    };
    let verdict = &end.verdict;
    match verdict.kind.as_str() {
        "out_of_memory" => UdfError::OutOfMemory {
            limit: verdict.limit,
            peak: Some(end.memory_peak),
            rows,
        },
        "wall_time" | "cpu_time" => UdfError::TimedOut {
            name: name.to_owned(),
            what: format!("was ended: {}", verdict.explanation),
        },
        "broker" => UdfError::unavailable(&verdict.explanation, &verdict.remedy),
        _ => crashed(crash.unwrap_or_else(|| seen(name, &end))),
    }
}

fn crashed(crash: Crash) -> UdfError {
    UdfError::Crashed(Box::new(crash))
}

fn ended(name: &str, how: &str) -> Crash {
    Crash {
        what: format!("{name} ended, {how}"),
        signal: String::new(),
        library: String::new(),
        stack: String::new(),
        remedy: String::new(),
        output: String::new(),
    }
}

fn seen(name: &str, end: &End) -> Crash {
    let verdict = &end.verdict;
    let signal = verdict.signal.map(signal_name).unwrap_or_default();
    let what = match verdict.kind.as_str() {
        "signal" if !signal.is_empty() => format!("{name} was ended by {signal}"),
        "exit" => format!("{name}'s process exited with code {}", verdict.exit_code),
        kind => format!("{name}'s process ended ({kind})"),
    };
    let what = match verdict.explanation.as_str() {
        "" => what,
        explanation => format!("{what}: {explanation}"),
    };
    Crash {
        what: told::text(&what, 4096),
        signal,
        remedy: verdict.remedy.clone(),
        ..ended(name, "")
    }
}

fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
