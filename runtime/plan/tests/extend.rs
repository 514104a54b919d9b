//! An environment for a sandbox that was planned without one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use lakekeep_plan::image::HostImage;
use lakekeep_plan::{
    Command, HostFacts, ImageFacts, Inputs, MountFacts, Plan, PlanError, Replica, View,
};
use lakekeep_policy::{Policy, PolicyDoc};
use lakekeep_protocol::launch::RootfsStep;

const POLICY: &str = r#"
version = 1
[[mounts]]
source = "/srv/out"
target = "/data/out"
[env]
GIVEN = "policy's"
"#;

fn plan() -> Plan {
    let policy = PolicyDoc::from_toml("policy.toml", POLICY).unwrap();
    let image = HostImage {
        directories: vec!["/usr".to_owned()],
        links: vec![("/bin".to_owned(), "usr/bin".to_owned())],
        ..HostImage::default()
    };
    let mount = MountFacts {
        directory: true,
        owner: (0, 0),
        identity: None,
    };
    Plan::new(&Inputs {
        policy: &Policy::check(policy).unwrap(),
        host: &HostFacts::example_root(),
        image: &ImageFacts::Host(image),
        mounts: &[mount],
        command: &Command {
            arguments: vec![b"python3".to_vec()],
            path: "/usr/bin:/bin".to_owned(),
            ..Command::default()
        },
        id: "0123456789abcdef",
    })
    .unwrap()
}

fn view(targets: &[(&str, bool)]) -> View {
    let replica = |(target, directory): &(&str, bool)| Replica {
        source: format!("/store{target}"),
        target: (*target).to_owned(),
        directory: *directory,
    };
    View {
        replicas: targets.iter().map(replica).collect(),
        programs: "/home/ada/venv/bin".to_owned(),
        variables: [("GIVEN", "the view's"), ("PYTHONPATH", "/home/ada/src")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
    }
}

fn variables(plan: &Plan) -> Vec<String> {
    let text = |it: &Vec<u8>| String::from_utf8(it.clone()).unwrap();
    plan.task.environment.iter().map(text).collect()
}

#[test]
fn its_parts_get_places_and_are_told() {
    let mut plan = plan();
    let before = plan.clone();
    let parts = [
        ("/home/ada/venv", true),
        ("/opt/own.py", false),
        ("/usr/lib/python3.11", true),
    ];
    let extension = plan.extend(&view(&parts)).unwrap();
    let places: Vec<(&str, bool)> = extension
        .places
        .iter()
        .map(|step| match step {
            RootfsStep::Directory { path, .. } => (path.as_str(), true),
            RootfsStep::File { path, .. } => (path.as_str(), false),
            other => panic!("{other:?}"),
        })
        .collect();
    // Parents first; of what is within the host's /usr, none.
    assert_eq!(
        places,
        [
            ("/home", true),
            ("/home/ada", true),
            ("/home/ada/venv", true),
            ("/opt", true),
            ("/opt/own.py", false)
        ]
    );
    assert_eq!(extension.mounts.len(), 3);
    let read_only = |step: &RootfsStep| {
        matches!(
            step,
            RootfsStep::Bind {
                read_only: true,
                owner: None,
                ..
            }
        )
    };
    assert!(extension.mounts.iter().all(read_only));
    let told = variables(&plan);
    assert!(told.contains(&"PATH=/home/ada/venv/bin:/usr/bin:/bin".to_owned()));
    assert!(told.contains(&"PYTHONPATH=/home/ada/src".to_owned()));
    assert!(told.contains(&"GIVEN=policy's".to_owned()));
    assert!(!told.contains(&"GIVEN=the view's".to_owned()));
    // Another task fits it as before: it can be ready.
    assert!(plan.task.seals_like(&before.task));
}

#[test]
fn what_lies_below_a_tasks_own_folders_is_kept_in_sight() {
    let mut plan = plan();
    let before = plan.clone();
    plan.extend(&view(&[("/tmp/venv", true), ("/home/user/own.py", false)]))
        .unwrap();
    let kept = &plan.task.scratch.kept;
    assert!(kept.contains(&("/tmp/venv".to_owned(), true)));
    assert!(kept.contains(&("/home/user/own.py".to_owned(), false)));
    assert!(!plan.task.seals_like(&before.task));
}

#[test]
fn what_has_no_place_is_refused_and_changes_nothing() {
    for (target, blocks) in [
        ("/bin", "a symbolic link"),
        ("/bin/python", "a symbolic link"),
        ("/usr", "another mount"),
        ("/data/out", "another mount"),
    ] {
        let mut plan = plan();
        let before = plan.clone();
        let refused = plan.extend(&view(&[("/opt/x", true), (target, true)]));
        let Err(PlanError::TargetBlocked { found, .. }) = refused else {
            panic!("{target}: {refused:?}");
        };
        assert_eq!(found, blocks, "{target}");
        assert_eq!(plan.sandbox, before.sandbox);
        assert_eq!(plan.task, before.task);
    }
}
