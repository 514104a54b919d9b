//! What strace(1) wrote, as a list of calls.

use std::collections::HashMap;
use std::time::Duration;

/// One system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub process: u32,
    pub start: Duration,
    /// When it returned; of a call that does not return, when it began.
    pub end: Duration,
    pub name: String,
    /// Arguments and result, as printed.
    pub rest: String,
}

/// The calls of a run in the order in which they began.
#[derive(Debug, Default)]
pub struct Trace(pub Vec<Call>);

impl Trace {
    /// Reads the output of `strace -f -ttt -o FILE`. Lines that are no calls
    /// (`+++ exited with 0 +++`) are passed over.
    pub fn parse(text: &str) -> Self {
        let mut calls: Vec<Call> = Vec::new();
        let mut unfinished: HashMap<u32, usize> = HashMap::new();
        for (process, time, rest) in text.lines().filter_map(split) {
            if let Some(resumed) = rest.strip_prefix("<... ") {
                if let Some(call) = unfinished
                    .remove(&process)
                    .and_then(|index| calls.get_mut(index))
                {
                    call.end = time;
                    call.rest.push_str(resumed);
                }
            } else if let Some((name, arguments)) = rest.split_once('(') {
                if rest.ends_with("<unfinished ...>") {
                    unfinished.insert(process, calls.len());
                }
                calls.push(Call {
                    process,
                    start: time,
                    end: time,
                    name: name.to_owned(),
                    rest: arguments.to_owned(),
                });
            }
        }
        Self(calls)
    }

    /// The first call of this name whose text has `part`.
    pub fn first(&self, name: &str, part: &str) -> Option<&Call> {
        self.0
            .iter()
            .find(|call| call.name == name && call.rest.contains(part))
    }

    /// The calls of one process.
    pub fn of(&self, process: u32) -> impl DoubleEndedIterator<Item = &Call> {
        self.0.iter().filter(move |call| call.process == process)
    }
}

/// `PID SECONDS.MICROS REST`
fn split(line: &str) -> Option<(u32, Duration, &str)> {
    let (process, line) = line.trim_start().split_once(' ')?;
    let (time, rest) = line.trim_start().split_once(' ')?;
    let (seconds, micros) = time.split_once('.')?;
    let time =
        Duration::from_secs(seconds.parse().ok()?) + Duration::from_micros(micros.parse().ok()?);
    Some((process.parse().ok()?, time, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_interrupted_by_another_is_one() {
        let text = "7 1.000001 waitid(P_PIDFD, 4,  <unfinished ...>\n\
                    8 1.000002 unshare(CLONE_NEWNS) = 0\n\
                    8 1.000003 exit_group(0) = ?\n\
                    8 1.000004 +++ exited with 0 +++\n\
                    7 1.000009 <... waitid resumed>{}, WEXITED, NULL) = 0\n";
        let trace = Trace::parse(text);
        assert_eq!(trace.0.len(), 3);
        let waited = trace.first("waitid", "WEXITED").unwrap();
        assert_eq!(
            (waited.start.subsec_micros(), waited.end.subsec_micros()),
            (1, 9)
        );
        assert_eq!(trace.of(8).count(), 2);
    }
}
