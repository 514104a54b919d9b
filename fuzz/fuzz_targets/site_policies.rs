//! The site's own authorization policies, as Cedar text. Each input is validated against the
//! schema, which takes its time.
#![no_main]

use std::sync::LazyLock;

use lakekeep_profiles::{Action, Authorizer, Ceilings, Profile, ProfileDoc, Resource, Subject};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// The README's profile; it is a seed of `profiles` too, whose first byte says so.
const TEAM: &str = include_str!("../corpus/profiles/team");

static PROFILE: LazyLock<Profile> = LazyLock::new(|| {
    let doc = ProfileDoc::from_toml("team.toml", &TEAM[1..]).expect("a good document");
    Profile::check(&doc, &Ceilings::default()).expect("a good profile")
});

fuzz_target!(|text: &str| policies(text));

static SITE: LazyLock<(TempDir, Authorizer)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    (folder, Authorizer::new().expect("the default policies"))
});

/// All of a file is in force, or the policies of before. What is in force decides, and
/// a stranger whom it lets in has a reason.
fn policies(text: &str) {
    let (folder, authorizer) = &*SITE;
    std::fs::write(folder.path().join("site.cedar"), text).expect("a file");
    let before = authorizer.policies();
    if let Err(errors) = authorizer.reload(folder.path()) {
        assert!(!errors.is_empty());
        assert_eq!(authorizer.policies(), before);
        for error in errors {
            let shown = error.to_string();
            assert!(!shown.contains(char::is_control), "{shown:?}");
        }
        return;
    }
    let subject = Subject {
        user: "mallory".to_owned(),
        groups: vec!["strangers".to_owned()],
        administrator: false,
    };
    let action = Action::CreateSandbox;
    let decision = authorizer.decide(&subject, action, Resource::Profile(&PROFILE));
    assert_eq!(
        decision.allowed,
        decision.allowed && !decision.reasons.is_empty()
    );
    assert!(decision.allowed || decision.errors.len() + decision.would_need.len() > 0);
    assert!(
        !decision
            .to_string()
            .contains(|c: char| c.is_control() && c != '\n')
    );
}
