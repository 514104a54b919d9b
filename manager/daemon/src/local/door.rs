//! The socket at which the relay connects, for one sandbox after the other.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lakekeep_egress_rules::FixedAddresses;
use lakekeep_protocol::preamble::{HEADER, Preamble, PreambleError};
use lakekeep_protocol::relay::SERVICES_SOCKET;
use rustix::fs::{CWD, Mode, OFlags, openat};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{LocalService, Offer, all, served};
use crate::metrics::LocalServices;
use crate::places::{Bounds, Full, Places};
use crate::registry::Registry;
use crate::sandbox::Phase;
use crate::server::ManagerError;

/// The folder that the relay gets, in the one that it cannot pass.
const INNER: &str = "relay";

/// Whom root's relay becomes.
const NOBODY: u32 = 65_534;

/// Connections at a time; of one sandbox no more, or it would keep the others out.
const OPEN: Bounds = Bounds { all: 512, one: 16 };

/// Connections above these that are told so at a time, and how long that may take; the others are
/// closed.
const TOLD: Bounds = Bounds { all: 64, one: 4 };
const TELLING: Duration = Duration::from_secs(2);

/// Connections of which it is not known yet whose they are: the relay says it at once.
const NEW: usize = 64;

/// How long the relay may take to say it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection ends after so long, whoever holds it: a place is soon free again.
const LONGEST: Duration = Duration::from_secs(300);

/// How long to wait where no connection can be taken now.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a connection is not answered.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error("the user {0} is not the relay's; only the relay speaks for sandboxes")]
    Stranger(u32),
    #[error("the relay did not say whose it is within {PATIENCE:?}")]
    Late,
    #[error("it ended before it was said whose it is")]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Preamble(#[from] PreambleError),
    #[error("there is no sandbox {0} of which something may leave")]
    Sandbox(String),
    #[error("there is no service {0}; install lakekeep's binaries together")]
    Service(String),
    #[error(transparent)]
    Full(#[from] Full),
}

impl Unanswered {
    /// The word for it, in metrics; none of what is counted otherwise.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Stranger(_) => Some("stranger"),
            Self::Late => Some("silent"),
            Self::Socket(_) => Some("cut"),
            Self::Preamble(_) => Some("preamble"),
            Self::Sandbox(_) => Some("sandbox"),
            Self::Service(_) => Some("service"),
            Self::Full(_) => None,
        }
    }
}

/// The socket, and who answers.
#[derive(Debug)]
pub struct Local {
    listener: UnixListener,
    inner: PathBuf,
    services: Vec<Arc<dyn LocalService>>,
    fixed: FixedAddresses,
}

impl Local {
    /// Listens in this folder, which is the manager's account's alone; what an earlier manager
    /// left there is replaced. Nobody is answered before [`Local::serve`].
    ///
    /// `fixed` are the addresses that services have inside as their own.
    ///
    /// # Errors
    /// For a folder that cannot be written.
    pub fn open(folder: &Path, fixed: &FixedAddresses) -> io::Result<Self> {
        let inner = folder.join(INNER);
        // It stays from one manager to the next: the relay has a descriptor of it.
        unless(
            io::ErrorKind::AlreadyExists,
            DirBuilder::new().create(&inner),
        )?;
        let path = inner.join(SERVICES_SOCKET);
        unless(io::ErrorKind::NotFound, std::fs::remove_file(&path))?;
        let listener = UnixListener::bind(&path)?;
        // The relay is somebody else; the outer folder keeps everybody else away.
        std::fs::set_permissions(&inner, Permissions::from_mode(0o711))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(Self {
            listener,
            inner,
            services: all(fixed),
            fixed: fixed.clone(),
        })
    }

