//! A task, as its manager keeps it: streams, limits, end.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use lakekeep_plan::Plan;
use lakekeep_protocol::facts::TaskFacts;
use lakekeep_protocol::launch::Created;
use lakekeep_sandbox::{Interference, Receipt, SandboxError, service};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch as state};

use crate::admission::Permit;
use crate::metrics::Output;
use crate::ready::watch;
use crate::sandbox::{Asked, lock};
use crate::spool::{Budget, Filled, Spool};

/// A started task.
#[derive(Debug)]
pub struct Task {
    /// Its number in its sandbox, from 1.
    pub number: u32,
    /// What is written down of it.
    pub record: Record,
    /// What it prints. With a terminal, all of it.
    pub stdout: Arc<Spool>,
    /// Its errors; closed and empty with a terminal.
    pub stderr: Arc<Spool>,
    /// Its input, while somebody can still write to it.
    input: tokio::sync::Mutex<Option<Input>>,
    /// Bytes of input that it was given.
    accepted: state::Sender<u64>,
    /// Where that number is written down for a later manager, while it can grow.
    counted: Mutex<Option<Counter>>,
    /// Its terminal.
    controller: Option<Arc<AsyncFd<OwnedFd>>>,
    interference: Mutex<Interference>,
    /// All its processes are gone.
    over: state::Sender<bool>,
    /// And its outcome is known.
    ended: state::Sender<Option<Arc<Ended>>>,
    /// Callers that follow it.
    followers: state::Sender<usize>,
    place: Mutex<Place>,
}

/// A task's place in the quotas.
#[derive(Debug, Default)]
struct Place {
    /// While it runs, where something counts it.
    permit: Option<Permit>,
    /// It has ended.
    over: bool,
}

/// What a successor has to know of a task. Holds no variable and no secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// What it was started by, without its environment.
    pub plan: Plan,
    /// As read back.
    pub facts: TaskFacts,
    /// When it started.
    pub started: SystemTime,
    /// It goes on when its caller goes away.
    pub detached: bool,
    /// How long it waits for its caller else.
    pub linger: Duration,
    /// The engine's name for its query.
    pub query: String,
    /// The word under which its caller may ask for it again.
    #[serde(default)]
    pub asked: Option<Asked>,
}

impl Record {
    /// The program's name.
    pub fn program(&self) -> String {
        let first = self.plan.task.arguments.first();
        let name = first.map(|name| String::from_utf8_lossy(name).into_owned());
        name.unwrap_or_default()
    }
}

/// The end of a task.
#[derive(Debug, Clone)]
pub struct Ended {
    /// As `lakekeep run` exits.
    pub exit_code: i32,
    /// Verdict, receipt and usage: JSON.
    pub outcome: String,
    /// The verdict alone: JSON.
    pub verdict: String,
    /// The receipt alone: JSON.
    pub receipt: String,
    /// When.
    pub at: SystemTime,
}

/// Where input goes.
#[derive(Debug)]
enum Input {
    Pipe(AsyncFd<OwnedFd>),
    Terminal(Arc<AsyncFd<OwnedFd>>),
}

/// Our ends of a task's streams.
#[derive(Debug)]
pub enum Streams {
    /// Input, output, errors.
    Pipes {
        /// Where its input is written; `None`: it has none any more.
        input: Option<OwnedFd>,
        /// Where its output is read.
        output: OwnedFd,
        /// Where its errors are read.
        errors: OwnedFd,
    },
    /// Its terminal's controller.
    Terminal(OwnedFd),
}

/// A number in a file, which is made with the first count.
#[derive(Debug)]
struct Counter {
    path: PathBuf,
    file: Option<File>,
}

impl Counter {
    fn write(&mut self, number: u64) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let mut options = File::options();
                options.write(true).create(true).truncate(false).mode(0o600);
                none.insert(options.open(&self.path)?)
            }
        };
        file.write_all_at(&number.to_le_bytes(), 0)
    }
}

/// Where a task's files are.
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
    number: u32,
}

impl Files {
    /// Of task `number` in the sandbox's folder.
    pub fn new(folder: &Path, number: u32) -> Self {
        Self {
            folder: folder.to_path_buf(),
            number,
        }
    }

