//! Variables and secrets: three levels, given to the one task that asked, and found
//! nowhere else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lakekeep_api::v1::{self, Scope};
use lakekeep_tests::manager::{Manager, Setup, Talk, User, create, of, shared_profile, shell};

/// Found nowhere by accident.
const PROFILE_SECRET: &str = "pr0file-5ecret-9f4b2c";
const PROJECT_SECRET: &str = "pr0ject-5ecret-71aa0d";
const USER_SECRET: &str = "u5er-5ecret-c0ffee42";
const ALL: [&str; 3] = [PROFILE_SECRET, PROJECT_SECRET, USER_SECRET];

fn start(test: &str) -> Option<Manager> {
    let more = "project = \"apollo\"\n\
        [[secret]]\nname = \"api\"\nas = \"variable\"\ntarget = \"API_TOKEN\"\n";
    Setup::new()
        .profile("team", &shared_profile("team", more))
        .start(test)
}

fn set(user: &User, scope: Scope, (name, value): (&str, &str), secret: bool) {
    let owner = match scope {
        Scope::Profile => "team",
        Scope::Project => "apollo",
        _ => "",
    };
    user.set_variable(v1::SetVariableRequest {
        variable: Some(v1::VariableRef {
            scope: scope.into(),
            owner: owner.to_owned(),
            name: name.to_owned(),
            secret,
        }),
        value: value.as_bytes().to_vec(),
    })
    .unwrap();
}

fn team() -> v1::CreateRequest {
    v1::CreateRequest {
        profile: "team".to_owned(),
        ..create()
    }
}

#[test]
fn the_nearest_level_wins() {
    let Some(manager) = start("levels") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    for (scope, value) in [
        (Scope::Profile, "of the profile"),
        (Scope::Project, "of the project"),
        (Scope::User, "of the user"),
    ] {
        set(&alice, scope, ("LEVEL", value), false);
    }
    set(&alice, Scope::Profile, ("ONLY", "profile"), false);
    let (hers, his) = (alice.sandbox(team()).id, bob.sandbox(team()).id);
    let say = "echo $LEVEL, $ONLY";
    assert_eq!(alice.run(&hers, say).success(), "of the user, profile");
    assert_eq!(bob.run(&his, say).success(), "of the project, profile");
    let listed = alice.list_variables(v1::ListVariablesRequest {
        profile: "team".to_owned(),
        ..v1::ListVariablesRequest::default()
    });
    let effective: Vec<_> = listed
        .unwrap()
        .variables
        .into_iter()
        .filter(|one| one.effective)
        .map(|one| one.value)
        .collect();
    assert!(
        effective.contains(&"of the user".to_owned()),
        "{effective:?}"
    );
    assert!(!effective.contains(&"of the project".to_owned()));
    manager.end();
}

#[test]
fn a_profile_says_where_a_secret_s_file_is() {
    let more = "[[secret]]\nname = \"key\"\nas = \"file\"\ntarget = \"/run/secrets/other\"\n";
    let setup = Setup::new().profile("team", &shared_profile("team", more));
    let Some(manager) = setup.start("secret_file") else {
        return;
    };
    let alice = manager.alice();
    set(&alice, Scope::User, ("key", USER_SECRET), true);
    let sandbox = alice.sandbox(team()).id;
    let mut start = shell(&sandbox, "ls /run/secrets; wc -c </run/secrets/other");
    start.secrets = vec!["key".to_owned()];
    let done = alice.exec(start).and_then(Talk::finish).unwrap();
    assert_eq!(done.success(), format!("other\n{}", USER_SECRET.len()));
    manager.end();
}

/// One rule for names: what a profile declares can be set.
#[test]
fn a_secret_is_set_under_the_name_that_a_profile_declares() {
    let more = "[[secret]]\nname = \"model-key.v2\"\nas = \"variable\"\ntarget = \"MODEL_KEY\"\n";
    let setup = Setup::new().profile("team", &shared_profile("team", more));
    let Some(manager) = setup.start("secret_name") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    set(
        &alice,
        Scope::Profile,
        ("model-key.v2", PROFILE_SECRET),
        true,
    );
    let sandbox = bob.sandbox(team()).id;
    let mut start = shell(
        &sandbox,
        "printf %s $MODEL_KEY | wc -c; ls /run/secrets | wc -l",
    );
    start.secrets = vec!["model-key.v2".to_owned()];
    let done = bob.exec(start).and_then(Talk::finish).unwrap();
    assert_eq!(done.success(), format!("{}\n0", PROFILE_SECRET.len()));
    let refused = alice.set_variable(v1::SetVariableRequest {
        variable: Some(v1::VariableRef {
            name: "../key".to_owned(),
            secret: true,
            ..v1::VariableRef::default()
        }),
        value: b"x".to_vec(),
    });
    let refused = refused.unwrap_err();
    assert!(
        refused.message.contains("not a name of a secret"),
        "{refused:?}"
    );
    manager.end();
}

