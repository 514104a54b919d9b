//! A pool's zygote: its sandbox, and what it has to say.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use lakekeep_plan::{Plan, ZygotePlan};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::error::SandboxError;
use crate::planning::identifier;
use crate::pool::Keeper;
use crate::service::{Held, Service};

/// Most of a zygote's words that are kept, bytes: the last ones, which say why it ended.
const WORDS: usize = 4096;

/// Most that is read of them at once, in pieces of [`WORDS`]: what a pipe holds (pipe(7)) and
/// its end, for an import may write without end.
const PIECES: usize = 17;

/// A zygote, started when the first sandbox needs it, and another when it has served as many
/// as it may.
#[derive(Debug)]
pub(crate) struct Zygotes {
    plan: ZygotePlan,
    now: Option<(Arc<Zygote>, u16)>,
}

/// One that lives. Dropped with the last sandbox that it serves, it is ended.
#[derive(Debug)]
pub(crate) struct Zygote {
    keeper: Arc<Keeper>,
    held: HeldZygote,
}

/// What a zygote wrote, and whether it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub words: String,
    pub ended: bool,
}

/// A zygote as it came from a launcher. Whoever drops it must have destroyed its sandbox.
#[derive(Debug)]
pub struct HeldZygote {
    id: String,
    /// The init of its sandbox, which ends when nobody has this.
    _held: Held,
    output: OwnedFd,
}

impl Zygotes {
    pub fn new(plan: ZygotePlan) -> Self {
        Self { plan, now: None }
    }

    /// Has the tasks of the sandbox that is planned here forked from one.
    ///
    /// # Errors
    /// Of its sandbox. Whether its imports succeed shows later.
    pub fn serve(
        &mut self,
        keeper: &Arc<Keeper>,
        plan: &mut Plan,
    ) -> Result<Arc<Zygote>, SandboxError> {
        let (zygote, left) = match self.now.take() {
            Some((zygote, left)) if left > 0 => (zygote, left),
            _ => {
                let zygote = Zygote::start(Arc::clone(keeper), &self.plan)?;
                (Arc::new(zygote), self.plan.plan.sandbox.nursery)
            }
        };
        plan.fork_from(zygote.held.id());
        self.now = Some((Arc::clone(&zygote), left - 1));
        Ok(zygote)
    }

    /// The present one is of no use: the next sandbox gets another.
    pub fn discard(&mut self) {
        self.now = None;
    }
}

impl Zygote {
    fn start(keeper: Arc<Keeper>, planned: &ZygotePlan) -> Result<Self, SandboxError> {
        let held = keeper.ask(|service| HeldZygote::start(service, planned))?;
        Ok(Self { keeper, held })
    }

    /// What it said since it was asked last.
    pub fn said(&self) -> Said {
        self.held.said()
    }
}

impl HeldZygote {
    /// Makes the sandbox, and starts the zygote in it. Whether its imports succeed is not
    /// waited for.
    ///
    /// # Errors
    /// Of the step that failed: nothing is left of it then.
    pub fn start(service: &Service, planned: &ZygotePlan) -> Result<Self, SandboxError> {
        let failed = SandboxError::kernel("pipe2");
        let (output, written) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(failed)?;
        let mut plan = planned.plan.clone();
        let id = identifier().map_err(SandboxError::kernel("getrandom"))?;
        plan.rename(&id);
        let held = service.create(&plan)?;
        if let Err(error) = service.start_zygote(&id, &planned.spec, written.as_fd()) {
            service.destroy(&id)?;
            return Err(error);
        }
        Ok(Self {
            id,
            _held: held,
            output,
        })
    }

    /// Its sandbox's identifier.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it said since it was asked last, if it did: of imports that fail.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        Some(self.said().words).filter(|words| !words.is_empty())
    }

    /// Its output has no other end that is written to: what it forks has none of it, so it ends
    /// with the zygote.
    pub(crate) fn said(&self) -> Said {
        let (mut all, mut piece) = (Vec::new(), [0; WORDS]);
        let mut ended = false;
        for _ in 0..PIECES {
            match rustix::io::read(&self.output, &mut piece) {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(length) => all.extend_from_slice(piece.get(..length).unwrap_or_default()),
                Err(Errno::INTR) => {}
                // Nothing more, for now.
                Err(_) => break,
            }
        }
        let last = all.get(all.len().saturating_sub(WORDS)..);
        Said {
            words: String::from_utf8_lossy(last.unwrap_or_default()).into_owned(),
            ended,
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        if self
            .keeper
            .ask(|service| service.destroy(self.held.id()))
            .is_err()
        {
            // Its launcher has ended, and it with it.
        }
    }
}
