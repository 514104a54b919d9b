//! What is written down of a sandbox in its folder, for the manager's successor.

use std::collections::BTreeMap;
use std::path::Path;

use lakekeep_plan::Plan;
use lakekeep_policy::{Policy, PolicyDoc};

use crate::fault::Fault;
use crate::images::Taken;
use crate::maker::without_environment;
use crate::meta::Meta;
use crate::task::{Files, Record};

/// The record of a sandbox in its folder.
const RECORD: &str = "sandbox";

/// Writes it into the folder, which is made.
pub fn write_record(folder: &Path, meta: &Meta, plan: &Plan) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(folder)?;
    let record = serde_json::to_vec(&(meta, without_environment(plan)))?;
    crate::files::replace(&folder.join(RECORD), &record)
}

/// Reads what was written.
pub fn read_record(folder: &Path) -> std::io::Result<(Meta, Plan)> {
    Ok(serde_json::from_slice(&std::fs::read(
        folder.join(RECORD),
    )?)?)
}

/// The tasks that are written down in a sandbox's folder.
pub fn records(folder: &Path) -> Vec<(u32, Record)> {
    let numbers = Files::numbers(folder).into_iter();
    let read = numbers.filter_map(|number| {
        let record = Files::new(folder, number).read_record();
        Some((number, record.ok()?))
    });
    read.collect()
}

/// Removes a sandbox's folder with all that is in it.
pub fn remove_folder(folder: &Path) {
    if std::fs::remove_dir_all(folder).is_err() {
        // Gone already; or tried again by the next manager.
    }
}

/// The policy that a sandbox was made by, on its image. Its variables are not written down.
pub fn policy_of(
    meta: &Meta,
    variables: BTreeMap<String, String>,
    image: Option<&Taken>,
) -> Result<Policy, Fault> {
    let bad = |error: &(dyn std::error::Error + 'static)| {
        Fault::internal("read a sandbox's own policy", error)
    };
    let doc = PolicyDoc::from_toml(&meta.id, &meta.policy);
    let mut doc = doc.map_err(|error| bad(&error))?;
    doc.env = variables.into();
    if let Some(image) = image {
        image.lay_under(&mut doc);
    }
    let policy = Policy::check(doc).map_err(|error| bad(&error))?;
    if policy.digest() != meta.policy_digest {
        tracing::warn!(
            "sandbox {}: its policy is not whole any more, as after a change of versions; its next tasks may lack variables: make another",
            meta.id
        );
    }
    Ok(policy)
}
