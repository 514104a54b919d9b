//! Attacks by what a request says: wider policies, others' profiles, variables and
//! audit, quotas, paths and sizes. Each is refused and in the audit log.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::fmt::Debug;
use std::thread;

use lakekeep_api::v1::{self, Scope};
use lakekeep_tests::manager::{
    ALICE, BOB, Manager, Refusals, Refused, Setup, Talk, User, create, shared_profile, shell,
};

fn with_policy(text: &str) -> v1::CreateRequest {
    v1::CreateRequest {
        policy: format!("version = 1\n{text}"),
        ..create()
    }
}

fn in_profile(name: &str) -> v1::CreateRequest {
    v1::CreateRequest {
        profile: name.to_owned(),
        ..create()
    }
}

/// Bob asks for a sandbox by this policy.
fn policy(test: &str, reason: &str, text: impl FnOnce(&Manager) -> String) {
    let Some(manager) = Setup::new().start(test) else {
        return;
    };
    let bob = manager.bob();
    // The same way takes what is allowed.
    let _narrow = bob.sandbox(with_policy("[limits]\nmemory = \"64MiB\"\n"));
    let text = text(&manager);
    let mut all = Refusals::new(&manager);
    all.attempt(test, BOB, reason, || bob.create(with_policy(&text)));
    all.finish(1);
    manager.end();
}

fn mount(source: &str) -> String {
    format!("[[mounts]]\nsource = \"{source}\"\ntarget = \"/mnt/x\"\nmode = \"rw\"\n")
}

macro_rules! policies {
    ($($name:ident: $text:expr;)+) => {
        $(
            #[test]
            fn $name() {
                policy(stringify!($name), "BAD_POLICY", $text);
            }
        )+
    };
}

policies! {
    a_policy_with_the_host_s_folders: |_| mount("/etc");
    a_policy_with_the_host_s_root: |_| mount("/");
    a_policy_with_another_s_home: |_| mount("/home/lkt-alice");
    a_policy_with_a_volume_that_is_none: |_| mount("volume:nothing");
    a_policy_with_a_volume_that_is_a_path: |_| mount("volume:../../etc");
    a_policy_with_the_manager_s_folder: |manager| mount(&manager.kept().display().to_string());
    a_policy_with_an_image_that_is_not_listed: |_| "image = \"/\"\n".to_owned();
    a_policy_with_an_image_of_dots: |_| "image = \"/usr/../\"\n".to_owned();
    a_policy_without_a_filter: |_| "[seccomp]\nprofile = \"none\"\n".to_owned();
    a_policy_without_landlock: |_| "[landlock]\nenabled = false\n".to_owned();
    a_policy_with_a_layer_that_is_none: |_| "[floor]\nrequire = [\"nothing\"]\n".to_owned();
    a_policy_with_an_administrator_s_section: |_| {
        "[admin]\nexpose_host_image = true\n".to_owned()
    };
    a_policy_with_more_memory_than_the_profile: |_| {
        "[limits]\nmemory = \"64GiB\"\n".to_owned()
    };
    a_policy_that_is_none: |_| "\u{0}[[[".to_owned();
}

#[test]
fn a_volume_and_a_prefix_of_the_host_s() {
    let Some(manager) = Setup::new().start("prefix") else {
        return;
    };
    let bob = manager.bob();
    let mut all = Refusals::new(&manager);
    all.attempt("a volume by its request", BOB, "BAD_POLICY", || {
        bob.create(v1::CreateRequest {
            volumes: vec!["../../etc".to_owned()],
            ..create()
        })
    });
    all.attempt("a prefix of the host's", BOB, "BAD_REQUEST", || {
        bob.create(v1::CreateRequest {
            interpreter: "/usr/bin/python3".to_owned(),
            ..create()
        })
    });
    all.finish(2);
    manager.end();
}

/// Bob does something to what is Alice's: a profile `hers` of project `apollo`, her
/// personal profile, her variables. Where `hers_works`, it works for her.
fn closed<T: Debug>(
    test: &str,
    reason: &str,
    hers_works: bool,
    attempt: impl Fn(&User) -> Result<T, Refused>,
) {
    let document = shared_profile("hers", "project = \"apollo\"").replace(BOB, ALICE);
    let Some(manager) = Setup::new().profile("hers", &document).start(test) else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let secret = |scope: Scope, owner: &str| {
        alice.set_variable(v1::SetVariableRequest {
            variable: Some(a_secret(scope, owner)),
            value: b"hers".to_vec(),
        })
    };
    secret(Scope::User, "").unwrap();
    secret(Scope::Profile, "hers").unwrap();
    secret(Scope::Project, "apollo").unwrap();
    // Their personal profiles are there.
    assert_eq!(alice.sandbox(create()).owner, ALICE);
    assert_eq!(bob.sandbox(create()).owner, BOB);
    let mut all = Refusals::new(&manager);
    all.attempt(test, BOB, reason, || attempt(&bob));
    all.finish(1);
    if hers_works {
        attempt(&alice).unwrap();
    }
    manager.end();
}

