//! Load on a manager: sandboxes made, used and ended, again and again, each answer
//! checked.

use std::time::{Duration, Instant};

use lakekeep_api::v1::{self, Kind};

use super::talk::{Done, Talk};
use super::user::{Refused, User, of, shell};

/// What a cycle's command does, and what must come of it.
#[derive(Debug, Clone)]
pub struct Work {
    script: String,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    code: i32,
    verdict: &'static str,
    kind: Kind,
}

/// How long each part of a cycle took.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Until there was a sandbox.
    pub create: Duration,
    /// From the request to the verdict.
    pub exec: Duration,
    /// Until nothing of it was left.
    pub destroy: Duration,
}

/// Bytes of a long answer: more than a pipe holds.
const LONG: usize = 100_000;

impl Work {
    /// That of one cycle: nearly all print a word of their own, some fail, are killed or
    /// print much; each kind of sandbox has its turn.
    #[must_use]
    pub fn of_cycle(cycle: usize) -> Self {
        let word = format!("cycle-{cycle}");
        let kinds = [Kind::Interactive, Kind::Kernel, Kind::Udf, Kind::Batch];
        let mut work = Self {
            script: format!("echo {word}"),
            stdout: format!("{word}\n").into_bytes(),
            stderr: Vec::new(),
            code: 0,
            verdict: "exit",
            kind: kinds.get(cycle % 4).copied().unwrap_or(Kind::Interactive),
        };
        match cycle % 10 {
            7 => {
                work.script.push_str(" >&2; exit 3");
                work.stderr = std::mem::take(&mut work.stdout);
                work.code = 3;
            }
            8 => {
                work.script.push_str("; kill -USR1 $$");
                work.code = 138;
                work.verdict = "signal";
            }
            9 => {
                work.script = format!("head -c {LONG} /dev/zero | tr '\\0' x");
                work.stdout = vec![b'x'; LONG];
            }
            _ => {}
        }
        work
    }

    /// What to ask for.
    #[must_use]
    pub fn request(&self) -> v1::CreateRequest {
        v1::CreateRequest {
            kind: self.kind.into(),
            ..v1::CreateRequest::default()
        }
    }

    /// The command in its sandbox.
    #[must_use]
    pub fn command(&self, sandbox: &str) -> v1::ExecStart {
        shell(sandbox, &self.script)
    }

    /// What is wrong with how it ended.
    #[must_use]
    pub fn judge(&self, done: &Done) -> Option<String> {
        let same = done.stdout == self.stdout
            && done.stderr == self.stderr
            && done.code == self.code
            && done.verdict() == self.verdict;
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .chars()
                .take(80)
                .collect::<String>()
        };
        (!same).then(|| {
            format!(
                "{}: exit {}, {} bytes {:?}, errors {:?}: {}",
                self.script,
                done.code,
                done.stdout.len(),
                text(&done.stdout),
                text(&done.stderr),
                done.outcome["verdict"]
            )
        })
    }
}

/// Why a cycle went wrong.
#[derive(Debug, Clone)]
pub enum Wrong {
    /// A request was refused.
    Refused(&'static str, Refused),
    /// A command did otherwise.
    Otherwise(String),
}

/// One cycle.
///
/// # Errors
/// What went wrong first.
pub fn cycle(user: &User, number: usize) -> Result<Times, Wrong> {
    let work = Work::of_cycle(number);
    let refused = |what| move |refused| Wrong::Refused(what, refused);
    let begun = Instant::now();
    let sandbox = user.create(work.request()).map_err(refused("create"))?;
    let created = Instant::now();
    let done = user
        .exec(work.command(&sandbox.id))
        .and_then(Talk::finish)
        .map_err(refused("exec"))?;
    let executed = Instant::now();
    let ended = user.kill(of(&sandbox.id)).map_err(refused("kill"))?;
    let destroyed = Instant::now();
    if let Some(wrong) = work.judge(&done) {
        return Err(Wrong::Otherwise(wrong));
    }
    if ended.state() != v1::State::Ended {
        return Err(Wrong::Otherwise(format!("killed, and {:?}", ended.state())));
    }
    Ok(Times {
        create: created - begun,
        exec: executed - created,
        destroy: destroyed - executed,
    })
}

/// Numbers that look random and are the same for the same seed (xorshift64*).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Begins with a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below `sides`.
    pub fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % sides.max(1)
    }
}
