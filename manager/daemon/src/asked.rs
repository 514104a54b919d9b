//! What a request for a sandbox says, read against its profile. Nothing here does anything.

use std::collections::BTreeMap;

use lakekeep_api::Reason;
use lakekeep_api::v1::{CreateRequest, Kind as WireKind};
use lakekeep_identity::{Identity as Mapped, IdentityKind};
use lakekeep_policy::{MountDoc, Policy, PolicyDoc};
use lakekeep_profiles::{Asker, Lifetimes, Profile, Refusal, Resolved, resolve, resolve_lifetimes};

use crate::fault::{Fault, shown};
use crate::images;
use crate::meta::{Identity, Kind};
use crate::wire;

/// Longest identifier of a request, bytes.
const LONGEST_REQUEST: usize = 64;

/// Most labels, and longest name and value of one, bytes.
const MOST_LABELS: usize = 32;
const LONGEST_LABEL: usize = 256;

/// Words of a request that are bounded, and what no manager gives.
///
/// # Errors
/// `BadRequest`.
pub fn check_words(request: &CreateRequest) -> Result<(), Fault> {
    let bad = |message: String| Err(Fault::new(Reason::BadRequest, message));
    if request.request_id.len() > LONGEST_REQUEST {
        return bad(format!("request_id is longer than {LONGEST_REQUEST} bytes"));
    }
    if !request.interpreter.is_empty() {
        return bad(
            "interpreter: a manager shows no prefix of its host; use an image or a volume"
                .to_owned(),
        );
    }
    let long = |text: &String| text.is_empty() || text.len() > LONGEST_LABEL;
    let labels = &request.labels;
    if labels.len() > MOST_LABELS
        || labels
            .iter()
            .any(|(name, value)| long(name) || value.len() > LONGEST_LABEL)
    {
        return bad(format!(
            "labels: at most {MOST_LABELS}, each name and value at most {LONGEST_LABEL} bytes"
        ));
    }
    Ok(())
}

/// The project is the profile's: it decides whose files are written.
///
/// # Errors
/// `Denied`.
pub fn project<'p>(profile: &'p Profile, asked: &str) -> Result<&'p str, Fault> {
    let own = profile.project().unwrap_or_default();
    if asked.is_empty() || asked == own {
        return Ok(own);
    }
    Err(Fault::new(
        Reason::Denied,
        format!(
            "project: profile {} is of project {own:?}; leave it out",
            profile.name()
        ),
    ))
}

/// The policy that is asked for, laid over the profile's.
///
/// # Errors
/// `BadPolicy`, with each refusal.
pub fn resolved(
    profile: &Profile,
    request: &CreateRequest,
    user: Option<&Mapped>,
) -> Result<Resolved, Fault> {
    let bad = |message: String| Fault::new(Reason::BadPolicy, message);
    let mut doc = match request.policy.trim() {
        "" => PolicyDoc::default(),
        text => PolicyDoc::from_toml("policy", text).map_err(|error| bad(error.to_string()))?,
    };
    // Profiles have names in full. What is no name either is refused with what they have.
    if let Some(name) = doc.image.as_deref().and_then(images::full_name) {
        doc.image = Some(name);
    }
    for name in &request.volumes {
        let volume = profile.volume(name);
        let volume = volume.ok_or_else(|| {
            bad(format!(
                "volumes: profile {} has no volume {name:?}",
                profile.name()
            ))
        })?;
        let source = format!("volume:{name}");
        if !doc.mounts.iter().any(|mount| mount.source == source) {
            doc.mounts.push(MountDoc {
                source,
                target: volume.target().as_str().to_owned(),
                mode: Some(volume.mode()),
            });
        }
    }
    let account = user.and_then(|user| match user.kind() {
        IdentityKind::OneToOne | IdentityKind::Pattern => Some(user.name().as_str()),
        IdentityKind::Shared | IdentityKind::Managed => None,
    });
    resolve(profile, doc, Asker { account }).map_err(|refusals| bad(lines(&refusals)))
}

/// How long it may live, within the profile's bounds.
///
/// # Errors
/// `BadPolicy`.
pub fn lifetimes(profile: &Profile, request: &CreateRequest) -> Result<Lifetimes, Fault> {
    let asked = Lifetimes {
        idle_timeout: wire::duration(request.idle_timeout.as_ref()),
        max_lifetime: wire::duration(request.lifetime.as_ref()),
    };
    resolve_lifetimes(profile, asked)
        .map_err(|refusals| Fault::new(Reason::BadPolicy, lines(&refusals)))
}

fn lines(refusals: &[Refusal]) -> String {
    let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// What becomes of it when its manager ends.
pub fn kind(kind: WireKind) -> Kind {
    match kind {
        WireKind::Unspecified | WireKind::Interactive => Kind::Interactive,
        WireKind::Kernel => Kind::Kernel,
        WireKind::Udf => Kind::Udf,
        WireKind::Batch => Kind::Batch,
    }
}

/// An identity, as far as a sandbox needs it.
pub fn identity(mapped: &Mapped) -> Identity {
    let variables: BTreeMap<String, String> = mapped.variables().clone();
    Identity {
        name: mapped.name().to_string(),
        uid: mapped.uid(),
        gid: mapped.gid(),
        variables,
    }
}

/// The name of its image.
pub fn image(policy: &Policy) -> String {
    match policy.image() {
        lakekeep_policy::ImageRef::Host => "host".to_owned(),
        lakekeep_policy::ImageRef::Folder(folder) => folder.display().to_string(),
    }
}

/// Where volumes may be attached later: places are made for them.
pub fn later(profile: &Profile, attached: &[String]) -> Vec<String> {
    let rest = profile.volumes().iter();
    let rest = rest.filter(|volume| !attached.iter().any(|name| name == volume.name()));
    rest.map(|volume| volume.target().as_str().to_owned())
        .collect()
}

/// The refusal of a volume that a profile does not have.
pub fn no_volume(profile: &Profile, name: &str) -> Fault {
    let shown = shown(name);
    Fault::new(
        Reason::NotFound,
        format!(
            "profile {} has no volume {shown:?}; `lakekeep profile show {}` lists them",
            profile.name(),
            profile.name()
        ),
    )
}