fn a_secret(scope: Scope, owner: &str) -> v1::VariableRef {
    v1::VariableRef {
        scope: scope.into(),
        owner: owner.to_owned(),
        name: "token".to_owned(),
        secret: true,
    }
}

fn set(user: &User, scope: Scope, owner: &str) -> Result<v1::SetVariableResponse, Refused> {
    user.set_variable(v1::SetVariableRequest {
        variable: Some(a_secret(scope, owner)),
        value: b"bob was here".to_vec(),
    })
}

macro_rules! closed {
    ($($name:ident: $reason:literal, $works:literal, $attempt:expr;)+) => {
        $(
            #[test]
            fn $name() {
                closed(stringify!($name), $reason, $works, $attempt);
            }
        )+
    };
}

closed! {
    another_s_profile_used: "NOT_FOUND", true, |user| user.create(in_profile("hers"));
    another_s_personal_profile_used: "NOT_FOUND", true, |user| {
        user.create(in_profile("home-lkt-alice"))
    };
    another_s_profile_claimed: "NOT_FOUND", true, |user| user.claim(in_profile("hers"));
    another_s_profile_read: "NOT_FOUND", true, |user| {
        user.get_profile(v1::ProfileRef {
            name: "hers".to_owned(),
        })
    };
    another_s_project_named: "DENIED", false, |user| {
        user.create(v1::CreateRequest {
            project: "apollo".to_owned(),
            ..create()
        })
    };
    another_s_profile_overwritten: "NOT_FOUND", false, |user| {
        user.put_profile(v1::PutProfileRequest {
            name: "hers".to_owned(),
            document: shared_profile("hers", "").replace(ALICE, BOB),
            version: String::new(),
        })
    };
    another_s_profile_overwritten_by_the_document_s_name: "NOT_FOUND", false, |user| {
        user.put_profile(v1::PutProfileRequest {
            name: String::new(),
            document: shared_profile("hers", "").replace(ALICE, BOB),
            version: String::new(),
        })
    };
    another_s_profile_deleted: "NOT_FOUND", false, |user| {
        user.delete_profile(v1::DeleteProfileRequest {
            name: "hers".to_owned(),
            version: String::new(),
        })
    };
    a_profile_of_one_s_own_that_shows_the_host: "DENIED", false, |user| {
        user.put_profile(v1::PutProfileRequest {
            name: "his".to_owned(),
            document: "version = 1\nname = \"his\"\nowner = \"lkt-bob\"\nimages = [\"host\"]\n\
                       presets = [\"general\"]\n[admin]\nexpose_host_image = true\n"
                .to_owned(),
            version: String::new(),
        })
    };
    another_user_s_secret_set: "DENIED", true, |user| set(user, Scope::User, ALICE);
    another_profile_s_secret_set: "NOT_FOUND", true, |user| set(user, Scope::Profile, "hers");
    another_project_s_secret_set: "DENIED", true, |user| set(user, Scope::Project, "apollo");
    another_user_s_secret_deleted: "DENIED", true, |user| {
        user.delete_variable(a_secret(Scope::User, ALICE))
    };
    another_profile_s_secret_deleted: "NOT_FOUND", true, |user| {
        user.delete_variable(a_secret(Scope::Profile, "hers"))
    };
    another_project_s_secret_deleted: "DENIED", true, |user| {
        user.delete_variable(a_secret(Scope::Project, "apollo"))
    };
    another_s_secret_in_one_s_own_task: "NOT_FOUND", true, |user| {
        let sandbox = user.create(create())?.id;
        let mut start = shell(&sandbox, "cat /run/secrets/token");
        start.secrets = vec!["token".to_owned()];
        user.exec(start).and_then(Talk::finish)
    };
    another_profile_s_variables_listed: "NOT_FOUND", true, |user| {
        user.list_variables(v1::ListVariablesRequest {
            profile: "hers".to_owned(),
            project: String::new(),
        })
    };
    the_audit_log: "DENIED", false, |user| user.audit(v1::QueryAuditRequest::default());
    the_audit_log_of_another: "DENIED", false, |user| {
        user.audit(v1::QueryAuditRequest {
            who: ALICE.to_owned(),
            ..v1::QueryAuditRequest::default()
        })
    };
    another_profile_s_audit_log: "NOT_FOUND", true, |user| {
        user.audit(v1::QueryAuditRequest {
            profile: "hers".to_owned(),
            ..v1::QueryAuditRequest::default()
        })
    };
    the_audit_log_s_verification: "DENIED", false, |user| {
        user.verify_audit(v1::VerifyAuditRequest {})
    };
    another_s_identity: "DENIED", true, |user| {
        user.test_identity(v1::TestIdentityRequest {
            user: ALICE.to_owned(),
            ..v1::TestIdentityRequest::default()
        })
    };
    what_another_may_do: "DENIED", true, |user| {
        user.can(v1::CanRequest {
            user: ALICE.to_owned(),
            action: "create_sandbox".to_owned(),
            ..v1::CanRequest::default()
        })
    };
    a_delegation_for_another_s_profile: "NOT_FOUND", true, |user| {
        user.delegate(v1::DelegateRequest {
            actor: "lkt-engine".to_owned(),
            profile: "hers".to_owned(),
            lifetime: None,
        })
    };
}

