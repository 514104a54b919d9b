//! A checked profile.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use lakekeep_egress_rules::Level;
use lakekeep_policy::{Bytes, GuestPath, Layer, MountMode, Preset};

use crate::ceilings::Ceilings;
use crate::check;
use crate::document::{LimitSetDoc, ProfileDoc, Section, VolumeOwner, Weakening};
use crate::egress::EgressBounds;
use crate::fault::ProfileErrors;
use crate::images::ImageRule;
use crate::names::ProfileName;
use crate::quota::Quotas;

/// A tenant: who owns it, who may use it, and what it gives. Made only by
/// [`Profile::check`], so every value is valid on its own and together with the
/// others.
///
/// `Debug` shows the names of variables and not their values.
#[derive(Clone, PartialEq)]
pub struct Profile {
    pub(crate) name: ProfileName,
    pub(crate) title: String,
    pub(crate) owner: String,
    pub(crate) project: Option<String>,
    pub(crate) contributors: People,
    pub(crate) viewers: People,
    pub(crate) images: Vec<ImageRule>,
    pub(crate) presets: Vec<Preset>,
    pub(crate) quotas: Quotas,
    pub(crate) default_limits: LimitSetDoc,
    pub(crate) maximum_limits: LimitSetDoc,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) egress: Option<EgressBounds>,
    pub(crate) floor: Vec<Layer>,
    pub(crate) admin: Admin,
}

/// Users and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    pub(crate) users: BTreeSet<String>,
    pub(crate) groups: BTreeSet<String>,
}

/// A host folder that sandboxes of the profile can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) home: bool,
    pub(crate) target: GuestPath,
    pub(crate) mode: MountMode,
    pub(crate) owner: VolumeOwner,
    pub(crate) quota: Option<Bytes>,
    pub(crate) optional: bool,
}

/// A secret by name, and how a task gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub(crate) name: String,
    pub(crate) target: SecretTarget,
}

/// How a task gets a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretTarget {
    /// As a file on a private in-memory file system, at this path inside.
    File(GuestPath),
    /// As the variable of this name.
    Variable(String),
}

/// What only an administrator sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    pub(crate) expose_host_image: bool,
    pub(crate) allow_delegation: bool,
    pub(crate) delegates: BTreeSet<String>,
    pub(crate) owner_reads_output: bool,
    pub(crate) owner_reads_files: bool,
    pub(crate) allow_weakening: BTreeSet<Weakening>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) max_idle: Option<Duration>,
    pub(crate) require: BTreeSet<Section>,
}

/// How long a sandbox may idle, and live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// Time without a task or an attached client; `None` for no limit.
    pub idle_timeout: Option<Duration>,
    /// Age; `None` for no limit.
    pub max_lifetime: Option<Duration>,
}

impl Profile {
    /// Checks a document against every rule. Quotas and maxima that it leaves
    /// out are those of `ceilings`.
    ///
    /// What goes beyond the ceilings is not refused here, since administrators
    /// may: [`Profiles::put`](crate::Profiles::put) refuses it to others.
    ///
    /// # Errors
    ///
    /// [`ProfileErrors`] with every rule that the document breaks.
    pub fn check(doc: &ProfileDoc, ceilings: &Ceilings) -> Result<Profile, ProfileErrors> {
        check::check(doc, ceilings)
    }

    /// The profile's name.
    pub fn name(&self) -> &ProfileName {
        &self.name
    }

    /// One line for people; empty if there is none.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The user who answers for it.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The name that identity rules of projects are matched with.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// Who makes sandboxes, the owner aside.
    pub fn contributors(&self) -> &People {
        &self.contributors
    }

    /// Who sees lists and receipts.
    pub fn viewers(&self) -> &People {
        &self.viewers
    }

    /// Allowed images; at least one.
    pub fn images(&self) -> &[ImageRule] {
        &self.images
    }

    /// Allowed presets; at least one, the first is the default.
    pub fn presets(&self) -> &[Preset] {
        &self.presets
    }

