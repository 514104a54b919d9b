//! What a manager opens at its start: what it remembers, and what decides.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lakekeep_identity::{DelegationKey, JwtAuthenticators, RecentAccounts};
use lakekeep_plan::HostFacts;
use lakekeep_profiles::{
    Authorizer, Diff, FolderWatcher, LoadError, ProfileWatcher, Profiles, QueueBounds, WatchError,
};
use lakekeep_sandbox::chain;
use lakekeep_store::audit::{AuditLog, Options};
use lakekeep_store::secrets::Vault;
use lakekeep_store::state::Store;
use tokio::sync::watch;

use super::{Inherited, ManagerError, host_name};
use crate::admission::{Admissions, Permits};
use crate::config::Config;
use crate::egress::{self, Bound};
use crate::gate::{Gate, now};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::who::{Authentication, Revoked};

/// How long changes of profiles must rest before they are read.
const QUIET: Duration = Duration::from_millis(200);

/// The host, as the launchers see it.
pub(super) fn facts(inherited: &Inherited) -> Result<HostFacts, ManagerError> {
    let read = lakekeep_sys::memfd::read_sealed(&inherited.facts, 1 << 20);
    let read = read.map_err(|error| ManagerError::start("read the host's facts")(&error))?;
    serde_json::from_slice(&read)
        .map_err(|error| ManagerError::start("read the host's facts")(&error))
}

/// Opens what is remembered and what decides.
pub(super) fn gate(
    config: Config,
    (path, state): (&Path, &Path),
    (store, metrics): (Arc<Store>, Arc<Metrics>),
    changed: watch::Sender<()>,
) -> Result<(Arc<Gate>, Watchers), ManagerError> {
    let error = ManagerError::start;
    let vault = Vault::open(Arc::clone(&store), &state.join("secrets.key"));
    let options = Options {
        key: Some(state.join("audit.key")),
        ..Options::default()
    };
    let audit_folder = state.join("audit");
    let opened = AuditLog::open(&audit_folder, &options, now());
    let opened = opened.map_err(|e| error("open the audit log")(&e))?;
    if let Some(torn) = &opened.torn {
        let kept = torn.kept_as.display();
        let bytes = torn.bytes;
        tracing::warn!("the audit log ended in {bytes} torn bytes, kept as {kept}");
    }
    let name = config.doc.name.clone().unwrap_or_else(host_name);
    let key = DelegationKey::load_or_create(&state.join("delegation.key"), &name);
    let profiles = Arc::new(profiles(&config, state)?);
    let policies = config.doc.profiles.policies.clone();
    let authorizer = match &policies {
        Some(folder) => Authorizer::load(folder),
        None => Authorizer::new(),
    };
    let authorizer = authorizer.map_err(|errors| ManagerError::Start {
        operation: "read the site's authorization policies",
        why: lines(&errors),
    })?;
    let jwt = JwtAuthenticators::new(&config.auth);
    let gate = Gate {
        authentication: Authentication {
            accounts: RecentAccounts::default(),
            jwt: jwt.map_err(|e| error("prepare the token issuers")(&e))?,
            key: key.map_err(|e| error("open the delegation key")(&e))?,
            revoked: Revoked(Arc::clone(&store)),
            config: config.auth,
        },
        identities: config.identity,
        store,
        vault: vault.map_err(|e| error("open the secrets")(&e))?,
        profiles,
        bound: Bound::new(path, &config.administrator),
        personal: config.personal,
        authorizer,
        policies,
        audit: opened.log,
        audit_folder,
        admissions: Admissions::new(QueueBounds::default(), Arc::clone(&metrics)),
        permits: Permits::default(),
        metrics,
    };
    let gate = Arc::new(gate);
    warn(&gate);
    let watchers = Watchers::start(&gate, changed);
    let watchers = watchers.map_err(|e| error("watch profiles and rules of egress")(&e))?;
    Ok((gate, watchers))
}

/// What reads again what changed, while they are there.
#[derive(Debug)]
pub(super) struct Watchers {
    _profiles: ProfileWatcher,
    _bound: FolderWatcher,
}

impl Watchers {
    fn start(gate: &Arc<Gate>, changed: watch::Sender<()>) -> Result<Self, WatchError> {
        let tell = changed.clone();
        let profiles = ProfileWatcher::start(Arc::clone(&gate.profiles), QUIET, move |reloaded| {
            report(reloaded);
            tell.send_replace(());
        })?;
        let (folders, bounded) = (gate.bound.folders(), Arc::clone(gate));
        let bound = FolderWatcher::start(&folders, ("bound", QUIET), move || {
            if bounded.bound.reload(&bounded.profiles) {
                changed.send_replace(());
            }
        })?;
        Ok(Self {
            _profiles: profiles,
            _bound: bound,
        })
    }
}

/// Says what of the profiles is weak or without effect.
fn warn(gate: &Gate) {
    for stored in gate.profiles.current().iter() {
        for warning in stored.profile().warnings() {
            tracing::warn!("{warning}");
        }
    }
}

/// Has live sandboxes follow profiles that change.
pub(super) async fn follow(
    gate: Arc<Gate>,
    registry: Arc<Registry>,
    mut changes: watch::Receiver<()>,
) {
    while changes.changed().await.is_ok() {
        warn(&gate);
        egress::refresh(&gate, &registry);
    }
}

fn profiles(config: &Config, state: &Path) -> Result<Profiles, ManagerError> {
    use std::os::unix::fs::DirBuilderExt;
    let owned = state.join("profiles");
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(&owned)
        .map_err(|error| ManagerError::start("make the folder of users' profiles")(&error))?;
    let none = state.join("declared");
    let declared = match &config.doc.profiles.folder {
        Some(folder) => folder,
        None => {
            builder
                .create(&none)
                .map_err(|error| ManagerError::start("make a folder of profiles")(&error))?;
            &none
        }
    };
    Profiles::open(declared, Some(&owned), config.ceilings.clone()).map_err(|errors| {
        ManagerError::Start {
            operation: "read the profiles",
            why: lines(&errors),
        }
    })
}

pub(super) fn lines(errors: &[impl std::error::Error + 'static]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| chain(error)).collect();
    lines.join("\n")
}

/// Says what became of the profiles.
pub(super) fn report(reloaded: Result<Diff, Vec<LoadError>>) {
    match reloaded {
        Ok(diff) if diff.is_empty() => {}
        Ok(diff) => tracing::info!("profiles: {diff}"),
        Err(errors) => tracing::error!("profiles: the old ones stay:\n{}", lines(&errors)),
    }
}
