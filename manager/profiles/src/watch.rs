//! Reloading when a file changes.

use std::path::PathBuf;
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
    #[error("starting the thread that reloads profiles: {0}; raise the limit of processes")]
    Thread(std::io::Error),
}

enum Signal {
    Changed,
    Stop,
}

/// Reloads profiles when their folders change; ends when it is dropped.
#[derive(Debug)]
pub struct ProfileWatcher {
    /// `None` once dropped: with it the kernel's watch ends.
    watcher: Option<RecommendedWatcher>,
    stop: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
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
        report: impl FnMut(Result<Diff, Vec<LoadError>>) + Send + 'static,
    ) -> Result<ProfileWatcher, WatchError> {
        let (stop, signals) = channel();
        let changed = stop.clone();
        let refused = |folder: PathBuf| move |source| WatchError::Watch { folder, source };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error (such as an overflow) may hide a change.
            if event.is_err() || event.is_ok_and(|event| is_change(&event)) {
                // The receiver is gone only when the watcher is being dropped.
                changed.send(Signal::Changed).unwrap_or_default();
            }
        })
        .map_err(refused(PathBuf::new()))?;
        for folder in profiles.folders() {
            watcher
                .watch(folder, RecursiveMode::NonRecursive)
                .map_err(refused(folder.to_owned()))?;
        }
        let thread = std::thread::Builder::new()
            .name("profiles".to_owned())
            .spawn(move || run(&profiles, &signals, quiet, report))
            .map_err(WatchError::Thread)?;
        Ok(ProfileWatcher {
            watcher: Some(watcher),
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for ProfileWatcher {
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

fn run(
    profiles: &Profiles,
    signals: &Receiver<Signal>,
    quiet: Duration,
    mut report: impl FnMut(Result<Diff, Vec<LoadError>>),
) {
    while let Ok(Signal::Changed) = signals.recv() {
        if settle(signals, quiet).is_none() {
            return;
        }
        match profiles.reload() {
            Ok(diff) if diff.is_empty() => {}
            result => report(result),
        }
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