    /// The numbers of all tasks that have files in a sandbox's folder.
    pub fn numbers(folder: &Path) -> BTreeSet<u32> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.split_once('.')?.0.parse().ok()
        });
        numbers.collect()
    }

    /// The task's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    fn path(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{}.{what}", self.number))
    }

    /// Opens its spools.
    ///
    /// # Errors
    /// Of open(2).
    pub fn spools(&self) -> std::io::Result<(Arc<Spool>, Arc<Spool>)> {
        let out = Spool::open(&self.path("out"))?;
        let errors = Spool::open(&self.path("err"))?;
        Ok((Arc::new(out), Arc::new(errors)))
    }

    fn counter(&self) -> Counter {
        Counter {
            path: self.path("in"),
            file: None,
        }
    }

    /// Bytes of input that were given so far; none of a new task.
    fn read_count(&self) -> u64 {
        let bytes = std::fs::read(self.path("in")).unwrap_or_default();
        bytes.try_into().map_or(0, u64::from_le_bytes)
    }

    /// Writes the record down, whole or not at all.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write_record(&self, record: &Record) -> std::io::Result<()> {
        crate::files::replace(&self.path("task"), &serde_json::to_vec(record)?)
    }

    /// Reads it again.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn read_record(&self) -> std::io::Result<Record> {
        Ok(serde_json::from_slice(&std::fs::read(self.path("task"))?)?)
    }
}

impl Task {
    /// Takes up a started task's streams.
    ///
    /// # Errors
    /// When a descriptor cannot be waited for.
    pub fn new(
        number: u32,
        record: Record,
        streams: Streams,
        files: &Files,
    ) -> std::io::Result<(Arc<Self>, Sources)> {
        let (stdout, stderr) = files.spools()?;
        let (input, controller, sources) = match streams {
            Streams::Pipes {
                input,
                output,
                errors,
            } => {
                let input = input.map(|fd| nonblocking(fd, Interest::WRITABLE));
                let input = input.transpose()?.map(Input::Pipe);
                let sources = Sources {
                    output: Arc::new(watch(output, Interest::READABLE)?),
                    errors: Some(watch(errors, Interest::READABLE)?),
                };
                (input, None, sources)
            }
            Streams::Terminal(controller) => {
                let both = Interest::READABLE | Interest::WRITABLE;
                let controller = Arc::new(nonblocking(controller, both)?);
                let sources = Sources {
                    output: Arc::clone(&controller),
                    errors: None,
                };
                stderr.close();
                let input = Input::Terminal(Arc::clone(&controller));
                (Some(input), Some(controller), sources)
            }
        };
        let task = Self {
            number,
            record,
            stdout,
            stderr,
            input: tokio::sync::Mutex::new(input),
            accepted: state::Sender::new(files.read_count()),
            counted: Mutex::new(Some(files.counter())),
            controller,
            interference: Mutex::new(Interference::default()),
            over: state::Sender::new(false),
            ended: state::Sender::new(None),
            followers: state::Sender::new(0),
            place: Mutex::default(),
        };
        Ok((Arc::new(task), sources))
    }

    /// Whether it has a terminal.
    pub fn is_tty(&self) -> bool {
        self.record.plan.task.terminal.is_some()
    }

    /// What is enforced for it.
    ///
    /// # Errors
    /// When this process's own namespaces cannot be read.
    pub fn receipt(&self, created: &Created) -> Result<Receipt, SandboxError> {
        service::receipt_of(&self.record.plan, created, Some(&self.record.facts))
    }

    /// The program's name.
    pub fn program(&self) -> String {
        self.record.program()
    }

