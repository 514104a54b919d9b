//! Reloading when a file changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::profiles::Profiles;
use crate::set::{Diff, LoadError};

/// Changes that go on for this many times the quiet span are not waited for any
/// longer.
const MOST_QUIET_SPANS: u32 = 20;

/// Watching could not begin.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kernel refused.
    #[error("watching {}: {source}; reload explicitly, or raise fs.inotify.max_user_watches", .folder.display())]
    Watch {
        /// The folder; empty if none could be watched.
        folder: PathBuf,
        /// Why.
        source: notify::Error,
    },
    /// No thread could be started.
    #[error("starting the thread that reloads what changed: {0}; raise the limit of processes")]
    Thread(std::io::Error),
}

enum Signal {
    Changed,
    Stop,
}

/// Does something when what is in folders changes; ends when it is dropped.
#[derive(Debug)]
pub struct FolderWatcher {
    /// `None` once dropped: with it the kernel's watch ends.
    watcher: Option<RecommendedWatcher>,
    stop: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

/// Reloads profiles when their folders change; ends when it is dropped.
#[derive(Debug)]
pub struct ProfileWatcher {
    /// It watches while it is there.
    _folders: FolderWatcher,
}

impl ProfileWatcher {
    /// Watches the folders of `profiles`. When they have been `quiet` for that
    /// long after a change, they are read again, and `report` hears what
    /// changed, or why the old set stays; it does not hear of reloads that
    /// changed nothing.
    ///
    /// A folder that is replaced by another is not seen any more: reload
    /// explicitly then, and start a new watcher.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub fn start(
        profiles: Arc<Profiles>,
        quiet: Duration,
        mut report: impl FnMut(Result<Diff, Vec<LoadError>>) + Send + 'static,
    ) -> Result<ProfileWatcher, WatchError> {
        let folders: Vec<PathBuf> = profiles.folders().map(Path::to_owned).collect();
        let reload = move || match profiles.reload() {
            Ok(diff) if diff.is_empty() => {}
            result => report(result),
        };
        let folders = FolderWatcher::start(&folders, ("profiles", quiet), reload)?;
        Ok(ProfileWatcher { _folders: folders })
    }
}

impl FolderWatcher {
    /// Watches what is directly in these folders, on a thread of this name. When they have been
    /// quiet for that long after a change, `changed` is called: once for many of them, and also
    /// for those that are of no interest.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub fn start(
        folders: &[PathBuf],
        (name, quiet): (&str, Duration),
        changed: impl FnMut() + Send + 'static,
    ) -> Result<FolderWatcher, WatchError> {
        let (stop, signals) = channel();
        let tell = stop.clone();
        let refused = |folder: PathBuf| move |source| WatchError::Watch { folder, source };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error (such as an overflow) may hide a change.
            if event.is_err() || event.is_ok_and(|event| is_change(&event)) {
                // The receiver is gone only when the watcher is being dropped.
                tell.send(Signal::Changed).unwrap_or_default();
            }
        })
        .map_err(refused(PathBuf::new()))?;
        for folder in folders {
            watcher
                .watch(folder, RecursiveMode::NonRecursive)
                .map_err(refused(folder.clone()))?;
        }
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&signals, quiet, changed))
            .map_err(WatchError::Thread)?;
        Ok(FolderWatcher {
            watcher: Some(watcher),
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for FolderWatcher {
    fn drop(&mut self) {
        self.watcher = None;
        // The thread is gone already if its report panicked.
        self.stop.send(Signal::Stop).unwrap_or_default();
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the thread itself.
            thread.join().unwrap_or_default();
        }
    }
}

/// Reading the files is an event too, and must not lead to reading them.
fn is_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

fn run(signals: &Receiver<Signal>, quiet: Duration, mut changed: impl FnMut()) {
    while let Ok(Signal::Changed) = signals.recv() {
        if settle(signals, quiet).is_none() {
            return;
        }
        changed();
    }
}

/// Waits until nothing has changed for `quiet`; `None` to stop.
fn settle(signals: &Receiver<Signal>, quiet: Duration) -> Option<()> {
    let latest = Instant::now() + quiet.saturating_mul(MOST_QUIET_SPANS);
    loop {
        let left = latest.saturating_duration_since(Instant::now());
        match signals.recv_timeout(quiet.min(left)) {
            Ok(Signal::Changed) if !left.is_zero() => {}
            Ok(Signal::Changed) | Err(RecvTimeoutError::Timeout) => return Some(()),
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}
