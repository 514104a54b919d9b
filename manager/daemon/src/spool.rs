//! What a task prints, on its way to whoever reads it.
//!
//! Output is moved from the task's pipe into a file by splice(2): at every moment each
//! byte is either still in the pipe or already in the file, so that a manager that is
//! killed loses none and its successor goes on where it ended. Readers read the file,
//! each at its own pace, at offsets that are the stream's sequence numbers; memory is
//! bounded by nature. The policy's limit on output bounds the file.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::metrics::Output;
use crate::sandbox::lock;

/// Moved at once, bytes: a pipe's usual capacity.
const PIECE: usize = 64 << 10;

/// A task's output stream.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    /// Open from its first byte until the stream is closed: of what ended, nothing but the
    /// path is held, and of what says nothing, nothing at all is made.
    file: Mutex<Option<Arc<File>>>,
    progress: watch::Sender<Progress>,
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes so far.
    pub end: u64,
    /// Nothing will follow.
    pub closed: bool,
}

/// What a task may still print, all its streams together, bytes.
#[derive(Debug)]
pub struct Budget {
    left: AtomicU64,
    spooled: Output,
}

impl Budget {
    /// So much may be printed.
    pub fn new(bytes: u64, spooled: Output) -> Self {
        Self {
            left: AtomicU64::new(bytes),
            spooled,
        }
    }

    /// Takes up to `wanted` of it.
    fn take(&self, wanted: usize) -> usize {
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        let order = Ordering::Relaxed;
        let take = |left: u64| Some(left - left.min(wanted));
        let left = self.left.fetch_update(order, order, take).unwrap_or(0);
        usize::try_from(left.min(wanted)).unwrap_or(0)
    }

    fn give_back(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Some of what was taken was printed.
    fn spend(&self, bytes: usize) {
        self.spooled.spooled(u64::try_from(bytes).unwrap_or(0));
    }
}

/// How the filling of a spool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// Nobody can write to the stream any more.
    ToTheEnd,
    /// The limit was reached, and there was more.
    OverLimit,
}

