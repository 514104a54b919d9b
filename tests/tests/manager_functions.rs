//! Sessions of user functions through a manager: whose they are, what bounds them, what is
//! noted, and what is left of them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::chown;

use lakekeep_api::v1;
use lakekeep_tests::functions::{Engine, pair, waiting_python};
use lakekeep_tests::manager::{
    ALICE, BOB, CAROL, Code, ENGINE, Manager, Refusals, Refused, Setup, account,
};
use lakekeep_tests::{Privilege, eventually};
use rustix::io::Errno;
use serde_json::{Value, json};

/// The interpreter that the profiles of these tests have in a volume.
const PYTHON: &str = "/env/bin/python3";

/// A manager with a profile `functions`, whose volume has a Python that waits.
fn start(test: &str, more: &str) -> Option<Manager> {
    let setup = Setup::new();
    let disk = setup.place().dir("disk", Privilege::Root);
    let environment = disk.join("env");
    let profile = format!(
        "version = 1\nname = \"functions\"\nowner = \"{ALICE}\"\nimages = [\"host\"]\n\
         presets = [\"udf\"]\nproject = \"apollo\"\n{more}\n\
         [contributors]\nusers = [\"{BOB}\"]\n\
         [limits.default]\nmemory = \"128MiB\"\n\
         [[volume]]\nname = \"env\"\nsource = {environment:?}\ntarget = \"/env\"\nmode = \"ro\"\nowner = \"project\"\n\
         [admin]\nexpose_host_image = true\n"
    );
    let identity = format!(
        "[[identity.rule]]\nname = \"project\"\nproject = \"apollo\"\naccount = \"{CAROL}\"\n\
         [[identity.rule]]\nname = \"own\"\nuser = \"*\"\naccount = \"$1\"\n"
    );
    let delegate = format!("[[auth.delegate]]\nactor = \"{ENGINE}\"\nusers = [\"{ALICE}\"]\n");
    let manager = setup
        .identity(&identity)
        .tables(&delegate)
        .profile("functions", &profile)
        .start(test)?;
    let _python = waiting_python(&environment, Privilege::Root);
    let owner = account(CAROL);
    chown(&environment, Some(owner.uid), Some(owner.gid)).unwrap();
    Some(manager)
}

fn session(number: u32) -> Value {
    json!({ "number": number, "interpreter": PYTHON, "profile": "functions" })
}

/// The same with other fields.
fn with(number: u32, more: &Value) -> Value {
    let mut open = session(number);
    for (name, value) in more.as_object().unwrap() {
        open[name] = value.clone();
    }
    open
}

fn events(manager: &Manager) -> Vec<Value> {
    let log = manager.root().audit(v1::QueryAuditRequest::default());
    log.unwrap()
}

/// What a refusal says, as one over gRPC does.
fn told(failed: &Value) -> Result<(), Refused> {
    let text = |name: &str| failed[name].as_str().unwrap_or_default().to_owned();
    Err(Refused {
        reason: text("code"),
        message: text("message"),
        retry: !failed["retry_after_ms"].is_null(),
        code: Code::Unknown,
    })
}

/// The sandboxes that live.
fn living(manager: &Manager) -> Vec<v1::Sandbox> {
    let all = manager.root().list(v1::ListRequest {
        all_users: true,
        ..v1::ListRequest::default()
    });
    all.unwrap().sandboxes
}

