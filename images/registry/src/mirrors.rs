//! Who is asked for an image: mirrors in their order, then the registry itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lakekeep_oci::Reference;

use crate::auth::Known;
use crate::credentials::Keychain;
use crate::endpoint::Endpoint;
use crate::error::{PullError, RequestError, TransportError};
use crate::pull::{Limits, Progress};
use crate::retry::Attempts;

/// Attempts where somebody else can be asked: he may have it sooner.
const ATTEMPTS_OF_MIRROR: u32 = 2;

/// One that can be asked, and what has become known of it.
pub struct Site {
    pub endpoint: Endpoint,
    /// Who one is to it.
    pub known: Mutex<Known>,
    /// It did not answer: the others are asked first to last, and this one no more.
    silent: AtomicBool,
}

/// What all threads of one pull share.
pub struct Shared<'p> {
    /// The image.
    pub image: Reference,
    pub sites: Vec<Site>,
    pub keychain: &'p Keychain,
    pub limits: Limits,
    pub progress: &'p dyn Progress,
    /// When the pull's time is over.
    pub until: Instant,
    /// Something failed: what else is under way need not go on.
    given_up: AtomicBool,
}

impl Site {
    pub fn new(endpoint: Endpoint) -> Site {
        Site {
            endpoint,
            known: Mutex::default(),
            silent: AtomicBool::new(false),
        }
    }
}

impl<'p> Shared<'p> {
    pub fn new(
        image: Reference,
        sites: Vec<Site>,
        keychain: &'p Keychain,
        limits: Limits,
        progress: &'p dyn Progress,
    ) -> Shared<'p> {
        Shared {
            image,
            sites,
            keychain,
            limits,
            progress,
            until: Instant::now() + limits.time,
            given_up: AtomicBool::new(false),
        }
    }

    /// Ends what is under way in other threads.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// [`RequestError::GivenUp`], once it is.
    pub fn check(&self) -> Result<(), RequestError> {
        if self.given_up.load(Ordering::Relaxed) || Instant::now() >= self.until {
            return Err(RequestError::GivenUp);
        }
        Ok(())
    }

    /// Asks one after the other, each again where that may help, until one has it.
    ///
    /// # Errors
    /// [`PullError::Nobody`] with what came of each; [`PullError::TimedOut`]; what the store says.
    pub fn ask_all<T>(
        &self,
        what: &str,
        mut ask: impl FnMut(&Site, &mut Attempts) -> Result<T, RequestError>,
    ) -> Result<T, PullError> {
        let mut failed = Vec::new();
        for (index, site) in self.sites.iter().enumerate() {
            let last = index + 1 == self.sites.len();
            if !last && site.silent.load(Ordering::Relaxed) {
                continue;
            }
            let most = if last {
                self.limits.attempts
            } else {
                ATTEMPTS_OF_MIRROR.min(self.limits.attempts)
            };
            match self.ask_one(site, Attempts::new(most, self.until), &mut ask) {
                Ok(answer) => return Ok(answer),
                Err(RequestError::Content(error)) => return Err(error.into()),
                Err(error) => {
                    let ends = error.is_ours();
                    failed.push((site.endpoint.to_string(), error));
                    if ends {
                        break;
                    }
                }
            }
        }
        Err(self.nobody(what, failed))
    }

    fn ask_one<T>(
        &self,
        site: &Site,
        mut attempts: Attempts,
        ask: &mut impl FnMut(&Site, &mut Attempts) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        loop {
            self.check()?;
            let error = match ask(site, &mut attempts) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if let Err(error) = attempts.after(error) {
                if matches!(
                    error,
                    RequestError::Transport(
                        TransportError::Connect { .. } | TransportError::Silent { .. }
                    )
                ) {
                    site.silent.store(true, Ordering::Relaxed);
                }
                return Err(error);
            }
        }
    }

    fn nobody(&self, what: &str, attempts: Vec<(String, RequestError)>) -> PullError {
        let image = self.image.to_string();
        if Instant::now() >= self.until {
            let time = self.limits.time;
            return PullError::TimedOut { image, time };
        }
        PullError::Nobody {
            what: what.to_owned(),
            image,
            attempts,
        }
    }
}
