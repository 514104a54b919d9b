//! One image from a registry into a library.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lakekeep_content::{Algorithm, ContentError, Digest, Kind, Store};
use lakekeep_images::{ImageError, Layer, Library, Source};
use lakekeep_oci::{Descriptor, Index, MediaType, Reference};
use rustls::ClientConfig;

use crate::blob::Download;
use crate::client::{Client, Times};
use crate::credentials::Keychain;
use crate::documents;
use crate::endpoint::Endpoint;
use crate::error::{PullError, RequestError};
use crate::mirrors::{Shared, Site};
use crate::session::Session;
use crate::settings::Settings;
use crate::tls;

/// What a pull may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Waiting for a connection.
    pub connect: Duration,
    /// Waiting for the next bytes of an answer.
    pub idle: Duration,
    /// All of it.
    pub time: Duration,
    /// Bytes of the layers' files together.
    pub bytes: u64,
    /// Layers at the same time; at least 1.
    pub parallel: usize,
    /// How often one thing is asked for without progress; at least 1.
    pub attempts: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_secs(15),
            idle: Duration::from_secs(30),
            time: Duration::from_secs(6 * 60 * 60),
            bytes: 64 << 30,
            parallel: 4,
            attempts: 5,
        }
    }
}

/// Whom to ask, and as whom.
#[derive(Debug, Default)]
pub struct Options {
    /// What is set on this host.
    pub settings: Settings,
    /// Asked before those of the settings.
    pub mirrors: Vec<Endpoint>,
    /// Certificate authorities besides the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// The registry and its mirrors may speak HTTP without TLS.
    pub plain_http: bool,
    /// Who one is.
    pub keychain: Keychain,
    /// What it may take.
    pub limits: Limits,
}

/// Is told how far a pull is, from several threads.
pub trait Progress: Sync {
    /// A layer is being fetched; of its `size` bytes `there` are there.
    fn begin(&self, layer: &Digest, size: u64, there: u64);
    /// `there` of its bytes are there.
    fn at(&self, layer: &Digest, there: u64);
    /// It is there and proven, or was given up.
    fn end(&self, layer: &Digest);
}

/// An image that is in the library now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Its name, in full.
    pub name: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// How many layers it has.
    pub layers: usize,
    /// Layers that were fetched, and not there already.
    pub fetched_layers: usize,
    /// Bytes of layers that came over the network.
    pub fetched_bytes: u64,
}