#[test]
fn sessions_of_two_users_are_sandboxes_of_their_own_and_are_noted() {
    let Some(manager) = start("functions", "") else {
        return;
    };
    let (alice, bob) = (manager.engine(ALICE), manager.engine(BOB));
    let asked = json!({ "query": "q-17", "kind": "scalar" });
    let (hers, streams) = alice.open(&with(1, &asked));
    let (his, other) = bob.open(&session(1));
    assert_ne!(hers, his);
    streams.wait();
    other.wait();
    let lives = living(&manager);
    let known: BTreeSet<_> = lives
        .iter()
        .map(|it| (it.owner.as_str(), it.id.as_str()))
        .collect();
    assert_eq!(known, [(ALICE, hers.as_str()), (BOB, his.as_str())].into());
    assert!(lives.iter().all(|it| it.kind() == v1::Kind::Udf));
    let counts = json!({ "calls": 3, "rows_in": 3000, "rows_out": 3000, "waited_us": 42 });
    let used = json!({ "used": { "number": 1, "counts": counts } });
    alice.say(used.to_string().as_bytes(), &[]);
    alice.kill(1);
    let ended = alice.ended(1);
    assert_eq!(ended["verdict"]["kind"], "signal", "{ended}");
    assert!(ended["memory_peak"].as_u64() > Some(0), "{ended}");
    assert!(streams.is_over());
    // His goes on, and ends by itself.
    other.let_go();
    let ended = bob.ended(1);
    assert_eq!(ended["verdict"]["kind"], "exit", "{ended}");
    let log = events(&manager);
    let of = |action: &str, sandbox: &str| {
        let found = log
            .iter()
            .find(|it| it["action"] == action && it["sandbox"] == sandbox);
        found.unwrap_or_else(|| panic!("no {action} of {sandbox} in {log:#?}"))
    };
    for action in ["create_sandbox", "exec", "end_function", "sandbox.end"] {
        assert_eq!(of(action, &his)["who"], BOB);
        assert_eq!(of(action, &hers)["who"], ALICE);
    }
    assert_eq!(of("exec", &hers)["query"], "q-17");
    let story = of("end_function", &hers);
    assert_eq!(story["query"], "q-17", "{story}");
    let extra = &story["extra"];
    assert_eq!(
        (&extra["calls"], &extra["rows_in"]),
        (&json!("3"), &json!("3000")),
        "{story}"
    );
    assert_eq!(
        (&extra["ended"], &extra["kind"]),
        (&json!("signal"), &json!("scalar"))
    );
    manager.end();
}

#[test]
fn a_session_has_its_limits_and_a_command_that_is_not_there_its_verdict() {
    let Some(manager) = start("functions_limits", "") else {
        return;
    };
    let engine = manager.engine(ALICE);
    let (id, streams) = engine.open(&with(1, &json!({ "limits": { "memory": 64 << 20 } })));
    streams.wait();
    let receipt = manager.root().receipt(v1::TaskRef {
        sandbox: id,
        task: 0,
    });
    let receipt = receipt.unwrap().receipt;
    let read: Value = serde_json::from_str(&receipt).unwrap();
    assert!(receipt.contains("67108864"), "{read:#}");
    let _streams = engine.ask(&with(2, &json!({ "interpreter": "/no/such/python" })));
    let opened = engine.hear();
    assert_eq!(opened["opened"]["number"], 2, "{opened}");
    let ended = engine.ended(2);
    assert_eq!(ended["verdict"]["kind"], "exec_failed", "{ended}");
    assert_ne!(ended["verdict"]["remedy"], "", "{ended}");
    engine.kill(1);
    assert_eq!(engine.ended(1)["verdict"]["kind"], "signal");
    manager.end();
}

#[test]
fn who_waits_for_a_place_gets_the_one_that_is_free() {
    let Some(manager) = start("functions_quota", "[quotas]\nsandboxes = 1\n") else {
        return;
    };
    let (alice, bob) = (manager.engine(ALICE), manager.engine(BOB));
    let (_, hers) = alice.open(&session(1));
    hers.wait();
    let his = bob.ask(&session(1));
    hers.let_go();
    assert_eq!(alice.ended(1)["verdict"]["kind"], "exit");
    let opened = bob.hear();
    assert_eq!(opened["opened"]["number"], 1, "{opened}");
    his.wait();
    // One that waits is given up with its connection.
    let waits = alice.ask(&session(2));
    drop(alice);
    his.let_go();
    assert_eq!(bob.ended(1)["verdict"]["kind"], "exit");
    assert!(waits.is_over());
    eventually("the end of all", || {
        living(&manager).is_empty().then_some(())
    });
    manager.end();
}

