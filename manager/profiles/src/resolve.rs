//! A user's request, laid over a profile and held against it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use lakekeep_egress_rules::Level;
use lakekeep_policy::{
    Bytes, GuestPath, Layer, LimitsDoc, MountDoc, MountMode, PolicyDoc, Preset, ProcView,
    SeccompProfile,
};

use crate::amount::Amount;
use crate::check::volumes::ACCOUNT;
use crate::document::{Span, VolumeOwner, Weakening};
use crate::egress::{EgressBounds, EgressLevels};
use crate::images::{HOST, listed};
use crate::names::is_account;
use crate::profile::{Lifetimes, Profile, SecretTarget, Volume};
use crate::show::quoted;

/// How a request names a volume instead of its folder: `volume:NAME`.
pub const VOLUME_SCHEME: &str = "volume:";

/// One thing that was asked for and is not allowed: the field of the request,
/// what was asked, what is allowed, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The path of the field, such as `limits.memory`.
    pub field: String,
    /// What was asked for, for the reader.
    pub asked: String,
    /// What is allowed.
    pub allowed: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal {
            field,
            asked,
            allowed,
            remedy,
        } = self;
        write!(
            f,
            "{field}: {asked}: the profile allows {allowed}; {remedy}"
        )
    }
}

/// Who asks, as far as volumes depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker<'a> {
    /// The host account that the user is mapped to, if to one; it stands for
    /// `{account}` in the sources of homes.
    pub account: Option<&'a str>,
}

/// A volume that a sandbox is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeGrant {
    /// The volume's name.
    pub name: String,
    /// The folder on the host, with the account filled in.
    pub source: PathBuf,
    /// The path inside.
    pub target: GuestPath,
    /// What may be done with it.
    pub mode: MountMode,
    /// Whose the files are on disk: which identity the mount is mapped to.
    pub owner: VolumeOwner,
    /// Most bytes on disk.
    pub quota: Option<Bytes>,
}

/// A request that the profile allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The whole policy document, volumes included as mounts; goes through
    /// [`Policy::check`](lakekeep_policy::Policy::check).
    pub policy: PolicyDoc,
    /// The mounts once more, with what a policy does not hold.
    pub volumes: Vec<VolumeGrant>,
    /// Whose rules of egress hold, where anything may leave; the policy has the narrowest.
    pub egress: Option<EgressLevels>,
}

/// Lays `asked` over the profile's defaults.
///
/// Single values of the request win where they are allowed; its variables win
/// over the profile's; its required layers are added to the profile's floor;
/// its mounts choose volumes, by `volume:NAME` or by the volume's own folder,
/// and can make them read-only.
///
/// # Errors
///
/// Every [`Refusal`], if anything is asked for that the profile does not allow.
pub fn resolve(
    profile: &Profile,
    asked: PolicyDoc,
    asker: Asker<'_>,
) -> Result<Resolved, Vec<Refusal>> {
    let mut refusals = Refusals::default();
    let preset = preset(profile, &asked, &mut refusals);
    let mut base = PolicyDoc {
        version: Some(lakekeep_policy::DOCUMENT_VERSION),
        preset: Some(preset),
        image: image(profile, &asked, &mut refusals),
        limits: limits(profile, &asked.limits, preset, &mut refusals),
        ..PolicyDoc::default()
    };
    base.env.0.clone_from(&profile.env);
    base.floor.require = profile.floor.iter().map(ToString::to_string).collect();
    weakenings(profile, &asked, preset, &mut refusals);
    floor(profile, &asked, &mut refusals);
    secrets(profile, &asked, &mut refusals);
    let egress = egress(profile, &asked, preset, &mut refusals);
    let volumes = volumes(profile, &asked, asker, &mut refusals);
    if !refusals.0.is_empty() {
        return Err(refusals.0);
    }
    let limits = base.limits.clone();
    // The mounts are the volumes', and the limits are settled above.
    let asked = PolicyDoc {
        mounts: Vec::new(),
        ..asked
    };
    if asked.egress.is_none() && egress.is_some() {
        base.egress = profile.egress().map(EgressBounds::of_one);
    }
    let policy = PolicyDoc {
        limits,
        mounts: volumes.iter().map(VolumeGrant::mount).collect(),
        ..base.overlay(asked)
    };
    Ok(Resolved {
        policy,
        volumes,
        egress,
    })
}