    /// What all sandboxes, and one user's, may have at one time.
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// The volumes.
    pub fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    /// The volume of this name.
    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.name == name)
    }

    /// Variables of every sandbox. Do not log the values.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// The secrets' names and forms.
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// What may leave its sandboxes; `None`: nothing.
    pub fn egress(&self) -> Option<&EgressBounds> {
        self.egress.as_ref()
    }

    /// Layers without which nothing is run; ordered, each once.
    pub fn floor(&self) -> &[Layer] {
        &self.floor
    }

    /// What only an administrator sets.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// What is weaker than it could be, and what has no effect; for whoever runs the manager.
    pub fn warnings(&self) -> Vec<String> {
        let Some(Ok(rules)) = self.egress().map(|egress| egress.levels(None).ruleset()) else {
            return Vec::new();
        };
        let name = &self.name;
        let weak = rules.warnings().into_iter();
        let weak = weak.filter(|warning| warning.level == Level::Owner);
        let weak = weak.map(|warning| {
            let (field, message) = (&warning.place.field, &warning.message);
            format!("profile {name}: egress.{field}: {message}")
        });
        let idle = rules.idle_rules().into_iter().map(|(_, idle)| {
            let (field, rule) = (&idle.place.field, &idle.rule);
            format!(
                "profile {name}: egress.{field}: {rule}: without effect, the administrator's rules allow nothing of it"
            )
        });
        let services = rules.idle_services().into_iter().map(|(_, service)| {
            format!(
                "profile {name}: egress.services: {service}: without effect, the administrator's rules do not grant it"
            )
        });
        weak.chain(idle).chain(services).collect()
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("name", &self.name)
            .field("owner", &self.owner)
            .field("project", &self.project)
            .field("contributors", &self.contributors)
            .field("viewers", &self.viewers)
            .field("images", &self.images)
            .field("presets", &self.presets)
            .field("quotas", &self.quotas)
            .field("default_limits", &self.default_limits)
            .field("maximum_limits", &self.maximum_limits)
            .field("volumes", &self.volumes)
            .field("env", &self.env.keys())
            .field("secrets", &self.secrets)
            .field("egress", &self.egress)
            .field("floor", &self.floor)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

impl People {
    /// Names of users.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(String::as_str)
    }

    /// Names of groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(String::as_str)
    }
}

impl Volume {
    /// What requests call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Absolute folder on the host; with [`Volume::home`], `{account}` in it
    /// stands for the account.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether each account has its own.
    pub fn home(&self) -> bool {
        self.home
    }

    /// The path inside.
    pub fn target(&self) -> &GuestPath {
        &self.target
    }

    /// The most that may be done with it.
    pub fn mode(&self) -> MountMode {
        self.mode
    }

    /// Whose the files are on disk.
    pub fn owner(&self) -> VolumeOwner {
        self.owner
    }

    /// Most bytes on disk.
    pub fn quota(&self) -> Option<Bytes> {
        self.quota
    }

    /// Whether only sandboxes that ask for it have it.
    pub fn optional(&self) -> bool {
        self.optional
    }
}

impl Secret {
    /// The name it is stored under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How a task gets it.
    pub fn target(&self) -> &SecretTarget {
        &self.target
    }
}

impl Admin {
    /// Whether the host's own system folders may be an image.
    pub fn expose_host_image(&self) -> bool {
        self.expose_host_image
    }

    /// Whether the delegates may act for the profile's users.
    pub fn allow_delegation(&self) -> bool {
        self.allow_delegation
    }

    /// Engines' users.
    pub fn delegates(&self) -> impl Iterator<Item = &str> {
        self.delegates.iter().map(String::as_str)
    }

    /// Whether the owner reads the output of others' sandboxes.
    pub fn owner_reads_output(&self) -> bool {
        self.owner_reads_output
    }

    /// Whether the owner reads the files of others' sandboxes.
    pub fn owner_reads_files(&self) -> bool {
        self.owner_reads_files
    }

    /// Whether a sandbox may ask for this weaker setting.
    pub fn allows(&self, weakening: Weakening) -> bool {
        self.allow_weakening.contains(&weakening)
    }

    /// Bound of every sandbox's `max_lifetime`.
    pub fn max_lifetime(&self) -> Option<Duration> {
        self.max_lifetime
    }

    /// Bound of every sandbox's `idle_timeout`.
    pub fn max_idle(&self) -> Option<Duration> {
        self.max_idle
    }

    /// Sections that must be enforced.
    pub fn require(&self) -> impl Iterator<Item = Section> {
        self.require.iter().copied()
    }
}
