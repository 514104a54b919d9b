//! A sandbox that shall survive its manager: a task counts in it, and whoever keeps it
//! attaches again after every loss and misses no number.

use lakekeep_api::v1::{self, Kind};

use super::talk::Talk;
use super::user::{Refused, User, shell};
use super::watch::launcher_of;
use super::{Manager, began_at};
use crate::fail;

/// Counts on both streams, in bursts, until it is told to stop.
const COUNT: &str = "i=0; while [ ! -e /tmp/stop ]; do j=0; while [ $j -lt 20 ]; do i=$((i+1)); j=$((j+1)); echo $i; echo e$i >&2; done; sleep 0.2; done; echo over $i";

/// One such sandbox.
#[derive(Debug)]
pub struct Kept {
    /// The sandbox.
    pub sandbox: String,
    /// With when it began: numbers are used again.
    launcher: Option<(i32, String)>,
    task: u32,
    stdout: Stream,
    stderr: Stream,
}

/// How a stretch of listening ended.
#[derive(Debug)]
pub enum Heard {
    /// The connection or the manager is gone; the numbers go on elsewhere.
    Cut(Refused),
    /// The task has ended as it should, after this number.
    Over(u64),
    /// The sandbox is gone.
    Lost(String),
}

/// A stream of numbered lines, taken in piece by piece.
#[derive(Debug, Default)]
struct Stream {
    offset: u64,
    last: u64,
    rest: Vec<u8>,
    over: Option<u64>,
}

impl Stream {
    #[track_caller]
    fn take(&mut self, bytes: &mut Vec<u8>, before: &str) {
        self.offset += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.rest.append(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let number = |text: &str| text.parse::<u64>().ok();
            if let Some(count) = line.strip_prefix("over ").and_then(number) {
                self.over = Some(count);
            } else if line.strip_prefix(before).and_then(number) == Some(self.last + 1) {
                self.last += 1;
            } else {
                fail(format_args!("{line:?} after {before}{}", self.last));
            }
        }
    }
}

impl Kept {
    /// Makes one.
    ///
    /// # Errors
    /// As the manager says, with the sandbox if there is one.
    pub fn make(user: &User, kind: Kind) -> Result<Self, (Option<String>, Refused)> {
        let request = v1::CreateRequest {
            kind: kind.into(),
            ..v1::CreateRequest::default()
        };
        let made = user.create(request).map_err(|refused| (None, refused))?;
        let failed = |refused| (Some(made.id.clone()), refused);
        let mut start = shell(&made.id, COUNT);
        start.detach = true;
        let mut talk = user.exec(start).map_err(failed)?;
        while talk.task == 0 {
            if !talk.step().map_err(failed)? {
                fail(format_args!("a task's stream ended before it began"));
            }
        }
        Ok(Self {
            launcher: launcher_of(i32::try_from(made.pid).unwrap_or(0))
                .and_then(|launcher| Some((launcher, began_at(launcher)?))),
            task: talk.task,
            sandbox: made.id,
            stdout: Stream::default(),
            stderr: Stream::default(),
        })
    }

    /// Attaches where it ended and listens until something ends, or `enough` says so.
    pub fn listen(&mut self, user: &User, enough: impl Fn() -> bool) -> Option<Heard> {
        let attach = v1::AttachStart {
            sandbox: self.sandbox.clone(),
            task: self.task,
            stdout_offset: self.stdout.offset,
            stderr_offset: self.stderr.offset,
            ..v1::AttachStart::default()
        };
        let mut talk = match user.attach(attach) {
            Ok(talk) => talk,
            Err(refused) => return Some(self.refused(refused)),
        };
        loop {
            match talk.step() {
                Ok(true) => self.take(&mut talk),
                Ok(false) => return Some(self.ended(talk)),
                Err(refused) => return Some(self.refused(refused)),
            }
            if enough() {
                return None;
            }
        }
    }

    fn take(&mut self, talk: &mut Talk) {
        let (mut stdout, mut stderr) = talk.take_output();
        self.stdout.take(&mut stdout, "");
        self.stderr.take(&mut stderr, "e");
    }

    fn refused(&self, refused: Refused) -> Heard {
        match refused.reason.as_str() {
            "NOT_FOUND" | "ENDED" => Heard::Lost(refused.message),
            _ => Heard::Cut(refused),
        }
    }

    fn ended(&self, talk: Talk) -> Heard {
        let done = match talk.finish() {
            Ok(done) => done,
            Err(refused) => return self.refused(refused),
        };
        match (done.verdict(), self.stdout.over) {
            ("exit", Some(count)) if count == self.stdout.last && count == self.stderr.last => {
                Heard::Over(count)
            }
            _ => Heard::Lost(done.outcome["verdict"].to_string()),
        }
    }

    /// Whether its launcher was killed: the only reason for which it may be lost.
    #[must_use]
    pub fn may_be_lost(&self) -> bool {
        self.launcher
            .as_ref()
            .is_none_or(|(launcher, began)| began_at(*launcher).as_ref() != Some(began))
    }

    /// How far it has counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.stdout.last
    }
}

impl Manager {
    /// Everything that a kill may hit: the manager, and of each launcher the process that
    /// watches and the one that serves.
    #[must_use]
    pub fn targets(&self) -> Vec<i32> {
        let mut all = self.launchers();
        all.extend(self.launcher_servers());
        all
    }
}