/// Holds the asked lifetimes against the profile's, and fills in its defaults.
///
/// # Errors
///
/// Every [`Refusal`].
pub fn resolve_lifetimes(profile: &Profile, asked: Lifetimes) -> Result<Lifetimes, Vec<Refusal>> {
    let mut refusals = Refusals::default();
    let (default, most) = (&profile.default_limits, &profile.maximum_limits);
    let span = |span: Option<Span>| span.map(|span| span.0);
    let mut settle = |field, asked, default, most| {
        let bounds = Bounds {
            default: span(default),
            maximum: span(most),
            preset: None,
        };
        bounds.settle(field, asked, &mut refusals)
    };
    let settled = Lifetimes {
        idle_timeout: settle(
            "idle_timeout",
            asked.idle_timeout,
            default.idle_timeout,
            most.idle_timeout,
        ),
        max_lifetime: settle(
            "max_lifetime",
            asked.max_lifetime,
            default.max_lifetime,
            most.max_lifetime,
        ),
    };
    if refusals.0.is_empty() {
        Ok(settled)
    } else {
        Err(refusals.0)
    }
}

impl VolumeGrant {
    fn mount(&self) -> MountDoc {
        MountDoc {
            source: self.source.to_string_lossy().into_owned(),
            target: self.target.to_string(),
            mode: Some(self.mode),
        }
    }
}

#[derive(Default)]
struct Refusals(Vec<Refusal>);

impl Refusals {
    fn add(
        &mut self,
        field: impl Into<String>,
        asked: impl Into<String>,
        allowed: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Refusal {
            field: field.into(),
            asked: asked.into(),
            allowed: allowed.into(),
            remedy: remedy.into(),
        });
    }
}

/// What to do where only somebody else can.
fn ask_owner(profile: &Profile, what: &str) -> String {
    format!(
        "ask {}, who owns the profile, to {what}",
        quoted(&profile.owner)
    )
}

fn preset(profile: &Profile, asked: &PolicyDoc, refusals: &mut Refusals) -> Preset {
    // A checked profile allows at least one.
    let usual = profile.presets.first().copied().unwrap_or(Preset::Udf);
    let preset = asked.preset.unwrap_or(usual);
    if !profile.presets.contains(&preset) {
        let allowed: Vec<&str> = profile
            .presets
            .iter()
            .map(|preset| preset.as_str())
            .collect();
        let remedy = format!("choose one of these, or {}", ask_owner(profile, "allow it"));
        refusals.add(
            "preset",
            quoted(preset.as_str()),
            allowed.join(", "),
            remedy,
        );
    }
    preset
}

/// Without a wish, the first image that is no pattern.
fn image(profile: &Profile, asked: &PolicyDoc, refusals: &mut Refusals) -> Option<String> {
    let allowed = listed(&profile.images);
    let Some(image) = &asked.image else {
        let usual = profile.images.iter().find(|rule| rule.is_exact());
        if usual.is_none() {
            refusals.add("image", "none named", allowed, "name an image that matches");
        }
        return usual.map(|rule| rule.as_str().to_owned());
    };
    if !profile.images.iter().any(|rule| rule.allows(image)) {
        let remedy = if image == HOST {
            "choose one of these, or have an administrator expose the host's system folders"
                .to_owned()
        } else {
            format!("choose one of these, or {}", ask_owner(profile, "allow it"))
        };
        refusals.add("image", quoted(image), allowed, remedy);
    }
    Some(image.clone())
}