#[test]
fn a_secret_is_in_the_one_task_that_asked_and_nowhere_else() {
    let Some(manager) = start("secrets") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    set(&alice, Scope::Profile, ("api", PROFILE_SECRET), true);
    set(&alice, Scope::Project, ("key", PROJECT_SECRET), true);
    set(&alice, Scope::User, ("mine", USER_SECRET), true);
    let sandbox = alice.sandbox(team()).id;
    let mut start = shell(
        &sandbox,
        "[ \"$API_TOKEN\" = \"$(cat)\" ] && sha256sum </run/secrets/key && sha256sum </run/secrets/mine && echo kept && sleep 1000",
    );
    start.secrets = ["api", "key", "mine"].map(str::to_owned).to_vec();
    let mut talk = alice.exec(start).unwrap();
    talk.give(PROFILE_SECRET.as_bytes());
    talk.end_input();
    talk.prints("kept");
    // While it runs, a task beside it looks wherever it can.
    let look = format!(
        "cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n' >/tmp/seen; \
         ls /run/secrets 2>/dev/null; env; grep -rl -e {} -e {} -e {} /tmp /home /run /etc 2>/dev/null; true",
        obscured(PROFILE_SECRET),
        obscured(PROJECT_SECRET),
        obscured(USER_SECRET)
    );
    let beside = alice.run(&sandbox, &look);
    let text = beside.success();
    assert!(!text.contains("API_TOKEN"), "{text}");
    assert!(!text.contains("/tmp/seen"), "{text}");
    assert!(
        !text.lines().any(|line| line == "key" || line == "mine"),
        "{text}"
    );
    assert_eq!(found_in(&manager), Vec::<PathBuf>::new());
    // Whoever may read of it reads nothing of the value.
    let shown = format!("{:?}", alice.get(of(&sandbox)).unwrap());
    let audit = format!(
        "{:?}",
        manager.root().audit(v1::QueryAuditRequest::default())
    );
    let receipt = alice.receipt(v1::TaskRef {
        sandbox: sandbox.clone(),
        task: talk.task,
    });
    let receipt = receipt.unwrap().receipt;
    for value in ALL {
        for text in [&shown, &audit, &receipt, &manager.log()] {
            assert!(!text.contains(value));
        }
    }
    // Another user of the profile has the profile's and the project's, not the user's.
    let his = bob.sandbox(team()).id;
    let mut start = shell(&his, "true");
    start.secrets = vec!["mine".to_owned()];
    assert_eq!(bob.exec(start).unwrap_err().reason, "NOT_FOUND");
    alice.kill(of(&sandbox)).unwrap();
    assert_eq!(found_in(&manager), Vec::<PathBuf>::new());
    manager.end();
}

/// The pattern finds the value and does not hold it.
fn obscured(value: &str) -> String {
    let (first, rest) = value.split_at(1);
    format!("'[{first}]{rest}'")
}

/// Every file of the manager's in which a value is, with those in the launchers' own
/// mounts; and every command line and environment of a process of the manager's.
fn found_in(manager: &Manager) -> Vec<PathBuf> {
    let mut found = Vec::new();
    search(&manager.kept(), &mut found);
    search(&manager.runtime(), &mut found);
    let inside: Vec<i32> = manager.processes();
    for pid in inside {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        check(&folder.join("cmdline"), &mut found);
        let text = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        if text.starts_with("lakekeep") {
            check(&folder.join("environ"), &mut found);
            search(
                &folder.join("root").join(relative(&manager.runtime())),
                &mut found,
            );
        }
    }
    found
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// All files below, but for the host's own folders that are mounted there: a sandbox
/// shows /usr.
fn search(folder: &Path, found: &mut Vec<PathBuf>) {
    let device = |path: &Path| fs::symlink_metadata(path).map(|found| found.dev()).ok();
    let (host, own) = (device(Path::new("/")), device(folder));
    let Ok(list) = fs::read_dir(folder) else {
        return;
    };
    for entry in list.filter_map(Result::ok) {
        let mounted = own != host && device(&entry.path()) == host;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !mounted => search(&entry.path(), found),
            Ok(kind) if kind.is_file() => check(&entry.path(), found),
            _ => {}
        }
    }
}

fn check(file: &Path, found: &mut Vec<PathBuf>) {
    let bytes = fs::read(file).unwrap_or_default();
    let holds = |value: &str| {
        bytes
            .windows(value.len())
            .any(|window| window == value.as_bytes())
    };
    if ALL.into_iter().any(holds) {
        found.push(file.to_path_buf());
    }
}
