//! From profile and subject to what policies speak of.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use cedar_policy::{
    Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression, Schema,
};
use lakekeep_policy::MountMode;

use super::{Resource, Subject};
use crate::profile::Profile;

/// Anything that goes wrong on the way; the text is reported.
pub(super) type Wrong = String;

/// `TYPE::"id"`. The id is data: whatever it holds, it is one name.
pub(super) fn uid(kind: &str, id: &str) -> Result<EntityUid, Wrong> {
    let kind = EntityTypeName::from_str(kind).map_err(|error| error.to_string())?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

type Attributes = HashMap<String, RestrictedExpression>;

fn entity(id: EntityUid, attributes: Attributes, parents: Vec<EntityUid>) -> Result<Entity, Wrong> {
    Entity::new(id, attributes, parents.into_iter().collect::<HashSet<_>>())
        .map_err(|error| error.to_string())
}

fn reference(kind: &str, id: &str) -> Result<RestrictedExpression, Wrong> {
    Ok(RestrictedExpression::new_entity_uid(uid(kind, id)?))
}

fn references<'a>(
    kind: &str,
    ids: impl Iterator<Item = &'a str>,
) -> Result<RestrictedExpression, Wrong> {
    let each = ids
        .map(|id| reference(kind, id))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(RestrictedExpression::new_set(each))
}

fn subject_entity(subject: &Subject) -> Result<Entity, Wrong> {
    let administrator = RestrictedExpression::new_bool(subject.administrator);
    let groups = subject.groups.iter().map(|group| uid("Group", group));
    entity(
        uid("User", &subject.user)?,
        HashMap::from([("administrator".to_owned(), administrator)]),
        groups.collect::<Result<_, _>>()?,
    )
}

fn profile_entity(profile: &Profile) -> Result<Entity, Wrong> {
    let flag = RestrictedExpression::new_bool;
    let admin = profile.admin();
    let (contributors, viewers) = (profile.contributors(), profile.viewers());
    let attributes = [
        ("owner", reference("User", profile.owner())?),
        ("contributors", references("User", contributors.users())?),
        (
            "contributor_groups",
            references("Group", contributors.groups())?,
        ),
        ("viewers", references("User", viewers.users())?),
        ("viewer_groups", references("Group", viewers.groups())?),
        ("allow_delegation", flag(admin.allow_delegation())),
        ("delegates", references("User", admin.delegates())?),
        ("owner_reads_output", flag(admin.owner_reads_output())),
        ("owner_reads_files", flag(admin.owner_reads_files())),
    ];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value));
    entity(profile_uid(profile)?, HashMap::from(attributes), Vec::new())
}

fn profile_uid(profile: &Profile) -> Result<EntityUid, Wrong> {
    uid("Profile", profile.name().as_str())
}

/// The resource's name, and the entities that it is made of.
fn resource_entities(resource: Resource<'_>) -> Result<(EntityUid, Vec<Entity>), Wrong> {
    match resource {
        Resource::Manager => {
            let id = uid("Manager", "manager")?;
            Ok((id.clone(), vec![entity(id, HashMap::new(), Vec::new())?]))
        }
        Resource::Profile(profile) => Ok((profile_uid(profile)?, vec![profile_entity(profile)?])),
        Resource::Sandbox { profile, user, id } => {
            let attributes = [("user".to_owned(), reference("User", user)?)];
            part("Sandbox", id, profile, attributes.into())
        }
        Resource::Volume { profile, name } => {
            let volume = profile
                .volume(name)
                .ok_or_else(|| format!("profile {} has no volume \"{name}\"", profile.name()))?;
            let flag = RestrictedExpression::new_bool;
            let attributes = [
                ("home".to_owned(), flag(volume.home())),
                (
                    "writable".to_owned(),
                    flag(volume.mode() == MountMode::ReadWrite),
                ),
            ];
            let id = format!("{}/{name}", profile.name());
            part("Volume", &id, profile, attributes.into())
        }
    }
}

/// An entity that belongs to a profile.
fn part(
    kind: &str,
    id: &str,
    profile: &Profile,
    mut attributes: Attributes,
) -> Result<(EntityUid, Vec<Entity>), Wrong> {
    let owner = profile_uid(profile)?;
    let reference = RestrictedExpression::new_entity_uid(owner.clone());
    attributes.insert("profile".to_owned(), reference);
    let id = uid(kind, id)?;
    let own = entity(id.clone(), attributes, vec![owner])?;
    Ok((id, vec![own, profile_entity(profile)?]))
}

/// Everything that one decision looks at.
pub(super) fn of(
    schema: &Schema,
    subject: &Subject,
    resource: Resource<'_>,
) -> Result<(EntityUid, Entities), Wrong> {
    let (id, mut all) = resource_entities(resource)?;
    all.push(subject_entity(subject)?);
    let entities = Entities::from_entities(all, Some(schema)).map_err(|error| error.to_string())?;
    Ok((id, entities))
}
