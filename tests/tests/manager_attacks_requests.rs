//! Attacks by what a request says: wider policies, others' profiles, variables and
//! audit, quotas, paths and sizes. Each is refused and in the audit log.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::thread;

use lakekeep_api::v1::{self, Scope};
use lakekeep_tests::manager::{ALICE, BOB, Refusals, Setup, create, of, shared_profile, shell};

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

#[test]
fn a_policy_can_narrow_and_never_widen() {
    let Some(manager) = Setup::new().start("wider") else {
        return;
    };
    let bob = manager.bob();
    // The same channel takes what is allowed.
    let _narrow = bob.sandbox(with_policy("[limits]\nmemory = \"64MiB\"\n"));
    let mount = |source: &str| {
        format!("[[mounts]]\nsource = \"{source}\"\ntarget = \"/mnt/x\"\nmode = \"rw\"\n")
    };
    let wider = [
        ("the host's folders", mount("/etc")),
        ("the host's root", mount("/")),
        ("another's home", mount("/home/lkt-alice")),
        ("a volume that is none", mount("volume:nothing")),
        ("a volume's name that is a path", mount("volume:../../etc")),
        (
            "the manager's own folder",
            mount(&manager.kept().display().to_string()),
        ),
        ("an image that is not listed", "image = \"/\"\n".to_owned()),
        (
            "an image by a path with dots",
            "image = \"/usr/../\"\n".to_owned(),
        ),
        ("no filter", "[seccomp]\nprofile = \"none\"\n".to_owned()),
        ("no Landlock", "[landlock]\nenabled = false\n".to_owned()),
        (
            "a layer that is given up",
            "[floor]\nrequire = [\"nothing\"]\n".to_owned(),
        ),
        (
            "a field that is none",
            "[admin]\nexpose_host_image = true\n".to_owned(),
        ),
    ];
    let mut all = Refusals::new(&manager);
    for (what, text) in &wider {
        all.attempt(what, BOB, "BAD_POLICY", || bob.create(with_policy(text)));
    }
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
    all.finish(14);
    manager.end();
}

#[test]
fn another_s_profile_is_closed() {
    let setup = Setup::new().profile(
        "hers",
        &shared_profile("hers", "project = \"apollo\"").replace(BOB, ALICE),
    );
    let Some(manager) = setup.start("profiles_of_others") else {
        return;
    };
    let (alice, bob) = (manager.alice(), manager.bob());
    let hers = alice.sandbox(in_profile("hers"));
    let personal = alice.sandbox(create()).profile;
    let mut all = Refusals::new(&manager);
    all.attempt("a profile", BOB, "NOT_FOUND", || {
        bob.create(in_profile("hers"))
    });
    all.attempt("a personal profile", BOB, "NOT_FOUND", || {
        bob.create(in_profile(&personal))
    });
    all.attempt("claiming in it", BOB, "NOT_FOUND", || {
        bob.claim(in_profile("hers"))
    });
    all.attempt("reading it", BOB, "NOT_FOUND", || {
        bob.get_profile(v1::ProfileRef {
            name: "hers".to_owned(),
        })
    });
    all.attempt("another profile's project", BOB, "DENIED", || {
        bob.create(v1::CreateRequest {
            project: "apollo".to_owned(),
            ..create()
        })
    });
    all.attempt("changing it", BOB, "NOT_FOUND", || {
        bob.put_profile(v1::PutProfileRequest {
            name: "hers".to_owned(),
            document: shared_profile("hers", ""),
            version: String::new(),
        })
    });
    all.attempt("deleting it", BOB, "NOT_FOUND", || {
        bob.delete_profile(v1::DeleteProfileRequest {
            name: "hers".to_owned(),
            version: String::new(),
        })
    });
    all.attempt("one of one's own that shows the host", BOB, "DENIED", || {
        bob.put_profile(v1::PutProfileRequest {
            name: "his".to_owned(),
            document: "version = 1\nname = \"his\"\nowner = \"lkt-bob\"\nimages = [\"host\"]\npresets = [\"general\"]\n[admin]\nexpose_host_image = true\n".to_owned(),
            version: String::new(),
        })
    });
    all.finish(8);
    assert_eq!(alice.get(of(&hers.id)).unwrap().state, hers.state);
    manager.end();
}

#[test]
fn another_s_variables_and_audit_are_closed() {
    let setup = Setup::new().profile(
        "hers",
        &shared_profile("hers", "project = \"apollo\"").replace(BOB, ALICE),
    );
    let Some(manager) = setup.start("variables_of_others") else {
        return;
    };
    let bob = manager.bob();
    let mut all = Refusals::new(&manager);
    for (what, scope, owner, reason) in [
        ("a user's secret", Scope::User, ALICE, "DENIED"),
        ("a profile's secret", Scope::Profile, "hers", "NOT_FOUND"),
        ("a project's secret", Scope::Project, "apollo", "DENIED"),
    ] {
        let variable = v1::VariableRef {
            scope: scope.into(),
            owner: owner.to_owned(),
            name: "token".to_owned(),
            secret: true,
        };
        all.attempt(what, BOB, reason, || {
            bob.set_variable(v1::SetVariableRequest {
                variable: Some(variable.clone()),
                value: b"x".to_vec(),
            })
        });
        all.attempt(what, BOB, reason, || bob.delete_variable(variable.clone()));
    }
    all.attempt("a profile's variables", BOB, "NOT_FOUND", || {
        bob.list_variables(v1::ListVariablesRequest {
            profile: "hers".to_owned(),
            project: String::new(),
        })
    });
    all.attempt("the audit log", BOB, "DENIED", || {
        bob.audit(v1::QueryAuditRequest::default())
    });
    all.attempt("a profile's audit log", BOB, "NOT_FOUND", || {
        bob.audit(v1::QueryAuditRequest {
            profile: "hers".to_owned(),
            ..v1::QueryAuditRequest::default()
        })
    });
    all.attempt("its verification", BOB, "DENIED", || {
        bob.verify_audit(v1::VerifyAuditRequest {})
    });
    all.attempt("another's identity", BOB, "DENIED", || {
        bob.test_identity(v1::TestIdentityRequest {
            user: ALICE.to_owned(),
            ..v1::TestIdentityRequest::default()
        })
    });
    all.attempt("what another may do", BOB, "DENIED", || {
        bob.can(v1::CanRequest {
            user: ALICE.to_owned(),
            action: "create_sandbox".to_owned(),
            ..v1::CanRequest::default()
        })
    });
    all.finish(12);
    manager.end();
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
    for request in bad {
        assert_eq!(bob.create(request).unwrap_err().reason, "BAD_REQUEST");
    }
    let huge = v1::CreateRequest {
        policy: "#".repeat(8 << 20),
        ..create()
    };
    let refused = bob.create(huge).unwrap_err();
    assert_eq!(
        refused.code,
        lakekeep_tests::manager::Code::OutOfRange,
        "{refused:?}"
    );
    for path in ["etc/passwd", "../etc/passwd", "", "/tmp/\0/x"] {
        let read = bob.read_file(v1::ReadFileRequest {
            sandbox: id.clone(),
            path: path.to_owned(),
            ..v1::ReadFileRequest::default()
        });
        assert_eq!(read.unwrap_err().reason, "BAD_REQUEST", "{path:?}");
    }
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
