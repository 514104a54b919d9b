//! What was read of environments that sandboxes were made with lately: to read a manifest of ten
//! thousand files takes longer than a claim.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lakekeep_content::Pin;
use lakekeep_environment::Digest;
use lakekeep_plan::View;
use lakekeep_sandbox::chain;
use lakekeep_tree::{Domain, Environment, TreeError};
use lakekeep_udf_broker::check_fit;

use crate::sandbox::lock;

/// It is read again after so long: shared libraries were compared with the host's, which may be
/// replaced.
const FRESH: Duration = Duration::from_secs(60);

/// Most that are kept.
const MOST: usize = 64;

/// One environment, as sandboxes need it.
#[derive(Debug)]
pub struct Known {
    /// How it is shown.
    pub view: View,
    /// Its interpreter, absolute, inside.
    pub python: String,
    /// Why no worker of functions can run in it, if none can.
    pub unfit: Option<String>,
}

/// Those of all stores, by the store's folder and the digest.
#[derive(Debug, Default)]
pub struct Recent(Mutex<HashMap<Key, (Instant, Arc<Known>)>>);

type Key = (String, Digest);

impl Recent {
    /// Opens and pins one. It blocks.
    ///
    /// # Errors
    /// `Absent`; what the store says.
    pub fn open(
        &self,
        shelf: &str,
        domain: &Domain,
        digest: &Digest,
    ) -> Result<(Arc<Known>, Pin), TreeError> {
        let key = (shelf.to_owned(), *digest);
        let now = Instant::now();
        if let Some(known) = self.fresh(&key, now) {
            // What it was is known, and not whether it is still there.
            return Ok((known, lakekeep_tree::pin(domain.store(), digest)?));
        }
        let environment = domain.environment(digest)?;
        let known = Arc::new(Known::of(&environment));
        let mut all = lock(&self.0);
        all.retain(|_, (read, _)| now.duration_since(*read) < FRESH);
        if all.len() < MOST {
            all.insert(key, (now, Arc::clone(&known)));
        }
        Ok((known, environment.into_pin()))
    }

    fn fresh(&self, key: &Key, now: Instant) -> Option<Arc<Known>> {
        let all = lock(&self.0);
        let (read, known) = all.get(key)?;
        (now.duration_since(*read) < FRESH).then(|| Arc::clone(known))
    }
}

impl Known {
    fn of(environment: &Environment) -> Self {
        let python = &environment.manifest().interpreter().executable;
        Self {
            view: environment.view(),
            python: python.as_str().to_owned(),
            unfit: check_fit(environment).err().map(|error| chain(&error)),
        }
    }
}
