//! What a task is given beside its policy: variables and secrets.

use std::collections::BTreeMap;

use lakekeep_api::Reason;
use lakekeep_store::state::Levels;

use crate::fault::Fault;
use crate::gate::Gate;
use crate::meta::Meta;

/// The secrets that a task asks for, opened: as files and as variables.
pub type Opened = (Vec<(String, Vec<u8>)>, BTreeMap<String, String>);

impl Gate {
    /// Opens secrets for one task of a sandbox.
    ///
    /// # Errors
    /// `NotFound` for a name that is no secret; `Conflict` when the set has changed
    /// since the sandbox was made: it is then not its trust key's any more.
    pub fn open_secrets(&self, meta: &Meta, names: &[String]) -> Result<Opened, Fault> {
        let mut opened = Opened::default();
        if names.is_empty() {
            return Ok(opened);
        }
        let failed =
            |error: &(dyn std::error::Error + 'static)| Fault::internal("open a secret", error);
        let levels = levels(meta);
        let digest = self
            .vault
            .set_digest(levels)
            .map_err(|error| failed(&error))?;
        if digest.to_string() != meta.secrets {
            return Err(Fault::new(
                Reason::Conflict,
                "secrets were changed after this sandbox was made; claim a new one",
            ));
        }
        let effective = self
            .vault
            .effective(levels)
            .map_err(|error| failed(&error))?;
        let set = self.profiles.current();
        for name in names {
            let found = effective.get(name).ok_or_else(|| {
                Fault::new(
                    Reason::NotFound,
                    format!("no secret {name:?}; `lakekeep secret ls` lists yours"),
                )
            })?;
            let value = self.vault.get(lakekeep_store::secrets::SecretName {
                scope: found.from,
                owner: &found.owner,
                name,
            });
            let value = value.map_err(|error| failed(&error))?;
            place(&set, meta, name, value.expose(), &mut opened)?;
        }
        Ok(opened)
    }

    /// The variables of a task: those that are kept for its owner, its own, and last its
    /// identity's, which nobody can change.
    ///
    /// # Errors
    /// `Internal`.
    pub fn variables(
        &self,
        meta: &Meta,
        own: impl IntoIterator<Item = (String, String)>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        let kept = self.store.effective(levels(meta));
        let kept = kept.map_err(|error| Fault::internal("read the variables", &error))?;
        let mut all: BTreeMap<String, String> = kept
            .into_iter()
            .map(|(name, effective)| (name, effective.value))
            .collect();
        all.extend(own);
        all.extend(meta.identity.variables.clone());
        Ok(all)
    }
}

fn place(
    set: &lakekeep_profiles::ProfileSet,
    meta: &Meta,
    name: &str,
    value: &[u8],
    opened: &mut Opened,
) -> Result<(), Fault> {
    use lakekeep_profiles::SecretTarget;
    use lakekeep_protocol::task::SECRETS_DIRECTORY;
    let secrets = set
        .get(&meta.profile)
        .map(|stored| stored.profile().secrets());
    let declared = secrets
        .unwrap_or_default()
        .iter()
        .find(|secret| secret.name() == name);
    match declared.map(|secret| secret.target()) {
        Some(SecretTarget::Variable(variable)) => {
            let text = std::str::from_utf8(value).map_err(|_| {
                Fault::new(
                    Reason::BadRequest,
                    format!("secret {name:?} is not text and cannot be a variable; make it a file"),
                )
            })?;
            opened.1.insert(variable.clone(), text.to_owned());
        }
        Some(SecretTarget::File(path)) => {
            let file = path.as_str().strip_prefix(SECRETS_DIRECTORY);
            let file = file
                .and_then(|rest| rest.strip_prefix('/'))
                .filter(|file| !file.contains('/'));
            let file = file.ok_or_else(|| {
                let profile = &meta.profile;
                Fault::new(Reason::BadPolicy, format!("secret {name:?}: profile {profile} wants it at {path}; only files in {SECRETS_DIRECTORY} can be given"))
            })?;
            opened.0.push((file.to_owned(), value.to_vec()));
        }
        None => opened.0.push((name.to_owned(), value.to_vec())),
    }
    Ok(())
}

fn levels(meta: &Meta) -> Levels<'_> {
    Levels {
        profile: &meta.profile,
        project: (!meta.project.is_empty()).then_some(meta.project.as_str()),
        user: &meta.owner,
    }
}

#[cfg(test)]
mod tests {
    use lakekeep_profiles::is_secret_name;
    use lakekeep_store::state::check_secret_name;

    #[test]
    fn a_secret_that_a_profile_may_declare_can_be_set_and_no_other() {
        let mut names: Vec<String> = (0..=0x17f)
            .filter_map(char::from_u32)
            .flat_map(|c| {
                [
                    c.to_string(),
                    format!("a{c}"),
                    format!("{c}a"),
                    format!("a{c}a"),
                ]
            })
            .collect();
        names.extend((0..70).map(|length| "n".repeat(length)));
        let mut good = 0;
        for name in &names {
            let declared = is_secret_name(name);
            assert_eq!(declared, check_secret_name(name).is_ok(), "{name:?}");
            good += usize::from(declared);
        }
        assert_eq!(good, 4 * 62 + 3 + 63);
    }
}