    /// What a relay is told.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub fn offer(&self) -> Result<Offer, ManagerError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(CWD, &self.inner, flags, Mode::empty());
        let failed = ManagerError::start("open the folder of services");
        Ok(Offer {
            services: served(&self.services),
            folder: folder.map_err(|errno| failed(&errno))?,
        })
    }

    /// The addresses that services have inside as their own.
    pub fn fixed(&self) -> FixedAddresses {
        self.fixed.clone()
    }

    /// Answers for the sandboxes of this registry.
    pub fn serve(self, registry: &Arc<Registry>, metrics: LocalServices) -> JoinHandle<()> {
        let desk = Arc::new(Desk {
            registry: Arc::clone(registry),
            services: self.services,
            places: Places::new(OPEN),
            told: Places::new(TOLD),
            metrics,
        });
        let (listener, new) = (self.listener, Arc::new(Semaphore::new(NEW)));
        tokio::spawn(async move {
            loop {
                // `Err` would mean that it is closed, which nobody does.
                let Ok(permit) = Arc::clone(&new).acquire_owned().await else {
                    return;
                };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let desk = Arc::clone(&desk);
                        tokio::spawn(async move { desk.attend(stream, permit).await });
                    }
                    // Of the one connection, or of a moment without descriptors (accept(2)).
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        })
    }
}

/// Done, or nothing was to be done.
fn unless(kind: io::ErrorKind, done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != kind => Err(error),
        _ => Ok(()),
    }
}

/// What all connections need.
#[derive(Debug)]
struct Desk {
    registry: Arc<Registry>,
    services: Vec<Arc<dyn LocalService>>,
    places: Places<String>,
    /// For those that are told that there is none of these.
    told: Places<String>,
    metrics: LocalServices,
}

impl Desk {
    async fn attend(&self, stream: UnixStream, new: OwnedSemaphorePermit) {
        let answered = self.answer(stream, new).await;
        if let Some(reason) = answered.as_ref().err().and_then(Unanswered::reason) {
            self.metrics.failed(reason);
        }
        match answered {
            Ok(()) => {}
            // As often as the code inside likes: the log of flows has it, and is bounded.
            Err(Unanswered::Full(why)) => tracing::debug!("a service is not answered: {why}"),
            Err(why) => tracing::warn!("a connection to a service is not answered: {why}"),
        }
    }

    /// Hears whose it is, and has it answered.
    async fn answer(
        &self,
        mut stream: UnixStream,
        new: OwnedSemaphorePermit,
    ) -> Result<(), Unanswered> {
        is_relay(stream.peer_cred()?.uid())?;
        let said = timeout(PATIENCE, hear(&mut stream)).await;
        let said = said.map_err(|_| Unanswered::Late)??;
        drop(new);
        let unknown = || Unanswered::Sandbox(said.sandbox().to_owned());
        let sandbox = self.registry.get(said.sandbox()).map_err(|_| unknown())?;
        let outlet = sandbox.outlet();
        let outlet = outlet.filter(|_| !matches!(sandbox.phase(), Phase::Ended(..)));
        let whose = Arc::clone(outlet.ok_or_else(unknown)?.whose());
        // What lives is not kept alive by who asks.
        drop(sandbox);
        let named = |one: &&Arc<dyn LocalService>| one.service().as_str() == said.service();
        let service = self.services.iter().find(named);
        let service = service.ok_or_else(|| Unanswered::Service(said.service().to_owned()))?;
        let name = service.service().as_str();
        match self.places.take(whose.sandbox.clone()) {
            Ok(_place) => {
                let _counted = self.metrics.answering(name);
                // However it ended: nobody waits for it here.
                drop(timeout(LONGEST, service.handle(stream, whose)).await);
                Ok(())
            }
            Err(full) => {
                let place = self.told.take(whose.sandbox.clone());
                self.metrics.too_many(name, place.is_ok());
                let _place = place?;
                drop(timeout(TELLING, service.refuse(stream, full)).await);
                Ok(())
            }
        }
    }
}

/// Besides the folder's permissions. Root's relay is nobody, unless it has no such user in its
/// namespace; another's is of the manager's own account.
fn is_relay(uid: u32) -> Result<(), Unanswered> {
    let own = rustix::process::geteuid().as_raw();
    match [own, NOBODY, 0].contains(&uid) {
        true => Ok(()),
        false => Err(Unanswered::Stranger(uid)),
    }
}

/// Reads the preamble, and not a byte more.
pub(super) async fn hear(stream: &mut UnixStream) -> Result<Preamble, Unanswered> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let mut rest = vec![0; Preamble::rest(header)?];
    stream.read_exact(&mut rest).await?;
    Ok(Preamble::read(header, &rest)?)
}