    /// Carries its output into the spools until it ends. Tells when it prints more than
    /// it may: one stream does not wait for the other's end to say so.
    ///
    /// # Errors
    /// Of the spools: the task can then not go on.
    pub async fn carry(
        &self,
        sources: Sources,
        over_limit: &Notify,
        spooled: &Output,
    ) -> std::io::Result<()> {
        let budget = Budget::new(self.record.plan.output, spooled.clone());
        let fill = async |spool: &Spool, source| {
            let filled = spool.fill(source, &budget, self.over.subscribe()).await?;
            if filled == Filled::OverLimit {
                over_limit.notify_one();
            }
            Ok::<(), std::io::Error>(())
        };
        let errors = async {
            match &sources.errors {
                Some(errors) => fill(&self.stderr, errors).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(fill(&self.stdout, &sources.output), errors)?;
        Ok(())
    }

    /// Follows how many bytes of input it was given.
    pub fn accepted(&self) -> state::Receiver<u64> {
        self.accepted.subscribe()
    }

    /// Gives it input that begins at `offset` of its stream. What it has already is
    /// passed over; input after a gap is refused.
    ///
    /// # Errors
    /// `InvalidInput` for a gap.
    pub async fn give(&self, offset: u64, bytes: &[u8]) -> std::io::Result<u64> {
        let input = self.input.lock().await;
        let so_far = *self.accepted.borrow();
        let known = so_far
            .checked_sub(offset)
            .and_then(|known| usize::try_from(known).ok())
            .ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut rest = bytes.get(known..).unwrap_or_default();
        while !rest.is_empty() {
            let written = match input.as_ref() {
                Some(input) => match input.write(rest).await {
                    // It reads no more: that is its right, and costs the caller nothing.
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => rest.len(),
                    written => written?,
                },
                None => rest.len(),
            };
            rest = rest.get(written..).unwrap_or_default();
            self.count(u64::try_from(written).unwrap_or(0))?;
        }
        Ok(*self.accepted.borrow())
    }

    /// Counts input that was given. A manager that dies between giving and counting
    /// makes its successor ask for the last piece once more.
    fn count(&self, bytes: u64) -> std::io::Result<()> {
        let so_far = *self.accepted.borrow() + bytes;
        if let Some(counted) = &mut *lock(&self.counted) {
            counted.write(so_far)?;
        }
        self.accepted.send_replace(so_far);
        Ok(())
    }

    /// Its input ends here; `true`: it had not before. A terminal's does not end so:
    /// there the end is a character.
    pub async fn end_input(&self) -> bool {
        let mut input = self.input.lock().await;
        let open = matches!(*input, Some(Input::Pipe(_)));
        if open {
            *input = None;
        }
        open
    }

    /// Sets its terminal's size.
    ///
    /// # Errors
    /// Of `TIOCSWINSZ`; `NotFound` without a terminal.
    pub fn resize(&self, rows: u16, columns: u16) -> std::io::Result<()> {
        let controller = self
            .controller
            .as_ref()
            .ok_or(std::io::ErrorKind::NotFound)?;
        lakekeep_sys::pty::resize(controller.get_ref(), rows, columns)?;
        Ok(())
    }

    /// What its manager did to it.
    pub fn interference(&self) -> Interference {
        *lock(&self.interference)
    }

    /// Notes what its manager does to it, before it does.
    pub fn interfere(&self, change: impl FnOnce(&mut Interference)) {
        change(&mut lock(&self.interference));
    }

    /// All its processes are gone: its streams end with what is in them.
    pub fn over(&self) {
        self.over.send_replace(true);
    }

    /// Its outcome is known.
    pub fn end(&self, ended: Ended) {
        self.over();
        // Before anybody hears of it: who then asks for the next finds its place free.
        let mut place = lock(&self.place);
        place.over = true;
        drop(place.permit.take());
        drop(place);
        *lock(&self.counted) = None;
        self.ended.send_replace(Some(Arc::new(ended)));
    }

    /// Keeps its place in the quotas until its end.
    pub fn hold(&self, permit: Permit) {
        let mut place = lock(&self.place);
        if !place.over {
            place.permit = Some(permit);
        }
    }

    /// Its end, if it has come.
    pub fn ended(&self) -> Option<Arc<Ended>> {
        self.ended.borrow().clone()
    }

    /// Waits for its end.
    pub async fn wait(&self) -> Arc<Ended> {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(found) = ended.borrow_and_update().clone() {
                return found;
            }
            if ended.changed().await.is_err() {
                // The sender is a field of this very task.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until both streams are closed.
    pub async fn drained(&self) {
        for spool in [&self.stdout, &self.stderr] {
            let mut progress = spool.follow();
            if progress.wait_for(|progress| progress.closed).await.is_err() {
                return;
            }
        }
    }

    /// Counts a caller that follows it, until it is dropped.
    pub fn follow(self: &Arc<Self>) -> Follower {
        self.followers.send_modify(|count| *count += 1);
        Follower(Arc::clone(self))
    }

    /// Waits until nobody has followed it for as long as it lingers.
    pub async fn abandoned(&self) {
        let mut followers = self.followers.subscribe();
        loop {
            if followers.wait_for(|count| *count == 0).await.is_err() {
                return;
            }
            let came_back = followers.wait_for(|count| *count > 0);
            if tokio::time::timeout(self.record.linger, came_back)
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// A caller that follows a task.
#[derive(Debug)]
pub struct Follower(Arc<Task>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.followers.send_modify(|count| *count -= 1);
    }
}

/// Where a task's output comes from.
#[derive(Debug)]
pub struct Sources {
    output: Arc<AsyncFd<OwnedFd>>,
    errors: Option<AsyncFd<OwnedFd>>,
}

impl Input {
    async fn write(&self, bytes: &[u8]) -> std::io::Result<usize> {
        let fd = match self {
            Self::Pipe(fd) => fd,
            Self::Terminal(fd) => fd.as_ref(),
        };
        loop {
            let mut ready = fd.writable().await?;
            let write = |fd: &AsyncFd<OwnedFd>| Ok(rustix::io::write(fd.get_ref(), bytes)?);
            match ready.try_io(write) {
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => {}
                Ok(written) => return written,
                // Full meanwhile.
                Err(_) => {}
            }
        }
    }
}

/// Only our end: the task's is another open file description.
fn nonblocking(fd: OwnedFd, interest: Interest) -> std::io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    watch(fd, interest)
}
