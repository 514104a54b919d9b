//! The broker of user functions (`lakekeep udf-broker`), asked as an engine asks it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::Command;

use lakekeep_tests::functions::{Engine, Streams, pair, waiting_python};
use lakekeep_tests::{
    HostSnapshot, Place, Privilege, Tracked, eventually, for_each_privilege, lakekeep, orphans,
};
use serde_json::{Value, json};

/// A broker, and the engine that it is of.
struct Broker {
    child: Tracked,
    engine: Engine,
}

impl Broker {
    fn start(place: &Place, privilege: Privilege) -> Self {
        let (control, theirs) = pair();
        let mut command = Command::new(lakekeep());
        command
            .args(["udf-broker", "--control", "0"])
            .env("LAKEKEEP_STATE_DIR", place.dir("state", privilege))
            .current_dir("/")
            .stdin(theirs);
        privilege.apply(&mut command);
        Self {
            child: Tracked::spawn(&mut command),
            engine: Engine::new(control),
        }
    }

    /// A session whose worker waits for the engine.
    fn open(&self, number: u32, python: &str) -> (String, Streams) {
        self.engine.open(&session(number, python))
    }

    /// It ends with its engine.
    fn end(mut self) {
        drop(self.engine);
        assert!(self.child.wait().unwrap().success());
    }
}

fn session(number: u32, python: &str) -> Value {
    json!({ "number": number, "interpreter": python, "limits": { "memory": 128 << 20 } })
}

fn python(place: &Place, privilege: Privilege) -> String {
    waiting_python(&place.dir("environment", privilege), privilege)
}

#[test]
fn each_session_has_a_sandbox_of_its_own_and_is_judged() {
    for_each_privilege("udf_sessions", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let python = python(&place, privilege);
        let broker = Broker::start(&place, privilege);
        let sessions: Vec<_> = (1..=3).map(|number| broker.open(number, &python)).collect();
        let ids: BTreeSet<&String> = sessions.iter().map(|(id, _)| id).collect();
        assert_eq!(ids.len(), 3);
        for (_, streams) in &sessions {
            streams.wait();
        }
        broker.engine.kill(2);
        let ended = broker.engine.ended(2);
        assert_eq!(ended["verdict"]["kind"], "signal", "{ended}");
        // The others do not notice.
        let (_, first) = &sessions[0];
        first.let_go();
        let ended = broker.engine.ended(1);
        assert_eq!(ended["verdict"]["kind"], "exit", "{ended}");
        // A number may be used again when its session has ended.
        let (again, streams) = broker.open(2, &python);
        assert!(!ids.contains(&again));
        streams.wait();
        broker.end();
        before.assert_unchanged();
    });
}

#[test]
fn what_is_not_to_be_had_is_said_and_costs_no_session() {
    for_each_privilege("udf_refused", |privilege| {
        let place = Place::new();
        let python = python(&place, privilege);
        let broker = Broker::start(&place, privilege);
        let (_, streams) = broker.open(1, &python);
        streams.wait();
        for packet in [&b"no json"[..], b"{}", b"{\"open\": {}}", &[0xff; 4096]] {
            broker.engine.say(packet, &[]);
            let answer = broker.engine.hear();
            assert_eq!(answer["failed"]["number"], 0, "{answer}");
        }
        let refused = |open: Value, why: &str| {
            let answer = broker.engine.refused(&open);
            let message = answer["message"].as_str().unwrap();
            assert!(message.contains(why), "{message}");
        };
        refused(session(1, &python), "number");
        refused(session(0, &python), "number");
        refused(session(2, "/no/such/python"), "/no/such/python");
        refused(
            json!({ "number": 2, "interpreter": python, "limits": { "memory": 1 } }),
            "memory",
        );
        broker.engine.say(
            json!({ "open": session(2, &python) })
                .to_string()
                .as_bytes(),
            &[],
        );
        let answer = broker.engine.hear();
        let message = answer["failed"]["message"].as_str().unwrap();
        assert!(message.contains("descriptors"), "{message}");
        // What no session has is no fault: its end may have crossed this word.
        broker.engine.kill(9);
        streams.let_go();
        let ended = broker.engine.ended(1);
        assert_eq!(ended["verdict"]["kind"], "exit", "{ended}");
        broker.end();
    });
}

#[test]
fn a_worker_that_cannot_import_says_so_and_has_an_end() {
    for_each_privilege("udf_import", |privilege| {
        let place = Place::new();
        let broker = Broker::start(&place, privilege);
        let mut streams = broker.engine.ask(&json!({
            "number": 1, "interpreter": "/usr/bin/python3", "modules": ["there_is_no_such_module"],
        }));
        let answer = broker.engine.hear();
        if privilege == Privilege::Root {
            // A zygote has tried, and no worker is started.
            let failed = &answer["failed"];
            assert_eq!(failed["code"], "ENVIRONMENT_FAILED", "{answer}");
            let message = failed["message"].as_str().unwrap();
            assert!(message.contains("there_is_no_such_module"), "{message}");
            assert!(message.contains("ModuleNotFoundError"), "{message}");
            broker.end();
            return;
        }
        let warning = answer["opened"]["warning"].as_str().unwrap();
        assert!(warning.contains("root"), "{warning}");
        let ended = broker.engine.ended(1);
        assert_eq!(ended["verdict"]["exit_code"], 1, "{ended}");
        let mut said = String::new();
        streams.stderr.read_to_string(&mut said).unwrap();
        assert!(said.contains("ModuleNotFoundError"), "{said}");
        broker.end();
    });
}

#[test]
fn nothing_is_left_of_a_broker_that_was_killed() {
    for_each_privilege("udf_killed", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let python = python(&place, privilege);
        let mut broker = Broker::start(&place, privilege);
        let (_, streams) = broker.open(1, &python);
        streams.wait();
        broker.child.kill().unwrap();
        broker.child.wait().unwrap();
        eventually("the end of all of it", || {
            orphans().is_empty().then_some(())
        });
        // The engine hears it on its session, too.
        assert!(streams.is_over());
        let place_of_next = Broker::start(&place, privilege);
        place_of_next.open(1, &python);
        place_of_next.end();
        before.assert_unchanged();
    });
}

#[test]
fn an_engine_that_is_killed_takes_its_broker_along() {
    for_each_privilege("udf_engine", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let python = python(&place, privilege);
        let mut broker = Broker::start(&place, privilege);
        let (_, streams) = broker.open(1, &python);
        streams.wait();
        // As the kernel closes it for a process that is no more, in the middle of a packet.
        broker.engine.say(b"{\"open\": {", &[]);
        drop(broker.engine);
        assert!(broker.child.wait().unwrap().success());
        before.assert_unchanged();
    });
}

#[test]
fn no_way_out_of_a_sandbox_is_taken_along() {
    for_each_privilege("udf_descriptors", |privilege| {
        let place = Place::new();
        let python = python(&place, privilege);
        let broker = Broker::start(&place, privilege);
        let (folder, null) = (File::open("/").unwrap(), File::create("/dev/null").unwrap());
        let (_engine, worker) = pair();
        let packet = json!({ "open": session(1, &python) }).to_string();
        for given in [
            [folder.as_fd(), null.as_fd(), null.as_fd()],
            [worker.as_fd(), folder.as_fd(), null.as_fd()],
            [worker.as_fd(), null.as_fd(), folder.as_fd()],
        ] {
            broker.engine.say(packet.as_bytes(), &given);
            let answer = broker.engine.hear();
            let message = answer["failed"]["message"].as_str().unwrap();
            assert!(message.contains("send one"), "{message}");
        }
        broker.end();
    });
}
