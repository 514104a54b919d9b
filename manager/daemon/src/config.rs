//! The manager's configuration.

mod administrator;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lakekeep_egress_rules::{EgressDoc, FixedAddresses};
use lakekeep_identity::{AuthConfig, AuthDoc, IdentityDoc, IdentityMap, read_toml};
use lakekeep_profiles::{Ceilings, CeilingsDoc, PersonalProfile};
use lakekeep_sandbox::chain;
use serde::Deserialize;

use crate::environments::EnvironmentsDoc;
use crate::flows::FlowsDoc;
use crate::history::HistoryDoc;
use crate::local::{self, ServiceDoc};
use crate::metrics::MetricsDoc;
use crate::parked::{ParkedDoc, ZygoteDoc};
use crate::trace::TelemetryDoc;

pub use administrator::Administrator;

/// What a configuration file holds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigDoc {
    /// The API's Unix socket.
    pub socket: Option<PathBuf>,
    /// For what ends with the boot.
    pub runtime: Option<PathBuf>,
    /// For what the manager remembers.
    pub state: Option<PathBuf>,
    /// The host account that the manager runs as; needed when root starts it.
    pub user: Option<String>,
    /// How many launchers; one for each processor when left out.
    pub launchers: Option<usize>,
    /// What delegation tokens name this manager; the host's name when left out.
    pub name: Option<String>,
    /// The API over TCP.
    pub tcp: Option<TcpDoc>,
    /// The metrics' endpoint; none when left out.
    pub metrics: Option<MetricsDoc>,
    /// How long flows are remembered.
    pub flows: FlowsDoc,
    /// What is remembered of ended sandboxes.
    pub history: HistoryDoc,
    /// Sandboxes made ahead.
    pub parked: ParkedDoc,
    /// Interpreters of which their tasks are forked.
    pub zygotes: Vec<ZygoteDoc>,
    /// What users may store of their environments.
    pub environments: EnvironmentsDoc,
    /// Services that are answered inside of sandboxes, by their names.
    pub services: BTreeMap<String, ServiceDoc>,
    /// Logs and traces.
    pub telemetry: TelemetryDoc,
    /// Who is believed to be whom.
    pub auth: AuthDoc,
    /// Whom they are mapped to.
    pub identity: IdentityDoc,
    /// What they may do.
    pub profiles: ProfilesDoc,
    /// What may leave any sandbox at most; `profiles.egress` names a file of it instead.
    pub egress: Option<EgressDoc>,
}

/// `[tcp]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpDoc {
    /// Address and port.
    pub listen: std::net::SocketAddr,
    /// PEM: the server's certificate and those between it and its authority.
    pub certificate: PathBuf,
    /// PEM: its key.
    pub key: PathBuf,
}

/// `[profiles]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfilesDoc {
    /// The administrator's profiles, one a file.
    pub folder: Option<PathBuf>,
    /// Bounds for profiles that users write.
    pub ceilings: Option<PathBuf>,
    /// The template of personal profiles.
    pub personal: Option<PathBuf>,
    /// The site's own authorization policies (Cedar).
    pub policies: Option<PathBuf>,
    /// What may leave any sandbox at most: a document of egress.
    pub egress: Option<PathBuf>,
}

/// The configuration, checked.
#[derive(Debug)]
pub struct Config {
    /// As written, with its defaults.
    pub doc: ConfigDoc,
    /// Who is believed to be whom.
    pub auth: AuthConfig,
    /// Whom they are mapped to.
    pub identity: IdentityMap,
    /// Bounds for profiles that users write.
    pub ceilings: Ceilings,
    /// The template of personal profiles.
    pub personal: Option<PersonalProfile>,
    /// The administrator's rules of egress.
    pub administrator: Administrator,
    /// Addresses inside that are a service's own.
    pub fixed: FixedAddresses,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{path} cannot be read; check the path and its permissions")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// What it says: a line for each thing that is wrong.
    #[error("{0}")]
    Refused(String),
}