/// Pulls the image `name` into the library. What of it is there is not fetched: documents by digest, layers by
/// digest or by the diff ID of their tree. A mirror that has it not, or not as its digest says, is passed over.
///
/// # Errors
/// [`PullError`]; the name leads where it led then.
pub fn pull(
    library: &Library,
    name: &str,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Pulled, PullError> {
    let image = reference(name)?;
    let set = options.settings.of(&image.registry);
    let plain = options.plain_http || set.plain_http;
    let files = options.ca_file.iter().chain(&set.ca_file);
    let files: Vec<_> = files.map(PathBuf::as_path).collect();
    let tls = tls::config(&files)?;
    let mirrors = options.mirrors.iter().chain(&set.mirrors).cloned();
    let sites = sites(&image.registry, mirrors.collect(), plain)?;
    let shared = Shared::new(image, sites, &options.keychain, options.limits, progress);
    let session = session(&shared, &tls)?;
    let remote = Remote::new(&session, &tls);
    let descriptor = remote.resolve(library.store())?;
    let loaded = library.take_from(&remote, &descriptor, name);
    let loaded = loaded.map_err(own)?;
    Ok(Pulled {
        name: loaded.name,
        digest: loaded.digest,
        layers: loaded.layers,
        fetched_layers: remote.layers.load(Ordering::Relaxed),
        fetched_bytes: remote.bytes.load(Ordering::Relaxed),
    })
}

/// Under which credentials for an image's registry are kept: `HOST[:PORT]`.
///
/// # Errors
/// [`PullError::Name`].
pub fn key_of(name: &str) -> Result<String, PullError> {
    let image = reference(name)?;
    Ok(Endpoint::of_registry(&image.registry, false)
        .key()
        .to_owned())
}

fn reference(text: &str) -> Result<Reference, PullError> {
    text.parse().map_err(|source| PullError::Name {
        text: text.to_owned(),
        source,
    })
}

/// The mirrors, then the registry: on this machine with TLS first, and without if it has none.
fn sites(registry: &str, mirrors: Vec<Endpoint>, plain: bool) -> Result<Vec<Site>, PullError> {
    for mirror in &mirrors {
        if mirror.is_plain() && !mirror.is_loopback() && !plain {
            let text = mirror.to_string();
            return Err(crate::endpoint::NotAnEndpoint { text }.into());
        }
    }
    let itself = Endpoint::of_registry(registry, plain);
    let without = itself.plain_on_loopback();
    let all = mirrors.into_iter().chain([itself]).chain(without);
    Ok(all.map(Site::new).collect())
}

fn session<'p>(shared: &'p Shared<'p>, tls: &Arc<ClientConfig>) -> Result<Session<'p>, PullError> {
    let times = Times {
        connect: shared.limits.connect,
        idle: shared.limits.idle,
    };
    let client = Client::new(tls, times)?;
    Ok(Session { client, shared })
}

/// A pull's own error, out of the library's.
fn own(error: ImageError) -> PullError {
    match error {
        ImageError::Source(inner) => match inner.downcast::<PullError>() {
            Ok(own) => *own,
            Err(other) => PullError::Image(ImageError::Source(other)),
        },
        other => PullError::Image(other),
    }
}

/// An image's registry, as the library takes images from.
struct Remote<'s, 'p> {
    session: &'s Session<'p>,
    tls: &'s Arc<ClientConfig>,
    index: Index,
    layers: AtomicUsize,
    bytes: AtomicU64,
}

impl<'s, 'p> Remote<'s, 'p> {
    fn new(session: &'s Session<'p>, tls: &'s Arc<ClientConfig>) -> Remote<'s, 'p> {
        Remote {
            session,
            tls,
            // There is one image to take, and it is named.
            index: Index {
                manifests: Vec::new(),
            },
            layers: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// What the name leads to. A document that had to be fetched to know that is kept.
    fn resolve(&self, store: &Store) -> Result<Descriptor, PullError> {
        let session = self.session;
        let resolved = session
            .shared
            .ask_all("the manifest", |site, _| documents::resolve(session, site))?;
        if let Some(content) = resolved.content {
            store.put_bytes(&content, Algorithm::Sha256)?;
        }
        Ok(resolved.descriptor)
    }

    fn document(&self, store: &Store, wanted: &Descriptor) -> Result<(), PullError> {
        let session = self.session;
        let content = match wanted.media_type {
            MediaType::Index | MediaType::Manifest => {
                session.shared.ask_all("a manifest", |site, _| {
                    documents::manifest(session, site, wanted)
                })?
            }
            MediaType::Config | MediaType::Layer => {
                session.shared.ask_all("the configuration", |site, _| {
                    documents::config(session, site, wanted)
                })?
            }
        };
        store.put_bytes(&content, Algorithm::Sha256)?;
        Ok(())
    }

    /// Several at a time, each thread with a connection of its own.
    fn fetch_missing(&self, store: &Store, missing: &[&Descriptor]) -> Result<(), PullError> {
        let shared = self.session.shared;
        let next = AtomicUsize::new(0);
        let first = Mutex::new(None);
        let fail = |error| {
            shared.give_up();
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
        };
        let work = || {
            let session = match session(shared, self.tls) {
                Ok(session) => session,
                Err(error) => return fail(error),
            };
            while let Some(wanted) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.layer(&session, store, wanted) {
                    return fail(error);
                }
            }
        };
        let threads = shared.limits.parallel.clamp(1, missing.len().max(1));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let started = std::thread::Builder::new().spawn_scoped(scope, work);
                if let Err(error) = started {
                    fail(PullError::Start(error));
                }
            }
        });
        match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// One layer's file, from whoever has it. What a mirror sent of it and is not what its digest says is not
    /// gone on with.
    fn layer(
        &self,
        session: &Session<'_>,
        store: &Store,
        wanted: &Descriptor,
    ) -> Result<(), PullError> {
        let shared = session.shared;
        let download = Download { session, wanted };
        let what = format!("layer {}", wanted.digest);
        let mut announced = false;
        let fetched = shared.ask_all(&what, |site, attempts| {
            let Some(mut partial) = store.resume(&wanted.digest, wanted.size)? else {
                return Ok(());
            };
            if !announced {
                shared
                    .progress
                    .begin(&wanted.digest, wanted.size, partial.bytes());
                announced = true;
            }
            let resumed = partial.bytes();
            let attempted = download.attempt(site, &mut partial, attempts);
            let came = partial.bytes().saturating_sub(resumed);
            self.bytes.fetch_add(came, Ordering::Relaxed);
            attempted?;
            match partial.finish() {
                // What was there may have been what is wrong: once more, from the beginning.
                Err(ContentError::Mismatch { .. }) if resumed > 0 => {
                    self.anew(&download, site, store)
                }
                finished => finished.map_err(refused),
            }
        });
        if announced {
            shared.progress.end(&wanted.digest);
            self.layers.fetch_add(1, Ordering::Relaxed);
        }
        fetched
    }

    fn anew(
        &self,
        download: &Download<'_, '_>,
        site: &Site,
        store: &Store,
    ) -> Result<(), RequestError> {
        let wanted = download.wanted;
        let Some(mut partial) = store.resume(&wanted.digest, wanted.size)? else {
            return Ok(());
        };
        let shared = download.session.shared;
        let mut attempts = crate::retry::Attempts::new(1, shared.until);
        let attempted = download.attempt(site, &mut partial, &mut attempts);
        self.bytes.fetch_add(partial.bytes(), Ordering::Relaxed);
        attempted?;
        partial.finish().map_err(refused)
    }
}