/// The bounds of one limit.
struct Bounds<T> {
    default: Option<T>,
    maximum: Option<T>,
    /// `None` for no limit.
    preset: Option<T>,
}

impl<T: Copy + Ord + Into<Amount>> Bounds<T> {
    /// The most that may be asked for: the maximum; without one, the larger of
    /// the default and the preset's value; without any of these, no bound.
    fn cap(&self) -> Option<T> {
        self.maximum.or_else(|| {
            let preset = self.preset?;
            Some(self.default.map_or(preset, |default| default.max(preset)))
        })
    }

    /// The value to write; `None` for the preset's.
    fn settle(&self, field: &str, asked: Option<T>, refusals: &mut Refusals) -> Option<T> {
        let cap = self.cap();
        match (asked, cap) {
            (Some(asked), Some(cap)) if asked > cap => {
                let (asked, cap): (Amount, Amount) = (asked.into(), cap.into());
                let remedy = format!("ask for at most {cap}, or have limits.maximum raised");
                refusals.add(field, asked.to_string(), format!("at most {cap}"), remedy);
                None
            }
            (Some(asked), _) => Some(asked),
            (None, Some(cap)) => {
                let usual = self.default.or(self.preset);
                let narrowed = usual.map_or(cap, |usual| usual.min(cap));
                (self.default.is_some() || self.preset != Some(narrowed)).then_some(narrowed)
            }
            (None, None) => self.default,
        }
    }
}

fn limits(
    profile: &Profile,
    asked: &LimitsDoc,
    preset: Preset,
    refusals: &mut Refusals,
) -> LimitsDoc {
    let (default, maximum) = (&profile.default_limits, &profile.maximum_limits);
    let usual = preset.limits();
    macro_rules! settle {
        ($($field:ident: $preset:expr, $doc:expr;)+) => {
            LimitsDoc { $($field: {
                let doc = $doc;
                let bounds = Bounds {
                    default: default.$field.map(doc),
                    maximum: maximum.$field.map(doc),
                    preset: $preset,
                };
                bounds.settle(concat!("limits.", stringify!($field)), asked.$field, refusals)
            },)+ }
        };
    }
    let mut limits = settle! {
        memory: Some(usual.memory()), |size| size;
        swap: Some(usual.swap()), |size| size;
        cpus: Some(usual.cpus()), |cpus| cpus;
        pids: Some(usual.pids()), |count| count;
        wall_time: usual.wall_time(), |span: Span| span.0;
        cpu_time: usual.cpu_time(), |span: Span| span.0;
        open_files: Some(usual.open_files()), |count| count;
        file_size: Some(usual.file_size()), |size| size;
        scratch_size: Some(usual.scratch_size()), |size| size;
        scratch_inodes: Some(usual.scratch_inodes()), |count| count;
        output: Some(usual.output()), |size| size;
    };
    // Scratch is memory: a small memory that was asked for makes the profile's
    // scratch smaller, instead of being refused for a field nobody wrote.
    if asked.scratch_size.is_none() {
        let memory = limits.memory.unwrap_or(usual.memory());
        limits.scratch_size = limits.scratch_size.map(|size| size.min(memory));
    }
    limits
}

