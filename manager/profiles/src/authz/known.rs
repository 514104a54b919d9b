//! What was permitted lately, so that the same question is not thought about twice.
//!
//! A question is kept as everything that its decision looked at: the subject with its
//! groups, the action, and the resource with all that policies can see of it. Nothing has
//! to be forgotten when a profile changes: it is another question then. Other policies
//! make everything forgotten. What is denied is never kept: it has to be explained.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::PolicySet;
use lakekeep_policy::MountMode;

use super::{Action, Resource, Subject};
use crate::profile::Profile;

/// Questions kept at most; all are forgotten together.
const MOST: usize = 8192;

/// Longest question that is kept, bytes: a profile of thousands is asked about anew.
const LONGEST: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Permitted>);

#[derive(Debug, Default)]
struct Permitted {
    by: Option<Arc<PolicySet>>,
    questions: HashSet<Vec<u8>>,
}

impl Known {
    /// Whether these policies permitted this before.
    pub(super) fn has(&self, policies: &Arc<PolicySet>, question: &[u8]) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = known
            .by
            .as_ref()
            .is_some_and(|by| Arc::ptr_eq(by, policies));
        same && known.questions.contains(question)
    }

    /// These policies permit it.
    pub(super) fn keep(&self, policies: &Arc<PolicySet>, question: Vec<u8>) {
        if question.len() > LONGEST {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = known
            .by
            .as_ref()
            .is_some_and(|by| Arc::ptr_eq(by, policies));
        if !same || known.questions.len() >= MOST {
            *known = Permitted {
                by: Some(Arc::clone(policies)),
                questions: HashSet::new(),
            };
        }
        known.questions.insert(question);
    }
}

/// A question in bytes, of which two are equal only if the questions are.
pub(super) fn question(subject: &Subject, action: Action, resource: Resource<'_>) -> Vec<u8> {
    let mut words = Words(Vec::with_capacity(512));
    words.add(action.as_str());
    words.add(&subject.user);
    words.flag(subject.administrator);
    words.list(subject.groups.iter().map(String::as_str));
    match resource {
        Resource::Manager => words.add("manager"),
        Resource::Profile(profile) => {
            words.add("profile");
            words.profile(profile);
        }
        Resource::Sandbox { profile, user, id } => {
            words.add("sandbox");
            words.add(user);
            words.add(id);
            words.profile(profile);
        }
        Resource::Volume { profile, name } => {
            words.add("volume");
            words.add(name);
            let volume = profile.volume(name);
            words.flag(volume.is_some_and(crate::profile::Volume::home));
            words.flag(volume.is_some_and(|volume| volume.mode() == MountMode::ReadWrite));
            words.profile(profile);
        }
    }
    words.0
}

struct Words(Vec<u8>);

impl Words {
    fn add(&mut self, word: &str) {
        self.0.extend_from_slice(&word.len().to_le_bytes());
        self.0.extend_from_slice(word.as_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    fn list<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words {
            self.flag(true);
            self.add(word);
        }
        self.flag(false);
    }

    /// All that [`super::entities`] tells of a profile.
    fn profile(&mut self, profile: &Profile) {
        let admin = profile.admin();
        let (contributors, viewers) = (profile.contributors(), profile.viewers());
        self.add(profile.name().as_str());
        self.add(profile.owner());
        self.list(contributors.users());
        self.list(contributors.groups());
        self.list(viewers.users());
        self.list(viewers.groups());
        self.list(admin.delegates());
        for flag in [
            admin.allow_delegation(),
            admin.owner_reads_output(),
            admin.owner_reads_files(),
        ] {
            self.flag(flag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::SCHEMA_TEXT;
    use crate::{Ceilings, ProfileDoc};

    const PROFILE: &str = "version = 1\nname = \"team\"\nowner = \"owner\"\nimages = [\"/i\"]\n\
        presets = [\"udf\"]\n";

    /// For each attribute that policies can see of a profile, a profile in which it alone
    /// is another (but that delegation needs somebody to delegate to).
    const OTHERS: [(&str, &str); 9] = [
        ("owner", ""),
        ("contributors", "[contributors]\nusers = [\"a\"]\n"),
        ("contributor_groups", "[contributors]\ngroups = [\"a\"]\n"),
        ("viewers", "[viewers]\nusers = [\"a\"]\n"),
        ("viewer_groups", "[viewers]\ngroups = [\"a\"]\n"),
        (
            "allow_delegation",
            "[admin]\nallow_delegation = true\ndelegates = [\"a\"]\n",
        ),
        (
            "delegates",
            "[admin]\nallow_delegation = true\ndelegates = [\"b\"]\n",
        ),
        ("owner_reads_output", "[admin]\nowner_reads_output = true\n"),
        ("owner_reads_files", "[admin]\nowner_reads_files = true\n"),
    ];

    fn asked(text: &str) -> Vec<u8> {
        let doc = ProfileDoc::from_toml("team.toml", text).unwrap();
        let profile = Profile::check(&doc, &Ceilings::default()).unwrap();
        let subject = Subject {
            user: "a".to_owned(),
            groups: Vec::new(),
            administrator: false,
        };
        question(&subject, Action::ViewProfile, Resource::Profile(&profile))
    }

    #[test]
    fn nothing_that_policies_see_of_a_profile_is_left_out() {
        let (_, entity) = SCHEMA_TEXT.split_once("entity Profile {").unwrap();
        let (entity, _) = entity.split_once('}').unwrap();
        let lines = entity.lines().map(str::trim);
        let attributes = lines.filter(|line| !line.starts_with("//"));
        let attributes = attributes.filter_map(|line| Some(line.split_once(':')?.0));
        let tried = OTHERS.iter().map(|(name, _)| *name);
        assert_eq!(
            attributes.collect::<std::collections::BTreeSet<_>>(),
            tried.collect()
        );
        let mut all = vec![asked(PROFILE)];
        for (name, more) in OTHERS {
            let text = match name {
                "owner" => PROFILE.replace("\"owner\"", "\"other\""),
                _ => format!("{PROFILE}{more}"),
            };
            let other = asked(&text);
            assert!(!all.contains(&other), "{name}");
            all.push(other);
        }
    }

    #[test]
    fn lists_do_not_run_into_one_another() {
        let with = |text: &str| asked(&format!("{PROFILE}{text}"));
        assert_ne!(
            with("[contributors]\nusers = [\"ab\"]\n"),
            with("[contributors]\nusers = [\"a\", \"b\"]\n")
        );
    }
}
