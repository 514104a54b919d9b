//! The broker of user functions (`lakekeep udf-broker`), asked as an engine asks it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;

use lakekeep_tests::functions::{Engine, Streams, pair, waiting_python};
use lakekeep_tests::manager::kill;
use lakekeep_tests::{
    HostSnapshot, Place, Privilege, Tracked, children, eventually, for_each_privilege, lakekeep,
    orphans,
};
use serde_json::{Value, json};

/// Where environments are captured to.
fn store(place: &Place, privilege: Privilege) -> PathBuf {
    place.dir("state", privilege).join("store")
}

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
            .env("LAKEKEEP_STORE", store(place, privilege))
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

/// The digest of an environment whose workers say its name, and wait until they are let go.
fn captured(place: &Place, privilege: Privilege, name: &str) -> String {
    let python = waiting_python(&place.dir(name, privilege), privilege);
    let module = "import os\nos.write(2, os.path.realpath(__file__).encode() + b'\\n')\n";
    let script = "import pathlib, sys, sysconfig\n\
        site = pathlib.Path(sysconfig.get_paths()['purelib'])\n\
        (site / 'cloudpickle.py').write_text('import sys; sys.exit()')\n\
        waits = (site / 'pyarrow.py').read_text()\n\
        (site / 'pyarrow.py').write_text(sys.argv[1] + waits)\n";
    let mut install = Command::new(&python);
    install.args(["-c", script, module]);
    let mut capture = Command::new(lakekeep());
    capture
        .args(["env", "capture", "--python", &python])
        .env("LAKEKEEP_STORE", store(place, privilege))
        .env("XDG_CACHE_HOME", place.dir("cache", privilege))
        .env_remove("LAKEKEEP_SOCKET");
    // Its files are the harness's, its capture is the user's.
    assert!(install.status().unwrap().success());
    privilege.apply(&mut capture);
    let told = capture.current_dir("/").output().unwrap();
    assert!(told.status.success(), "{told:?}");
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

/// A line that a worker wrote to its standard error.
fn line(streams: &mut Streams) -> String {
    let mut said = String::new();
    BufReader::new(&mut streams.stderr)
        .read_line(&mut said)
        .unwrap();
    said.trim_end().to_owned()
}

#[test]
fn each_session_has_the_environment_that_it_names_and_no_other() {
    for_each_privilege("udf_environments", |privilege| {
        let place = Place::new();
        let [one, other] = ["one", "other"].map(|name| captured(&place, privilege, name));
        let broker = Broker::start(&place, privilege);
        let open = |number: u32, digest: &str| {
            let mut asked = session(number, "/no/such/python");
            asked["environment"] = json!(digest);
            broker.engine.open(&asked)
        };
        let mut opened: Vec<_> = [(1, &one), (2, &other), (3, &one), (4, &other)]
            .map(|(number, digest)| open(number, digest))
            .into();
        let ids: BTreeSet<String> = opened.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(ids.len(), 4);
        for (index, (_, streams)) in opened.iter_mut().enumerate() {
            let said = line(streams);
            let name = ["one", "other"][index % 2];
            let folder = place.path().join(name);
            assert!(said.starts_with(&folder.display().to_string()), "{said}");
            streams.wait();
        }
        // Without a zygote they are of one pool, whose launcher is the broker's only child; a
        // zygote has the imports of one environment.
        let launchers = children(broker.child.id()).len();
        let expected = match privilege {
            Privilege::Root => 2,
            Privilege::User => 1,
        };
        assert_eq!(launchers, expected);
        for (_, streams) in &opened {
            streams.let_go();
        }
        for number in 1..=4 {
            let ended = broker.engine.hear();
            assert_eq!(
                ended["ended"]["verdict"]["kind"], "exit",
                "{number}: {ended}"
            );
        }
        broker.end();
    });
}

#[test]
fn a_killed_launcher_of_blank_sandboxes_costs_nobody_a_session() {
    for_each_privilege("udf_environments_killed", |privilege| {
        let place = Place::new();
        let digest = captured(&place, privilege, "one");
        let broker = Broker::start(&place, privilege);
        let open = |number: u32| {
            let mut asked = session(number, "/no/such/python");
            asked["environment"] = json!(digest);
            broker.engine.open(&asked)
        };
        let (_, mut streams) = open(1);
        line(&mut streams);
        streams.wait();
        for pid in children(broker.child.id()) {
            kill(pid);
        }
        let lost = broker.engine.hear();
        assert_eq!(lost["failed"]["number"], 1, "{lost}");
        let (_, mut streams) = open(2);
        line(&mut streams);
        streams.wait();
        streams.let_go();
        assert_eq!(broker.engine.ended(2)["verdict"]["kind"], "exit");
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
