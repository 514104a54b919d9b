//! The keys of one issuer: fetched, kept for a while, fetched again.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::error::{ProviderError, SetupError};
use super::http::Fetcher;
use crate::config::{JwtConfig, KeyTimes};
use crate::jwt::{KeySet, discovery_url, parse_discovery};

/// The keys of one issuer.
///
/// | keys in hand | the token's key | what is done |
/// |---|---|---|
/// | none | any | one fetch; everybody waits for it |
/// | young | known | nothing |
/// | young | unknown | one fetch, if the last is long enough ago |
/// | old | any | one fetch, as above; meanwhile, and if it fails, the old serve |
/// | too old | any | one fetch, as above; if it fails, an error |
#[derive(Debug)]
pub(super) struct IssuerKeys {
    issuer: String,
    loopback: bool,
    times: KeyTimes,
    fetcher: Fetcher,
    /// What serves; replaced as a whole.
    current: RwLock<Option<Held>>,
    /// Held by whoever fetches: single flight.
    flight: Mutex<Flight>,
}

/// Keys and when they came.
#[derive(Clone, Debug)]
struct Held {
    keys: Arc<KeySet>,
    fetched: Instant,
}

/// The last fetch.
#[derive(Debug, Default)]
struct Flight {
    /// When it began.
    began: Option<Instant>,
    /// Why it failed.
    failed: Option<ProviderError>,
}

impl IssuerKeys {
    pub(super) fn new(config: &JwtConfig) -> Result<IssuerKeys, SetupError> {
        Ok(IssuerKeys {
            issuer: config.issuer.clone(),
            loopback: config.loopback,
            times: config.times,
            fetcher: Fetcher::new(config.ca_file.as_deref(), config.times.timeout)?,
            current: RwLock::new(None),
            flight: Mutex::new(Flight::default()),
        })
    }

    /// The keys to verify a token with that names the key `id`.
    pub(super) async fn get(
        self: &Arc<Self>,
        id: Option<&str>,
        now: Instant,
    ) -> Result<Arc<KeySet>, ProviderError> {
        let held = self.held();
        if let Some(keys) = self.enough(held.as_ref(), id, now) {
            return Ok(keys);
        }
        // Who has keys that serve does not wait for somebody else's fetch.
        if let Some(keys) = self.usable(held.as_ref(), now)
            && !self.is_young(held.as_ref(), now)
            && self.flight.try_lock().is_err()
        {
            return Ok(keys);
        }
        // A task of its own: a client that goes away in the middle would end the
        // fetch, and could so keep everybody from ever having the keys.
        let (this, id) = (Arc::clone(self), id.map(str::to_owned));
        tokio::spawn(async move { this.refresh(id.as_deref(), now).await })
            .await
            .unwrap_or_else(|_| Err(self.given_up()))
    }

    /// Fetches, unless somebody just did.
    async fn refresh(&self, id: Option<&str>, now: Instant) -> Result<Arc<KeySet>, ProviderError> {
        let mut flight = self.flight.lock().await;
        let held = self.held();
        if let Some(keys) = self.enough(held.as_ref(), id, now) {
            return Ok(keys);
        }
        let too_soon = flight
            .began
            .is_some_and(|began| now.saturating_duration_since(began) < self.times.refresh);
        if !too_soon {
            flight.began = Some(now);
            match self.fetch().await {
                Ok(keys) => {
                    flight.failed = None;
                    return Ok(self.keep(keys, now));
                }
                Err(error) => flight.failed = Some(error),
            }
        }
        self.usable(held.as_ref(), now)
            .ok_or_else(|| flight.failed.clone().unwrap_or_else(|| self.given_up()))
    }

    async fn fetch(&self) -> Result<KeySet, ProviderError> {
        let url = discovery_url(&self.issuer);
        let body = self.get_document(&url).await?;
        let keys_url = parse_discovery(&body, &self.issuer, self.loopback)
            .map_err(|source| ProviderError::Discovery { url, source })?;
        let body = self.get_document(&keys_url).await?;
        KeySet::parse(&body).map_err(|source| ProviderError::Keys {
            url: keys_url,
            source,
        })
    }

    async fn get_document(&self, url: &str) -> Result<Vec<u8>, ProviderError> {
        let body = self.fetcher.get(url).await;
        body.map_err(|source| ProviderError::Fetch {
            url: url.to_owned(),
            source,
        })
    }

    /// The runtime ended before there was an answer.
    fn given_up(&self) -> ProviderError {
        ProviderError::Fetch {
            url: discovery_url(&self.issuer),
            source: super::error::FetchError::Broken {
                cause: "the manager is ending".to_owned(),
            },
        }
    }

    fn held(&self) -> Option<Held> {
        // Whoever panicked while it wrote had replaced it as a whole, or not.
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keep(&self, keys: KeySet, now: Instant) -> Arc<KeySet> {
        let keys = Arc::new(keys);
        let held = Held {
            keys: keys.clone(),
            fetched: now,
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(held);
        keys
    }

    /// Keys for which nothing needs to be fetched.
    fn enough(&self, held: Option<&Held>, id: Option<&str>, now: Instant) -> Option<Arc<KeySet>> {
        held.filter(|held| held.age(now) <= self.times.max_age && held.keys.may_hold(id))
            .map(|held| held.keys.clone())
    }

    fn is_young(&self, held: Option<&Held>, now: Instant) -> bool {
        held.is_some_and(|held| held.age(now) <= self.times.max_age)
    }

    /// Keys that may serve if nothing better can be had.
    fn usable(&self, held: Option<&Held>, now: Instant) -> Option<Arc<KeySet>> {
        held.filter(|held| held.age(now) <= self.times.max_age + self.times.stale)
            .map(|held| held.keys.clone())
    }
}

impl Held {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.fetched)
    }
}