#[test]
fn an_engine_acts_for_whom_it_may_and_code_owners_are_kept_apart() {
    let Some(manager) = start("functions_engine", "") else {
        return;
    };
    let engine = manager.engine(ENGINE);
    let (first, one) = engine.open(&with(1, &json!({ "user": ALICE, "code_owner": BOB })));
    let (second, two) = engine.open(&with(2, &json!({ "user": ALICE })));
    one.wait();
    two.wait();
    // A trust key is shown to its owner alone.
    let lives = manager.alice().list(v1::ListRequest::default());
    let lives = lives.unwrap().sandboxes;
    assert!(lives.iter().all(|it| it.owner == ALICE), "{lives:?}");
    let keys: BTreeSet<_> = lives.iter().map(|it| it.trust_key.as_str()).collect();
    assert_eq!(keys.len(), 2, "{lives:#?}");
    // By a token, for whom no right is configured.
    let given = manager.bob().delegate(v1::DelegateRequest {
        actor: ENGINE.to_owned(),
        profile: "functions".to_owned(),
        ..v1::DelegateRequest::default()
    });
    let (third, three) = engine.open(&with(3, &json!({ "delegation": given.unwrap().token })));
    three.wait();
    let his = living(&manager).into_iter().find(|it| it.id == third);
    assert_eq!(his.unwrap().owner, BOB);
    drop(engine);
    assert!(one.is_over() && two.is_over() && three.is_over());
    let log = events(&manager);
    for (id, user) in [(first, ALICE), (second, ALICE), (third, BOB)] {
        let of = |it: &&Value| it["action"] == "create_sandbox" && it["sandbox"] == id.as_str();
        let made = log.iter().find(of).unwrap();
        assert_eq!(
            (&made["who"], &made["actor"]),
            (&json!(user), &json!(ENGINE))
        );
    }
    eventually("the end of all", || {
        living(&manager).is_empty().then_some(())
    });
    manager.end();
}

#[test]
fn what_is_not_allowed_is_refused_noted_and_costs_no_other_session() {
    let Some(manager) = start("functions_refused", "") else {
        return;
    };
    let mut all = Refusals::new(&manager);
    let (alice, bob) = (manager.engine(ALICE), manager.engine(BOB));
    let (_, lives) = alice.open(&session(1));
    lives.wait();
    let alice_s_engine = manager.engine(ENGINE);
    let refused = |engine: &Engine, open: &Value| told(&engine.refused(open));
    let long = "q".repeat(300);
    for (what, more, reason) in [
        ("for another user", json!({ "user": ALICE }), "DENIED"),
        ("for the administrator", json!({ "user": "root" }), "DENIED"),
        (
            "a forged delegation",
            json!({ "delegation": "x.y.z" }),
            "DENIED",
        ),
        ("no profile", json!({ "profile": "no-such" }), "NOT_FOUND"),
        (
            "another's profile",
            json!({ "profile": format!("home-{ALICE}") }),
            "NOT_FOUND",
        ),
        (
            "too much memory",
            json!({ "limits": { "memory": 1_u64 << 50 } }),
            "BAD_POLICY",
        ),
        (
            "no processor",
            json!({ "limits": { "cpu": -1.0 } }),
            "BAD_REQUEST",
        ),
        (
            "a relative interpreter",
            json!({ "interpreter": "python3" }),
            "BAD_REQUEST",
        ),
        ("a long query", json!({ "query": long }), "BAD_REQUEST"),
    ] {
        all.attempt(what, BOB, reason, || refused(&bob, &with(7, &more)));
    }
    all.attempt("an engine for whom it may not", ENGINE, "DENIED", || {
        refused(&alice_s_engine, &with(1, &json!({ "user": BOB })))
    });
    all.attempt("a number twice", ALICE, "BAD_REQUEST", || {
        refused(&alice, &session(1))
    });
    let (folder, null) = (File::open("/").unwrap(), File::create("/dev/null").unwrap());
    let (_ours, worker) = pair();
    let packet = json!({ "open": session(8) }).to_string();
    all.attempt("a folder of the host's", BOB, "BAD_REQUEST", || {
        let given = [folder.as_fd(), null.as_fd(), null.as_fd()];
        bob.say(packet.as_bytes(), &given);
        let answer = bob.hear();
        assert_eq!(answer["failed"]["number"], 8, "{answer}");
        told(&answer["failed"])
    });
    drop(worker);
    for (what, packet) in [
        ("no JSON", &b"no json"[..]),
        ("nothing", b"{}"),
        ("no fields", b"{\"open\": {}}"),
        ("bytes", &[0xff; 4096]),
    ] {
        all.attempt(what, BOB, "BAD_REQUEST", || {
            bob.say(packet, &[]);
            let answer = bob.hear();
            assert_eq!(answer["failed"]["number"], 0, "{answer}");
            told(&answer["failed"])
        });
    }
    // Nobody else has noticed.
    lives.let_go();
    assert_eq!(alice.ended(1)["verdict"]["kind"], "exit");
    all.finish(16);
    assert!(living(&manager).is_empty());
    manager.end();
}

