//! Which store is whose.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use lakekeep_api::Reason;
use lakekeep_content::{ContentError, Pin};
use lakekeep_environment::Digest;
use lakekeep_profiles::Profile;
use lakekeep_sandbox::chain;
use lakekeep_tree::{Bounds, Domain, TreeError};
use tokio::sync::Semaphore;

use super::EnvironmentsDoc;
use super::recent::{Known, Recent};
use crate::fault::Fault;
use crate::meta::Found;
use crate::sandbox::lock;
use crate::who::Caller;

/// Whose environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// A user's.
    User(String),
    /// Those that a profile's members share. With its owner: of another owner, a profile of the
    /// same name is another profile.
    Profile {
        /// The profile.
        name: String,
        /// Its owner.
        owner: String,
    },
}

/// One store. While it is open there is one of it.
#[derive(Debug)]
pub struct Shelf {
    pub domain: Domain,
    /// Held by who adds to it or collects.
    pub adding: Arc<tokio::sync::Mutex<()>>,
}

/// All users' environments.
#[derive(Debug)]
pub struct Environments {
    folder: PathBuf,
    open: Mutex<BTreeMap<String, Weak<Shelf>>>,
    recent: Recent,
    bounds: Bounds,
    uploads: Arc<Semaphore>,
}

impl Whose {
    /// The caller's own.
    ///
    /// # Errors
    /// `Denied` for who acts for the caller in one profile alone.
    pub fn own(caller: &Caller) -> Result<Self, Fault> {
        match &caller.bound_to {
            None => Ok(Self::User(caller.user().to_owned())),
            Some(profile) => Err(Fault::new(
                Reason::Denied,
                format!(
                    "this delegation is for profile {profile} alone, and not for its user's own environments; \
                     share one with the profile"
                ),
            )),
        }
    }

    /// Those of a profile.
    pub fn of(profile: &Profile) -> Self {
        Self::Profile {
            name: profile.name().to_string(),
            owner: profile.owner().to_owned(),
        }
    }

    /// The name of its folder: of names of users and profiles, only a digest reaches the file system.
    fn folder(&self) -> String {
        let text = match self {
            Self::User(name) => format!("user\0{name}"),
            Self::Profile { name, owner } => format!("profile\0{name}\0{owner}"),
        };
        Digest::of(text.as_bytes()).to_string()
    }
}

impl Environments {
    /// Those in `folder`.
    pub fn new(folder: PathBuf, doc: &EnvironmentsDoc) -> Self {
        Self {
            folder,
            open: Mutex::default(),
            recent: Recent::default(),
            bounds: doc.bounds(),
            uploads: Arc::new(Semaphore::new(doc.uploads.clamp(1, 64))),
        }
    }

    /// What each store may hold.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Places for those who send.
    pub fn uploads(&self) -> Arc<Semaphore> {
        Arc::clone(&self.uploads)
    }

    /// A store; it is made if it is not there. It blocks.
    ///
    /// # Errors
    /// `Internal`.
    pub fn shelf(&self, whose: &Whose) -> Result<Arc<Shelf>, Fault> {
        self.open(&whose.folder())
    }

    /// The same; `None` where nothing was ever stored.
    ///
    /// # Errors
    /// `Internal`.
    pub fn shelf_if_there(&self, whose: &Whose) -> Result<Option<Arc<Shelf>>, Fault> {
        let folder = whose.folder();
        match self.folder.join(&folder).is_dir() {
            true => self.open(&folder).map(Some),
            false => Ok(None),
        }
    }

    fn open(&self, folder: &str) -> Result<Arc<Shelf>, Fault> {
        let mut open = lock(&self.open);
        if let Some(shelf) = open.get(folder).and_then(Weak::upgrade) {
            return Ok(shelf);
        }
        let domain = Domain::open(&self.folder.join(folder)).map_err(|error| refused(&error))?;
        let shelf = Arc::new(Shelf {
            domain,
            adding: Arc::default(),
        });
        open.retain(|_, shelf| shelf.strong_count() > 0);
        open.insert(folder.to_owned(), Arc::downgrade(&shelf));
        Ok(shelf)
    }

    /// An environment for a sandbox of `profile`: of the caller's own, or that the profile shares.
    /// Nobody else's is looked for. It is pinned while the answer lives. It blocks.
    ///
    /// # Errors
    /// `BadRequest` for what is no digest, `NotFound`.
    pub fn find(
        &self,
        caller: &Caller,
        profile: &Profile,
        digest: &str,
    ) -> Result<(Found, Arc<Known>, Pin), Fault> {
        let digest = parse(digest)?;
        let own = Whose::own(caller).ok();
        for whose in own.into_iter().chain([Whose::of(profile)]) {
            let Some(shelf) = self.shelf_if_there(&whose)? else {
                continue;
            };
            let folder = whose.folder();
            match self.recent.open(&folder, &shelf.domain, &digest) {
                Ok((known, pin)) => {
                    let found = Found {
                        digest: digest.to_string(),
                        shelf: folder,
                        python: known.python.clone(),
                    };
                    return Ok((found, known, pin));
                }
                Err(TreeError::Absent { .. }) => {}
                Err(error) => return Err(refused(&error)),
            }
        }
        Err(Fault::new(
            Reason::NotFound,
            format!(
                "environment {digest} is neither yours nor shared in profile {}; send it: lakekeep env push",
                profile.name()
            ),
        ))
    }

    /// The same one again, for a sandbox that was taken over. It blocks.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn again(&self, found: &Found) -> Result<(Arc<Known>, Pin), Fault> {
        let folder = parse(&found.shelf)?.to_string();
        let shelf = self.open(&folder)?;
        let digest = parse(&found.digest)?;
        let opened = self.recent.open(&folder, &shelf.domain, &digest);
        opened.map_err(|error| refused(&error))
    }
}

/// A digest, as requests have it.
///
/// # Errors
/// `BadRequest`.
pub fn parse(text: &str) -> Result<Digest, Fault> {
    let bad = |error| Fault::new(Reason::BadRequest, format!("environment: {error}"));
    text.parse().map_err(bad)
}

/// What the store says, for whoever asked.
pub fn refused(error: &TreeError) -> Fault {
    let reason = match error {
        TreeError::Full { .. } | TreeError::Crowded { .. } => Reason::QuotaExceeded,
        TreeError::Manifest(_)
        | TreeError::Pack { .. }
        | TreeError::Changed { .. }
        | TreeError::NotTaken(_)
        | TreeError::NoContent { .. } => Reason::BadRequest,
        TreeError::Absent { .. } => Reason::NotFound,
        TreeError::Store(ContentError::Busy { .. }) => Reason::Conflict,
        _ => Reason::Internal,
    };
    Fault::new(reason, chain(error))
}