/// That content is wrong is the registry's fault; the rest is the store's.
fn refused(error: ContentError) -> RequestError {
    match error {
        ContentError::Mismatch { wanted, found } => RequestError::Mismatch { wanted, found },
        other => other.into(),
    }
}

impl Source for Remote<'_, '_> {
    fn index(&self) -> &Index {
        &self.index
    }

    fn fetch(&self, store: &Store, wanted: &Descriptor, most: u64) -> Result<(), ImageError> {
        if wanted.size > most {
            return Err(ContentError::TooLarge { most }.into());
        }
        self.document(store, wanted)
            .map_err(|error| ImageError::Source(Box::new(error)))
    }

    fn fetch_layers(
        &self,
        store: &Store,
        layers: &[Layer<'_>],
        most: u64,
    ) -> Result<(), ImageError> {
        let limits = &self.session.shared.limits;
        let sizes = layers.iter().map(|layer| layer.file.size);
        let bytes = sizes.fold(0, u64::saturating_add);
        if bytes > limits.bytes {
            return Err(ImageError::Source(Box::new(PullError::TooMuch {
                image: self.session.shared.image.to_string(),
                bytes,
                most: limits.bytes,
            })));
        }
        let mut missing: Vec<&Descriptor> = Vec::new();
        for layer in layers {
            // One file may be several layers of an image.
            let twice = missing.iter().any(|one| one.digest == layer.file.digest);
            let unpacked = store.stored(Kind::Folder, *layer.diff_id)?.is_some();
            if twice || unpacked || store.contains_blob(&layer.file.digest)? {
                continue;
            }
            if layer.file.size > most {
                return Err(ContentError::TooLarge { most }.into());
            }
            missing.push(layer.file);
        }
        self.fetch_missing(store, &missing)
            .map_err(|error| ImageError::Source(Box::new(error)))
    }
}