#[test]
fn many_requests_at_once_get_no_more_than_one() {
    let quotas = "[quotas]\nsandboxes = 20\nqueued = 0\n[quotas.per_user]\nsandboxes = 2";
    let setup = Setup::new().profile("small", &shared_profile("small", quotas));
    let Some(manager) = setup.start("parallel_quota") else {
        return;
    };
    let users: Vec<_> = (0..4).map(|_| manager.bob()).collect();
    let made: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = users
            .iter()
            .flat_map(|user| [user, user, user, user])
            .map(|user| scope.spawn(|| user.create(in_profile("small"))))
            .collect();
        threads.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (got, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    assert_eq!(got.len(), 2);
    for refused in refused {
        assert_eq!(refused.unwrap_err().reason, "QUOTA_EXCEEDED");
    }
    let mut all = Refusals::new(&manager);
    all.attempt("one more", BOB, "QUOTA_EXCEEDED", || {
        users[0].create(in_profile("small"))
    });
    all.finish(1);
    manager.end();
}

#[test]
fn words_paths_and_sizes_are_bounded() {
    let Some(manager) = Setup::new().start("bounds") else {
        return;
    };
    let bob = manager.bob();
    let id = bob.sandbox(create()).id;
    let labels = |count: usize, length: usize| -> HashMap<String, String> {
        let names = (0..count).map(|i| (format!("l{i}"), "v".repeat(length)));
        names.collect()
    };
    let bad = [
        v1::CreateRequest {
            labels: labels(33, 1),
            ..create()
        },
        v1::CreateRequest {
            labels: labels(1, 257),
            ..create()
        },
        v1::CreateRequest {
            labels: [(String::new(), String::new())].into(),
            ..create()
        },
        v1::CreateRequest {
            request_id: "r".repeat(65),
            ..create()
        },
    ];
    let mut all = Refusals::new(&manager);
    for request in bad {
        all.attempt("a request", BOB, "BAD_REQUEST", || bob.create(request));
    }
    let huge = v1::CreateRequest {
        policy: "#".repeat(8 << 20),
        ..create()
    };
    // Refused before anybody is asked who it is.
    all.attempt("a huge one", "?", "OutOfRange", || bob.create(huge));
    for path in ["etc/passwd", "../etc/passwd", "", "/tmp/\0/x"] {
        all.attempt(path, BOB, "BAD_REQUEST", || {
            bob.read_file(v1::ReadFileRequest {
                sandbox: id.clone(),
                path: path.to_owned(),
                ..v1::ReadFileRequest::default()
            })
        });
    }
    all.finish(9);
    // A path is the sandbox's: no number of dots and no link leads out.
    let host = std::fs::read("/etc/shadow").unwrap();
    bob.run(&id, "ln -s /../../../../etc/shadow /tmp/link")
        .success();
    for path in [
        "/tmp/../../../../../etc/shadow",
        "/tmp/link",
        "/proc/1/root/etc/shadow",
    ] {
        let read = bob.read_file(v1::ReadFileRequest {
            sandbox: id.clone(),
            path: path.to_owned(),
            ..v1::ReadFileRequest::default()
        });
        assert!(read.is_err() || read.unwrap() != host, "{path}");
    }
    let mut start = shell(&id, "true");
    start.environment = [("A=B".to_owned(), "x".to_owned())].into();
    assert_eq!(bob.exec(start).unwrap_err().reason, "BAD_REQUEST");
    let mut start = shell(&id, "true");
    start.arguments.push(b"a\0b".to_vec());
    assert_eq!(bob.exec(start).unwrap_err().reason, "BAD_REQUEST");
    let mut start = shell(&id, "true");
    start.arguments.clear();
    assert_eq!(bob.exec(start).unwrap_err().reason, "BAD_REQUEST");
    assert_eq!(bob.run(&id, "echo well").success(), "well");
    manager.end();
}
