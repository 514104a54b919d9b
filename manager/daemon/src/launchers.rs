//! The launchers, each reached by one connection and asked by one thread: a launcher
//! answers one request after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use lakekeep_sandbox::SandboxError;
use lakekeep_sandbox::service::Service;
use tokio::sync::oneshot;

use crate::metrics;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// One launcher.
#[derive(Debug)]
pub struct Launcher {
    index: usize,
    jobs: mpsc::Sender<Job>,
    /// Requests that wait or are being answered.
    pending: AtomicUsize,
    counts: metrics::Launchers,
}

/// All of them.
#[derive(Debug, Clone)]
pub struct Launchers {
    all: Arc<[Arc<Launcher>]>,
}

/// The thread's side: connected when it is first needed, and again after a loss.
#[derive(Debug)]
struct Connection {
    path: PathBuf,
    service: Option<Service>,
    counts: metrics::Launchers,
}

impl Connection {
    /// Asks once. A connection over which something went wrong is not used again:
    /// the supervisor starts another launcher behind the same socket.
    fn ask<T>(
        &mut self,
        work: impl FnOnce(&Service) -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        let service = match self.service.take() {
            Some(service) => service,
            None => {
                let service = Service::connect(&self.path)?;
                self.counts.connected();
                service
            }
        };
        let answer = work(&service);
        let lost = matches!(
            answer,
            Err(SandboxError::LauncherEnded { .. }
                | SandboxError::LauncherSilent { .. }
                | SandboxError::OutOfTurn { .. }
                | SandboxError::Protocol(_))
        );
        match lost {
            false => self.service = Some(service),
            true => self.counts.lost(),
        }
        answer
    }
}

impl Launcher {
    fn start(index: usize, path: PathBuf, counts: metrics::Launchers) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let mut connection = Connection {
            path,
            service: None,
            counts: counts.clone(),
        };
        std::thread::Builder::new()
            .name(format!("launcher-{index}"))
            .spawn(move || {
                for job in queue {
                    job(&mut connection);
                }
            })?;
        Ok(Self {
            index,
            jobs,
            pending: AtomicUsize::new(0),
            counts,
        })
    }

    /// Which of all launchers it is.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Asks the launcher something, `request` in a word, and waits for the answer without
    /// holding a thread of the runtime.
    ///
    /// # Errors
    /// Of the request; `LauncherEnded` when this manager is about to end.
    pub async fn ask<T: Send + 'static>(
        &self,
        request: &'static str,
        work: impl FnOnce(&Service) -> Result<T, SandboxError> + Send + 'static,
    ) -> Result<T, SandboxError> {
        let ended = || SandboxError::LauncherEnded {
            words: String::new(),
        };
        let (answer, waiting) = oneshot::channel();
        let job = Box::new(move |connection: &mut Connection| {
            // Whoever asked may have gone meanwhile; the work was done all the same.
            drop(answer.send(connection.ask(work)));
        });
        let began = Instant::now();
        self.pending.fetch_add(1, Ordering::Relaxed);
        let result = match self.jobs.send(job) {
            Ok(()) => waiting.await.unwrap_or_else(|_| Err(ended())),
            Err(_) => Err(ended()),
        };
        self.pending.fetch_sub(1, Ordering::Relaxed);
        self.counts.asked(request, began.elapsed(), result.is_err());
        result
    }
}

impl Launchers {
    /// One for each socket.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(sockets: Vec<PathBuf>, counts: &metrics::Launchers) -> std::io::Result<Self> {
        let all = sockets.into_iter().enumerate();
        let all =
            all.map(|(index, path)| Launcher::start(index, path, counts.clone()).map(Arc::new));
        Ok(Self {
            all: all.collect::<Result<_, _>>()?,
        })
    }

    /// All, in the order of their sockets.
    pub fn all(&self) -> &[Arc<Launcher>] {
        &self.all
    }

    /// The one with the fewest requests before it.
    pub fn idlest(&self) -> Option<Arc<Launcher>> {
        let pending = |launcher: &&Arc<Launcher>| launcher.pending.load(Ordering::Relaxed);
        self.all.iter().min_by_key(pending).cloned()
    }
}