#[test]
fn an_engine_that_talks_and_never_listens_keeps_nobody_from_their_sessions() {
    let Some(manager) = start("functions_flood", "") else {
        return;
    };
    let (alice, bob) = (manager.engine(ALICE), manager.engine(BOB));
    // Each is answered; none of the answers is read.
    let mut sent = 0;
    let full = loop {
        match alice.say_now(b"no json") {
            Ok(()) => sent += 1,
            Err(errno) => break errno,
        }
    };
    assert!(sent > 0);
    assert_eq!(full, Errno::AGAIN);
    let (_, streams) = bob.open(&session(1));
    streams.wait();
    streams.let_go();
    assert_eq!(bob.ended(1)["verdict"]["kind"], "exit");
    drop(alice);
    manager.end();
}

#[test]
fn nothing_is_left_of_sessions_when_their_manager_is_killed() {
    let Some(manager) = start("functions_killed", "") else {
        return;
    };
    let engine = manager.engine(ALICE);
    let (_, streams) = engine.open(&session(1));
    streams.wait();
    manager.kill_manager();
    assert!(streams.is_over());
    assert!(engine.try_hear().is_none());
    assert!(living(&manager).is_empty());
    // The next one serves on the same socket.
    let engine = manager.engine(ALICE);
    let (_, streams) = engine.open(&session(1));
    streams.wait();
    engine.kill(1);
    assert_eq!(engine.ended(1)["verdict"]["kind"], "signal");
    manager.end();
}

#[test]
fn what_a_launcher_had_is_told_when_it_is_killed() {
    let Some(manager) = start("functions_launcher", "") else {
        return;
    };
    let engine = manager.engine(ALICE);
    let (_, streams) = engine.open(&session(1));
    streams.wait();
    for launcher in manager.launchers() {
        lakekeep_tests::manager::kill(launcher);
    }
    let ended = engine.ended(1);
    assert_eq!(ended["verdict"]["kind"], "lost", "{ended}");
    assert!(streams.is_over());
    let again = eventually("another launcher", || {
        drop(engine.ask(&session(2)));
        let answer = engine.hear();
        (answer["opened"]["number"] == 2).then_some(answer)
    });
    drop(again);
    drop(engine);
    eventually("the end of all", || {
        living(&manager).is_empty().then_some(())
    });
    manager.end();
}
