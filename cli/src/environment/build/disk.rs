//! The disk under a build: packages are strangers', and what a small one unpacks to is for it to
//! choose. A step that leaves less room than others were promised is ended.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use lakekeep_policy::Bytes;
use rustix::pipe::PipeFlags;

/// Between two looks. A disk that takes 5 GB a second loses half of the usual gigabyte in it.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks at the disks of folders while a step runs.
#[derive(Debug)]
pub struct Watch {
    over: mpsc::Sender<()>,
    thread: JoinHandle<Option<Full>>,
}

/// Less was left than was to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Full {
    folder: PathBuf,
    left: u64,
    kept: Bytes,
}

impl Watch {
    /// Looks from now on. The descriptor becomes readable (its pipe ends) when one of the disks has
    /// less than `kept` bytes left, and when the watch is over.
    ///
    /// # Errors
    /// Of pipe2(2).
    pub fn begin(folders: Vec<PathBuf>, kept: Bytes) -> rustix::io::Result<(Self, OwnedFd)> {
        let (full, tells) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (over, is_over) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let found = loop {
                if let Some(found) = look(&folders, kept) {
                    break Some(found);
                }
                match is_over.recv_timeout(PAUSE) {
                    Err(RecvTimeoutError::Timeout) => {}
                    // A last look: it may have been quicker than we.
                    _ => break look(&folders, kept),
                }
            };
            drop(tells);
            found
        });
        Ok((Self { over, thread }, full))
    }

    /// The step has ended; tells whether it left too little.
    ///
    /// # Errors
    /// When nobody looked.
    pub fn end(self) -> std::io::Result<Option<Full>> {
        // An error: it has told already.
        drop(self.over.send(()));
        let failed = |_| std::io::Error::other("the thread that looked at the disk failed");
        self.thread.join().map_err(failed)
    }
}

impl Full {
    /// Why the step was ended, and what to do.
    pub fn explain(&self) -> String {
        format!(
            "the disk of {} has {} bytes left, less than the {} that are kept for others: what these packages unpack to is too \
             much for it, or it was full before; look at the list, make room, or keep less with --keep-free",
            self.folder.display(),
            self.left,
            self.kept
        )
    }
}

/// The first disk with too little. One that cannot be asked stops no build: its writer is told.
fn look(folders: &[PathBuf], kept: Bytes) -> Option<Full> {
    folders.iter().find_map(|folder| {
        let left = left(folder)?;
        (left < kept.get()).then(|| Full {
            folder: folder.clone(),
            left,
            kept,
        })
    })
}

/// Bytes that an ordinary user may still write there (statvfs(3)).
fn left(folder: &Path) -> Option<u64> {
    let told = rustix::fs::statvfs(folder).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_too_little_is_told_at_once() {
        let folders = vec![PathBuf::from("/proc/self"), std::env::temp_dir()];
        let (watch, full) = Watch::begin(folders, Bytes(u64::MAX)).unwrap();
        let mut end = [0];
        assert_eq!(rustix::io::read(&full, &mut end), Ok(0));
        let found = watch.end().unwrap().unwrap();
        assert!(found.explain().contains("--keep-free"));
    }

    #[test]
    fn a_disk_with_room_is_not() {
        let (watch, _full) = Watch::begin(vec![std::env::temp_dir()], Bytes(0)).unwrap();
        assert_eq!(watch.end().unwrap(), None);
    }
}