fn weakenings(profile: &Profile, asked: &PolicyDoc, preset: Preset, refusals: &mut Refusals) {
    let allowed = |weakening| profile.admin.allows(weakening);
    let remedy = |name: &str| {
        format!(
            "leave the field out, or have an administrator add \"{name}\" to admin.allow_weakening"
        )
    };
    if asked.landlock.enabled == Some(false) && !allowed(Weakening::Landlock) {
        refusals.add("landlock.enabled", "false", "true only", remedy("landlock"));
    }
    if asked.proc.view == Some(ProcView::Full)
        && preset.proc_view() != ProcView::Full
        && !allowed(Weakening::Proc)
    {
        let usual = quoted(preset.proc_view().as_str());
        refusals.add("proc.view", "\"full\"", usual, remedy("proc"));
    }
    // An unknown profile is refused by the policy's own check.
    let seccomp = asked.seccomp.profile.as_deref();
    let wider = seccomp.and_then(|name| name.parse::<SeccompProfile>().ok());
    if let Some(wider) = wider.filter(|asked| *asked > preset.seccomp_profile())
        && !allowed(Weakening::Seccomp)
    {
        let usual = format!("at most {}", quoted(preset.seccomp_profile().as_str()));
        refusals.add(
            "seccomp.profile",
            quoted(wider.as_str()),
            usual,
            remedy("seccomp"),
        );
    }
}

/// Layers of the profile's floor that the request would switch off. Its own
/// list can only add to the floor.
fn floor(profile: &Profile, asked: &PolicyDoc, refusals: &mut Refusals) {
    if asked.landlock.enabled == Some(false) && profile.floor.contains(&Layer::Landlock) {
        let remedy = "leave landlock.enabled out".to_owned();
        let allowed = "only sandboxes with the layer \"landlock\", which its floor requires";
        refusals.add("landlock.enabled", "false", allowed, remedy);
    }
}

/// A variable of the user's must not take the place of a secret.
fn secrets(profile: &Profile, asked: &PolicyDoc, refusals: &mut Refusals) {
    let taken: BTreeSet<&str> = profile
        .secrets
        .iter()
        .filter_map(|secret| match &secret.target {
            SecretTarget::Variable(name) => Some(name.as_str()),
            SecretTarget::File(_) => None,
        })
        .collect();
    for name in asked
        .env
        .0
        .keys()
        .filter(|name| taken.contains(name.as_str()))
    {
        let allowed = "its secret of that name only";
        refusals.add(
            format!("env.{name}"),
            "a value",
            allowed,
            "leave the variable out",
        );
    }
}

/// The profile's rules, and the user's within them. A rule of the user's that they leave
/// nothing of is refused now, and not at the first connection.
fn egress(
    profile: &Profile,
    asked: &PolicyDoc,
    preset: Preset,
    refusals: &mut Refusals,
) -> Option<EgressLevels> {
    let Some(own) = &asked.egress else {
        // Who can open no socket needs nobody to carry anything.
        let bounds = profile.egress().filter(|_| opens_sockets(asked, preset))?;
        return Some(bounds.levels(None));
    };
    let Some(bounds) = profile.egress() else {
        let remedy = format!(
            "leave [egress] and --egress out, or {}",
            ask_owner(profile, "add [egress]")
        );
        refusals.add("egress", "rules", "nothing to leave", remedy);
        return None;
    };
    let levels = bounds.levels(Some(own));
    // What is wrong with the user's document is told with the whole policy.
    if let Ok(rules) = levels.ruleset() {
        let idle = rules.idle_rules().into_iter();
        for (_, idle) in idle.filter(|(level, _)| *level == Level::User) {
            let field = format!("egress.{}", idle.place.field);
            let remedy = format!("leave it out, or {}", ask_owner(profile, "allow it"));
            let asked = quoted(&idle.rule.to_string());
            refusals.add(field, asked, "nothing of it to leave", remedy);
        }
        let idle = rules.idle_services().into_iter();
        for (_, service) in idle.filter(|(level, _)| *level == Level::User) {
            let remedy = format!("leave it out, or {}", ask_owner(profile, "grant it"));
            let asked = quoted(service.as_str());
            refusals.add("egress.services", asked, "none that is granted", remedy);
        }
    }
    Some(levels)
}

fn opens_sockets(asked: &PolicyDoc, preset: Preset) -> bool {
    // An unknown profile is refused by the policy's own check.
    let named = asked.seccomp.profile.as_deref();
    let named = named.and_then(|name| name.parse::<SeccompProfile>().ok());
    named.unwrap_or(preset.seccomp_profile()) != SeccompProfile::Udf
}

