//! Interpreters that have made their imports, of which tasks of parked sandboxes are forked.
//!
//! One serves sandboxes of one shape on one launcher, so many and for so long as is
//! configured; then another takes over. It lives until the last sandbox that it serves has
//! ended. It has imported what the operator named, and nothing of a user's ever reaches it.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lakekeep_plan::{Plan, Preload, ZygotePlan};
use lakekeep_policy::{ImageRef, Policy, Preset};
use lakekeep_sandbox::{HeldZygote, SandboxError};
use serde::Deserialize;

use super::Shape;
use crate::launchers::Launcher;
use crate::sandbox::lock;

/// `[[zygotes]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZygoteDoc {
    /// Sandboxes of this preset have their tasks forked.
    pub preset: Preset,
    /// The Python that they are forked of: absolute, in the host's image.
    pub interpreter: String,
    /// What it imports.
    pub modules: Vec<String>,
    /// How many sandboxes it serves before another takes over.
    #[serde(default = "sandboxes")]
    pub sandboxes: u16,
    /// And for how many minutes: what is alike in its tasks is alike for no longer.
    #[serde(default = "minutes")]
    pub minutes: NonZeroU32,
}

fn sandboxes() -> u16 {
    32
}

fn minutes() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(59)
}

impl ZygoteDoc {
    /// Whether tasks under this policy are to be forked from it.
    pub fn serves(&self, policy: &Policy) -> bool {
        policy.preset() == self.preset && *policy.image() == ImageRef::Host
    }

    /// As it is planned.
    pub fn preload(&self) -> Preload {
        Preload {
            interpreter: self.interpreter.clone(),
            modules: self.modules.clone(),
            sandboxes: self.sandboxes,
        }
    }

    /// How long one takes new sandboxes.
    pub fn age(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.minutes.get()))
    }
}

/// A zygote of a shape, as it will be made.
#[derive(Debug)]
pub struct Planned {
    pub plan: ZygotePlan,
    pub age: Duration,
}

/// Those that take new sandboxes.
#[derive(Debug, Default)]
pub struct Zygotes {
    serving: Mutex<HashMap<(Shape, usize), Serving>>,
}

#[derive(Debug)]
struct Serving {
    zygote: Arc<Zygote>,
    left: u16,
    until: Instant,
}

/// One that lives. Dropped with the last sandbox that it serves, it is ended.
#[derive(Debug)]
pub struct Zygote {
    launcher: Arc<Launcher>,
    held: HeldZygote,
}

impl Zygotes {
    /// Has the tasks of the sandbox that is planned here, on this launcher, forked from one.
    ///
    /// # Errors
    /// Of its sandbox. Whether its imports succeed shows later: [`Zygotes::complaints`].
    pub async fn serve(
        &self,
        shape: Shape,
        planned: &Planned,
        (launcher, plan): (&Arc<Launcher>, &mut Plan),
    ) -> Result<Arc<Zygote>, SandboxError> {
        let key = (shape, launcher.index());
        let present = self.present(&key);
        let zygote = match present {
            Some(zygote) => zygote,
            None => {
                let launcher = Arc::clone(launcher);
                let zygote = Arc::new(Zygote::start(launcher, planned.plan.clone()).await?);
                let serving = Serving {
                    zygote: Arc::clone(&zygote),
                    left: planned.plan.plan.sandbox.nursery.saturating_sub(1),
                    until: Instant::now() + planned.age,
                };
                lock(&self.serving).insert(key, serving);
                zygote
            }
        };
        plan.fork_from(zygote.held.id());
        Ok(zygote)
    }

    fn present(&self, key: &(Shape, usize)) -> Option<Arc<Zygote>> {
        let mut all = lock(&self.serving);
        let serving = all.get_mut(key)?;
        if serving.left == 0 || serving.until <= Instant::now() {
            all.remove(key);
            return None;
        }
        serving.left -= 1;
        Some(Arc::clone(&serving.zygote))
    }

    /// Those of this shape are of no use: its next sandbox gets another.
    pub fn discard(&self, shape: Shape) {
        lock(&self.serving).retain(|(of, _), _| *of != shape);
    }

    /// Forgets those whose time is over, and tells what others have said, by shape: of
    /// imports that fail. These serve no more.
    pub fn complaints(&self, now: Instant) -> Vec<(Shape, String)> {
        let mut said = Vec::new();
        lock(&self.serving).retain(|(shape, _), serving| {
            let words = serving.zygote.held.words();
            let silent = words.is_none();
            said.extend(words.map(|words| (*shape, words)));
            silent && serving.until > now
        });
        said
    }
}

impl Zygote {
    async fn start(launcher: Arc<Launcher>, planned: ZygotePlan) -> Result<Self, SandboxError> {
        let held = launcher.ask("zygote", move |service| {
            HeldZygote::start(service, &planned)
        });
        let held = held.await?;
        Ok(Self { launcher, held })
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let (launcher, id) = (Arc::clone(&self.launcher), self.held.id().to_owned());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // The manager ends, and its launchers end what nobody has told them to keep.
            return;
        };
        runtime.spawn(async move {
            let ended = launcher.ask("destroy", move |service| service.destroy(&id));
            if ended.await.is_err() {
                // Its launcher is gone, and it with it.
            }
        });
    }
}
