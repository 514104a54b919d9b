//! Documents of profiles as their owners write them, and requests laid over them. The
//! first byte of an input chooses: a profile and, after a NUL, the policy that a user
//! asks for; the administrator's ceilings; or the template of personal profiles.
#![no_main]

use std::sync::LazyLock;

use lakekeep_policy::{Policy, PolicyDoc};
use lakekeep_profiles::{
    Asker, Ceilings, CeilingsDoc, PersonalProfile, Profile, ProfileDoc, resolve,
};
use libfuzzer_sys::fuzz_target;

/// The README's profile; it is a seed too, whose first byte says so.
const TEAM: &str = include_str!("../corpus/profiles/team");

static PROFILE: LazyLock<Profile> = LazyLock::new(|| profile(&TEAM[1..]).expect("a good profile"));

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let Some((text, request)) = lakekeep_fuzz::halves(rest) else {
        return;
    };
    match choice {
        b'v' => document(text, request),
        b'c' => {
            let ceilings = CeilingsDoc::from_toml("file.toml", text).and_then(Ceilings::check);
            if let Err(errors) = ceilings {
                refusal(&errors.to_string());
            }
        }
        b'p' => {
            let read = PersonalProfile::from_toml("file.toml", text, &Ceilings::default());
            if let Err(errors) = read {
                refusal(&errors.to_string());
            }
        }
        _ => asked(&PROFILE, text),
    }
});

fn profile(text: &str) -> Result<Profile, lakekeep_profiles::ProfileErrors> {
    let doc = ProfileDoc::from_toml("file.toml", text)?;
    Profile::check(&doc, &Ceilings::default())
}

/// A line for each refusal, with its place; nothing in it moves a cursor.
fn refusal(text: &str) {
    assert!(!text.is_empty());
    for line in text.lines() {
        assert!(line.starts_with("file.toml"), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

fn document(text: &str, request: &str) {
    let doc = match ProfileDoc::from_toml("file.toml", text) {
        Ok(doc) => doc,
        Err(errors) => return refusal(&errors.to_string()),
    };
    let checked = Profile::check(&doc, &Ceilings::default());
    // Written and read again, it says the same.
    let again = doc.to_toml().expect("what was read can be written");
    match (checked, profile(&again)) {
        (Ok(profile), Ok(_)) => asked(&profile, request),
        (Err(errors), Err(_)) => refusal(&errors.to_string()),
        (one, other) => panic!(
            "{:?}, and of {again:?} {:?}",
            one.map(drop),
            other.map(drop)
        ),
    }
}

/// What the profile lets through is within it, and a policy.
fn asked(profile: &Profile, text: &str) {
    let Ok(doc) = PolicyDoc::from_toml("policy", text) else {
        return;
    };
    let asker = Asker {
        account: Some("alice"),
    };
    let resolved = match resolve(profile, doc, asker) {
        Ok(resolved) => resolved,
        Err(refusals) => {
            assert!(!refusals.is_empty());
            for refusal in refusals {
                let shown = refusal.to_string();
                assert!(!shown.contains(char::is_control), "{shown:?}");
            }
            return;
        }
    };
    for grant in &resolved.volumes {
        let volume = profile
            .volume(&grant.name)
            .expect("a volume of the profile");
        assert!(grant.mode == volume.mode() || grant.mode == lakekeep_policy::MountMode::ReadOnly);
        assert_eq!(&grant.target, volume.target());
    }
    assert_eq!(resolved.policy.mounts.len(), resolved.volumes.len());
    if let Ok(policy) = Policy::check(resolved.policy) {
        assert!(profile.presets().contains(&policy.preset()));
        assert!(
            profile
                .floor()
                .iter()
                .all(|layer| policy.floor().contains(layer))
        );
    }
}