fn volumes(
    profile: &Profile,
    asked: &PolicyDoc,
    asker: Asker<'_>,
    refusals: &mut Refusals,
) -> Vec<VolumeGrant> {
    let mut chosen: Vec<(&Volume, MountMode)> = Vec::new();
    for (number, mount) in asked.mounts.iter().enumerate() {
        let field = format!("mounts[{number}]");
        let Some(volume) = volume_of(profile, mount, asker) else {
            not_a_volume(profile, &field, mount, refusals);
            continue;
        };
        let mode = mount.mode.unwrap_or(MountMode::ReadOnly);
        narrower(volume, &field, mount, refusals);
        if chosen.iter().any(|(other, _)| other.name == volume.name) {
            let allowed = "each volume once";
            refusals.add(field, quoted(&mount.source), allowed, "keep one of the two");
            continue;
        }
        chosen.push((volume, mode));
    }
    for volume in profile.volumes.iter().filter(|volume| !volume.optional) {
        if !chosen.iter().any(|(other, _)| other.name == volume.name) {
            chosen.push((volume, volume.mode));
        }
    }
    let grants = chosen.into_iter().filter_map(|(volume, mode)| {
        let Some(source) = source_of(volume, asker) else {
            let allowed = "homes of host accounts only, and you are mapped to none";
            let remedy = "ask an administrator for an identity rule that maps you to an account";
            refusals.add(format!("volume.{}", volume.name), "a home", allowed, remedy);
            return None;
        };
        Some(VolumeGrant {
            name: volume.name.clone(),
            source: PathBuf::from(source),
            target: volume.target.clone(),
            mode,
            owner: volume.owner,
            quota: volume.quota,
        })
    });
    grants.collect()
}

/// The folder on the host, with the account filled in.
fn source_of(volume: &Volume, asker: Asker<'_>) -> Option<String> {
    if !volume.home {
        return Some(volume.source.clone());
    }
    let account = asker.account.filter(|account| is_account(account))?;
    Some(volume.source.replace(ACCOUNT, account))
}

fn volume_of<'a>(profile: &'a Profile, mount: &MountDoc, asker: Asker<'_>) -> Option<&'a Volume> {
    if let Some(name) = mount.source.strip_prefix(VOLUME_SCHEME) {
        return profile.volume(name);
    }
    let same = |volume: &&Volume| source_of(volume, asker).as_ref() == Some(&mount.source);
    profile.volumes.iter().find(same)
}

fn not_a_volume(profile: &Profile, field: &str, mount: &MountDoc, refusals: &mut Refusals) {
    let names: Vec<String> = profile
        .volumes
        .iter()
        .map(|volume| quoted(&format!("{VOLUME_SCHEME}{}", volume.name)))
        .collect();
    let allowed = if names.is_empty() {
        "no folder of the host".to_owned()
    } else {
        format!("its volumes only: {}", names.join(", "))
    };
    let remedy = format!(
        "leave the mount out, or {}",
        ask_owner(profile, "make a volume of it")
    );
    refusals.add(
        format!("{field}.source"),
        quoted(&mount.source),
        allowed,
        remedy,
    );
}

fn narrower(volume: &Volume, field: &str, mount: &MountDoc, refusals: &mut Refusals) {
    if mount.target != volume.target.as_str() {
        let target = quoted(volume.target.as_str());
        let remedy = format!("write target = {target}");
        refusals.add(
            format!("{field}.target"),
            quoted(&mount.target),
            target,
            remedy,
        );
    }
    if mount.mode == Some(MountMode::ReadWrite) && volume.mode == MountMode::ReadOnly {
        let remedy = "write mode = \"ro\", or leave it out";
        refusals.add(format!("{field}.mode"), "\"rw\"", "\"ro\"", remedy);
    }
}