impl Spool {
    /// A new stream, or the one that another manager left.
    ///
    /// # Errors
    /// Of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let length = file.as_ref().map(|file| file.metadata().map(|m| m.len()));
        let end = length.transpose()?.unwrap_or(0);
        let progress = Progress { end, closed: false };
        Ok(Self {
            path: path.to_path_buf(),
            file: Mutex::new(file.map(Arc::new)),
            progress: watch::Sender::new(progress),
        })
    }

    /// The file of a stream that has said something.
    fn file(&self) -> io::Result<Arc<File>> {
        match &*lock(&self.file) {
            Some(file) => Ok(Arc::clone(file)),
            None => File::open(&self.path).map(Arc::new),
        }
    }

    /// The file, made for the first byte.
    fn make(&self) -> io::Result<Arc<File>> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = Arc::new(options.mode(0o600).open(&self.path)?);
        *lock(&self.file) = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Follows the stream's progress.
    pub fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Nothing will follow: for a stream that has no source any more.
    pub fn close(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
        *lock(&self.file) = None;
    }

    /// Moves everything from `source` until it ends, or, once `over` is true, until
    /// nothing is there: a process of another task may hold the other end for ever.
    ///
    /// # Errors
    /// Of splice(2): a full disk above all.
    pub async fn fill(
        &self,
        source: &AsyncFd<OwnedFd>,
        budget: &Budget,
        over: watch::Receiver<bool>,
    ) -> io::Result<Filled> {
        let filled = self.fill_open(source, budget, over).await;
        self.close();
        filled
    }

    async fn fill_open(
        &self,
        source: &AsyncFd<OwnedFd>,
        budget: &Budget,
        mut over: watch::Receiver<bool>,
    ) -> io::Result<Filled> {
        loop {
            let ended = *over.borrow_and_update();
            let piece = budget.take(PIECE);
            let moved = match piece {
                0 => self.rest(source.get_ref())?,
                piece => self.take(source.get_ref(), piece),
            };
            let printed = moved.unwrap_or(0).min(piece);
            budget.give_back(piece - printed);
            budget.spend(printed);
            match moved {
                Ok(0) | Err(Errno::IO) => return Ok(Filled::ToTheEnd),
                Ok(_) if piece == 0 => return Ok(Filled::OverLimit),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if ended => return Ok(Filled::ToTheEnd),
                Err(Errno::AGAIN) => wait(source, &mut over).await?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Whether there is more than was allowed: bytes, their end, or nothing yet.
    fn rest(&self, source: &OwnedFd) -> io::Result<Result<usize, Errno>> {
        let mut fds = [PollFd::new(source, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now))?;
        let found = fds[0].revents();
        Ok(match (found.contains(PollFlags::IN), found.is_empty()) {
            (true, _) => Ok(1),
            (false, false) => Ok(0),
            (false, true) => Err(Errno::AGAIN),
        })
    }

    /// Moves one piece. EIO is how a terminal says that nobody has its other end.
    fn take(&self, source: &OwnedFd, piece: usize) -> Result<usize, Errno> {
        let mut at = self.progress.borrow().end;
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let open = lock(&self.file).clone();
        let file = match open {
            Some(file) => file,
            // Not for a stream that ends without a byte.
            None if self.rest(source).map_err(errno_of)?? == 0 => return Ok(0),
            None => self.make().map_err(errno_of)?,
        };
        let moved = match rustix::pipe::splice(source, None, &*file, Some(&mut at), piece, flags) {
            // Neither end is a pipe: a terminal. The copy is not atomic, and a manager
            // killed in between loses these bytes of a screen.
            Err(Errno::INVAL) => self.copy(source, &file, piece)?,
            other => other?,
        };
        let grown = u64::try_from(moved).unwrap_or(0);
        self.progress.send_modify(|progress| progress.end += grown);
        Ok(moved)
    }

    fn copy(&self, source: &OwnedFd, file: &File, piece: usize) -> Result<usize, Errno> {
        let mut buffer = vec![0; piece.min(PIECE)];
        let length = rustix::io::read(source.as_fd(), &mut buffer)?;
        let at = self.progress.borrow().end;
        let text = buffer.get(..length).unwrap_or_default();
        file.write_all_at(text, at).map_err(errno_of)?;
        Ok(length)
    }

    /// Reads up to `most` bytes from `offset`; empty where the stream has not come so far.
    ///
    /// # Errors
    /// Of pread(2).
    pub fn read(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let there = self.progress.borrow().end.saturating_sub(offset);
        let mut buffer = vec![0; most.min(usize::try_from(there).unwrap_or(most))];
        if !buffer.is_empty() {
            self.file()?.read_exact_at(&mut buffer, offset)?;
        }
        Ok(buffer)
    }
}

fn errno_of(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Until something can be read, or the task is over.
async fn wait(source: &AsyncFd<OwnedFd>, over: &mut watch::Receiver<bool>) -> io::Result<()> {
    tokio::select! {
        ready = source.readable() => {
            let mut ready = ready?;
            let mut fds = [PollFd::new(source.get_ref(), PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            // Cleared only where nothing has come since, or nobody would wake us.
            if poll(&mut fds, Some(&now))? == 0 {
                ready.clear_ready();
            }
        }
        changed = over.changed() => {
            // The sender lives as long as the task; without it, it is over.
            if changed.is_err() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> Output {
        crate::metrics::Metrics::new().output
    }

    fn pipe() -> (AsyncFd<OwnedFd>, File) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        (
            crate::ready::watch(read, tokio::io::Interest::READABLE).unwrap(),
            File::from(write),
        )
    }

    async fn fill(spool: &Spool, source: &AsyncFd<OwnedFd>, limit: u64) -> Filled {
        let (_alive, over) = watch::channel(false);
        let budget = Budget::new(limit, output());
        spool.fill(source, &budget, over).await.unwrap()
    }

    #[tokio::test]
    async fn an_end_that_a_stranger_holds_open_ends_with_the_task() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(&folder.path().join("out")).unwrap();
        let (source, mut writer) = pipe();
        writer.write_all(b"last words").unwrap();
        let (ended, over) = watch::channel(false);
        ended.send_replace(true);
        let filled = spool
            .fill(&source, &Budget::new(100, output()), over)
            .await
            .unwrap();
        assert_eq!(filled, Filled::ToTheEnd);
        assert_eq!(spool.read(0, 100).unwrap(), b"last words");
    }

    #[tokio::test]
    async fn what_is_written_is_read_at_its_offset() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(&folder.path().join("out")).unwrap();
        let (source, mut writer) = pipe();
        writer.write_all(b"hello, world").unwrap();
        drop(writer);
        let filled = fill(&spool, &source, 1 << 20).await;
        assert_eq!(filled, Filled::ToTheEnd);
        assert_eq!(spool.read(7, 100).unwrap(), b"world");
        assert_eq!(spool.read(12, 100).unwrap(), b"");
        assert!(spool.follow().borrow().closed);
    }

    #[tokio::test]
    async fn the_limit_holds_to_the_byte() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(&folder.path().join("out")).unwrap();
        let (source, mut writer) = pipe();
        writer.write_all(b"0123456789").unwrap();
        let filled = fill(&spool, &source, 4).await;
        assert_eq!(filled, Filled::OverLimit);
        assert_eq!(spool.read(0, 100).unwrap(), b"0123");
    }

    #[tokio::test]
    async fn a_successor_goes_on_where_the_file_ends() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let (source, mut writer) = pipe();
        writer.write_all(b"first ").unwrap();
        let spool = Spool::open(&path).unwrap();
        assert_eq!(spool.take(source.get_ref(), PIECE).unwrap(), 6);
        drop(spool);
        writer.write_all(b"second").unwrap();
        drop(writer);
        let spool = Spool::open(&path).unwrap();
        fill(&spool, &source, 1 << 20).await;
        assert_eq!(spool.read(0, 100).unwrap(), b"first second");
    }
}
