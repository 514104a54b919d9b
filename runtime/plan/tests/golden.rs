//! Whole plans, on hosts that never change, held against files.
//!
//! `LAKEKEEP_UPDATE_GOLDEN=1 cargo test -p lakekeep-plan` rewrites them; the
//! change is then read in the diff.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use lakekeep_plan::image::{FolderImage, HostImage};
use lakekeep_plan::{Command, HostFacts, ImageFacts, Inputs, MountFacts, Plan, PlanError};
use lakekeep_policy::{Policy, PolicyDoc};

const POLICY: &str = r#"
version = 1
preset = "PRESET"
[limits]
memory = "256MiB"
cpus = 1.5
cpu_time = "20s"
[[mounts]]
source = "/srv/data.csv"
target = "/data/in.csv"
[[mounts]]
source = "/srv/out"
target = "/data/out"
mode = "rw"
[env]
TOKEN = "never-shown"
"#;

fn policy(preset: &str) -> Policy {
    let doc = PolicyDoc::from_toml("policy.toml", &POLICY.replace("PRESET", preset)).unwrap();
    Policy::check(doc).unwrap()
}

fn host_image() -> ImageFacts {
    ImageFacts::Host(HostImage {
        directories: vec!["/usr".to_owned()],
        links: vec![
            ("/bin".to_owned(), "usr/bin".to_owned()),
            ("/lib".to_owned(), "usr/lib".to_owned()),
        ],
        etc_files: vec!["/etc/ld.so.cache".to_owned()],
        etc_directories: vec!["/etc/ssl/certs".to_owned()],
        prefixes: vec!["/opt/python".to_owned()],
        replicas: Vec::new(),
    })
}

fn folder_image(not_directories: Vec<(String, &'static str)>) -> ImageFacts {
    ImageFacts::Folder(FolderImage {
        folder: "/srv/image".into(),
        not_directories,
    })
}

fn command() -> Command {
    Command {
        arguments: vec![b"python3".to_vec(), b"/data/in.csv".to_vec()],
        path: "/usr/bin:/bin".to_owned(),
        ..Command::default()
    }
}

fn plan(policy: &Policy, host: &HostFacts, image: &ImageFacts) -> Result<Plan, PlanError> {
    let mounts = [
        MountFacts {
            directory: false,
            owner: (0, 0),
            identity: None,
        },
        MountFacts {
            directory: true,
            owner: (1001, 1001),
            identity: None,
        },
    ];
    Plan::new(&Inputs {
        policy,
        host,
        image,
        mounts: &mounts,
        command: &command(),
        id: "0123456789abcdef",
    })
}

fn value(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn hold(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("LAKEKEEP_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    // The order of an object's names is serde_json's, which another crate's wish for the
    // order of insertion changes for the whole workspace.
    let same = match name.ends_with(".json") {
        true => value(&golden) == value(found),
        false => golden == found,
    };
    assert!(
        same,
        "{name} differs from the plan made now; LAKEKEEP_UPDATE_GOLDEN=1 rewrites it:\n{found}"
    );
}

#[test]
fn plans_of_every_preset_as_root_and_rootless() {
    for (who, host) in [
        ("root", HostFacts::example_root()),
        ("rootless", HostFacts::example_rootless()),
    ] {
        for preset in ["udf", "notebook", "general"] {
            let plan = plan(&policy(preset), &host, &host_image()).unwrap();
            hold(&format!("{who}-{preset}.txt"), &plan.to_text());
        }
    }
}

#[test]
fn a_whole_plan_as_json() {
    let plan = plan(
        &policy("udf"),
        &HostFacts::example_root(),
        &folder_image(Vec::new()),
    )
    .unwrap();
    hold("root-udf-folder.json", &format!("{:#}\n", plan.to_json()));
}

#[test]
fn no_form_of_a_plan_shows_a_variables_value() {
    let plan = plan(
        &policy("general"),
        &HostFacts::example_root(),
        &host_image(),
    )
    .unwrap();
    for text in [plan.to_text(), plan.to_json().to_string()] {
        assert!(
            text.contains("TOKEN") && !text.contains("never-shown"),
            "{text}"
        );
    }
}

#[test]
fn an_image_whose_dev_is_a_link_is_refused_by_name() {
    let image = folder_image(vec![("/dev".to_owned(), "a symbolic link")]);
    let error = plan(&policy("general"), &HostFacts::example_root(), &image).unwrap_err();
    assert_eq!(
        error.to_string(),
        "image /srv/image: /dev is a symbolic link, not a real directory; a runtime would follow it \
         out of the image. Make it a directory or take another image"
    );
}

#[test]
fn limits_beyond_the_host_are_refused() {
    let mut host = HostFacts::example_root();
    host.memory_total = 128 << 20;
    let error = plan(&policy("general"), &host, &host_image()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("limits.memory is 256MiB, this host has 128MiB"),
        "{error}"
    );
    let mut host = HostFacts::example_root();
    host.online_cpus = 1;
    let error = plan(&policy("general"), &host, &host_image()).unwrap_err();
    assert!(error.to_string().contains("limits.cpus is 1.5"), "{error}");
}

#[test]
fn a_floor_that_cannot_be_met_refuses() {
    let mut doc = PolicyDoc::default();
    doc.floor.require.push("memory_limit".to_owned());
    let policy = Policy::check(doc).unwrap();
    let mut host = HostFacts::example_rootless();
    host.cgroup.controllers.clear();
    let inputs = Inputs {
        policy: &policy,
        host: &host,
        image: &host_image(),
        mounts: &[],
        command: &command(),
        id: "0123456789abcdef",
    };
    let error = Plan::new(&inputs).unwrap_err().to_string();
    assert!(
        error.contains("memory_limit") && error.contains("lakekeep doctor"),
        "{error}"
    );
}

#[test]
fn commands_that_no_kernel_takes_are_refused() {
    let host = HostFacts::example_root();
    let policy = Policy::check(PolicyDoc::default()).unwrap();
    let refused = |arguments: Vec<Vec<u8>>| {
        let command = Command {
            arguments,
            ..command()
        };
        let inputs = Inputs {
            policy: &policy,
            host: &host,
            image: &host_image(),
            mounts: &[],
            command: &command,
            id: "0123456789abcdef",
        };
        Plan::new(&inputs).unwrap_err()
    };
    assert!(matches!(refused(vec![]), PlanError::NoCommand));
    assert!(matches!(refused(vec![Vec::new()]), PlanError::NoCommand));
    assert!(matches!(
        refused(vec![b"a\0b".to_vec()]),
        PlanError::NulByte { .. }
    ));
    assert!(matches!(
        refused(vec![vec![b'x'; 128 * 1024]]),
        PlanError::ArgumentTooLong { index: 0, .. }
    ));
    let many = vec![vec![b'x'; 100_000]; 20];
    assert!(matches!(refused(many), PlanError::ArgumentsTooLong { .. }));
}