/// Where things are for root; for an ordinary user, in the folders of the session.
const RUNTIME: &str = "/run/lakekeep";
const STATE: &str = "/var/lib/lakekeep";

impl ConfigDoc {
    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        let own = || self.runtime().join("lakekeep.sock");
        self.socket.clone().unwrap_or_else(own)
    }

    /// The socket of user functions: beside the API's, so that who knows one knows both.
    pub fn functions(&self) -> PathBuf {
        let mut name = self.socket().into_os_string();
        name.push(".udf");
        name.into()
    }

    /// For what ends with the boot.
    pub fn runtime(&self) -> PathBuf {
        let session = || {
            let base = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !is_root())?;
            Some(Path::new(&base).join("lakekeep"))
        };
        self.runtime
            .clone()
            .or_else(session)
            .unwrap_or_else(|| PathBuf::from(RUNTIME))
    }

    /// For what the manager remembers.
    pub fn state(&self) -> PathBuf {
        let session = || {
            let home = std::env::var_os("HOME").filter(|_| !is_root())?;
            Some(Path::new(&home).join(".local/state/lakekeep"))
        };
        self.state
            .clone()
            .or_else(session)
            .unwrap_or_else(|| PathBuf::from(STATE))
    }

    /// How many launchers.
    pub fn launchers(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.launchers.unwrap_or_else(processors).clamp(1, 64)
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Config {
    /// Reads and checks the file and those that it names.
    ///
    /// # Errors
    /// [`ConfigError`], with file, line and field of everything that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = read(path)?;
        let document = read_toml::<ConfigDoc>(&name, &text).map_err(refused)?;
        let doc = document.value().clone();
        let auth = doc.auth.check();
        let auth = auth.map_err(|errors| refused(document.errors(&errors)))?;
        let identity = doc.identity.check();
        let identity = identity.map_err(|errors| refused(document.errors(&errors)))?;
        for (index, zygote) in doc.zygotes.iter().enumerate() {
            let checked = zygote.preload().check();
            checked.map_err(|error| refused(format!("{name}: zygotes[{index}]: {error}")))?;
        }
        let fixed = local::check(&doc.services)
            .map_err(|(service, error)| refused(format!("{name}: services.{service}: {error}")))?;
        let administrator = Administrator::of(&document, path)?;
        let ceilings = match &doc.profiles.ceilings {
            Some(path) => {
                let doc = CeilingsDoc::from_toml(&path.display().to_string(), &read(path)?);
                Ceilings::check(doc.map_err(refused)?).map_err(refused)?
            }
            None => Ceilings::default(),
        }
        .with_egress(administrator.doc.clone());
        let personal = match &doc.profiles.personal {
            Some(path) => {
                let name = path.display().to_string();
                let personal = PersonalProfile::from_toml(&name, &read(path)?, &ceilings);
                Some(personal.map_err(refused)?)
            }
            None => None,
        };
        Ok(Self {
            doc,
            auth,
            identity,
            ceilings,
            personal,
            administrator,
            fixed,
        })
    }

    /// Reads the administrator's profiles, as the manager will.
    ///
    /// # Errors
    /// A line for each thing that is wrong. What is allowed and weak, or without effect, is
    /// returned.
    pub fn check_profiles(&self) -> Result<Vec<String>, ConfigError> {
        let Some(folder) = &self.doc.profiles.folder else {
            return Ok(Vec::new());
        };
        let read = lakekeep_profiles::ProfileSet::load(folder, None, &self.ceilings);
        let set = read.map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(|error| chain(error)).collect();
            ConfigError::Refused(lines.join("\n"))
        })?;
        let warnings = set.iter().map(|stored| stored.profile().warnings());
        Ok(warnings.flatten().collect())
    }

    /// What is allowed and weak; to be shown at start.
    pub fn warnings(&self) -> Vec<String> {
        let auth = self.auth.warnings().iter();
        let all = auth.chain(self.identity.warnings());
        all.map(ToString::to_string)
            .chain(self.administrator.warnings())
            .collect()
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        path: path.display().to_string(),
        error,
    })
}

fn refused(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::Refused(error.to_string())
}
