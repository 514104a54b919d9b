//! The broker of user functions (`lakekeep udf-broker`), asked as an engine asks it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use lakekeep_tests::{
    HostSnapshot, Place, Privilege, Tracked, eventually, for_each_privilege, lakekeep, orphans,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType,
};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json};

/// A broker, and the engine's end of its socket.
struct Broker {
    child: Tracked,
    control: OwnedFd,
}

/// The engine's ends of a session's streams.
struct Streams {
    socket: OwnedFd,
    stderr: File,
}

fn pair() -> (OwnedFd, OwnedFd) {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap()
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
            control,
        }
    }

    fn say(&self, packet: &[u8], given: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !given.is_empty() {
            assert!(rights.push(SendAncillaryMessage::ScmRights(given)));
        }
        let packet = [IoSlice::new(packet)];
        rustix::net::sendmsg(&self.control, &packet, &mut rights, SendFlags::NOSIGNAL).unwrap();
    }

    fn hear(&self) -> Value {
        let mut packet = vec![0; 64 * 1024];
        let (length, _) =
            rustix::net::recv(&self.control, &mut packet, RecvFlags::empty()).unwrap();
        serde_json::from_slice(&packet[..length]).unwrap()
    }

    fn ask(&self, open: &Value) -> Streams {
        let ((socket, theirs), (stderr, written)) =
            (pair(), pipe_with(PipeFlags::CLOEXEC).unwrap());
        let null = File::options().write(true).open("/dev/null").unwrap();
        let packet = json!({ "open": open }).to_string();
        let given = [theirs.as_fd(), null.as_fd(), written.as_fd()];
        self.say(packet.as_bytes(), &given);
        Streams {
            socket,
            stderr: stderr.into(),
        }
    }

    /// A session whose worker waits for the engine.
    fn open(&self, number: u32, python: &str) -> (String, Streams) {
        let streams = self.ask(&session(number, python));
        let answer = self.hear();
        assert_eq!(answer["opened"]["number"], number, "{answer}");
        let sandbox = answer["opened"]["sandbox"].as_str().unwrap();
        (sandbox.to_owned(), streams)
    }

    /// It ends with its engine.
    fn end(mut self) {
        drop(self.control);
        assert!(self.child.wait().unwrap().success());
    }
}

fn session(number: u32, python: &str) -> Value {
    json!({ "number": number, "interpreter": python, "limits": { "memory": 128 << 20 } })
}

/// An interpreter whose workers wait until they are ended: what they import first does.
fn waiting_python(place: &Place, privilege: Privilege) -> String {
    let folder = place.dir("environment", privilege);
    let mut venv = Command::new("/usr/bin/python3");
    venv.args(["-m", "venv", "--without-pip"]).arg(&folder);
    privilege.apply(&mut venv);
    assert!(venv.stdout(Stdio::null()).status().unwrap().success());
    let packages = fs::read_dir(folder.join("lib"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("site-packages"))
        .find(|path| path.is_dir())
        .unwrap();
    fs::write(
        packages.join("cloudpickle.py"),
        "import os\nos.write(0, b'here')\nos.read(0, 1)\n",
    )
    .unwrap();
    folder.join("bin/python3").display().to_string()
}

/// Returns when the worker is there.
fn wait_for(streams: &Streams) {
    let mut word = [0; 16];
    let (length, _) = rustix::net::recv(&streams.socket, &mut word, RecvFlags::empty()).unwrap();
    assert_eq!(&word[..length], b"here");
}

#[test]
fn each_session_has_a_sandbox_of_its_own_and_is_judged() {
    for_each_privilege("udf_sessions", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let python = waiting_python(&place, privilege);
        let broker = Broker::start(&place, privilege);
        let sessions: Vec<_> = (1..=3).map(|number| broker.open(number, &python)).collect();
        let ids: BTreeSet<&String> = sessions.iter().map(|(id, _)| id).collect();
        assert_eq!(ids.len(), 3);
        for (_, streams) in &sessions {
            wait_for(streams);
        }
        broker.say(
            json!({ "kill": { "number": 2 } }).to_string().as_bytes(),
            &[],
        );
        let ended = broker.hear();
        assert_eq!(ended["ended"]["number"], 2, "{ended}");
        assert_eq!(ended["ended"]["verdict"]["kind"], "signal", "{ended}");
        // The others do not notice.
        let (_, first) = &sessions[0];
        rustix::net::send(&first.socket, b"x", SendFlags::NOSIGNAL).unwrap();
        let ended = broker.hear();
        assert_eq!(ended["ended"]["number"], 1, "{ended}");
        assert_eq!(ended["ended"]["verdict"]["kind"], "exit", "{ended}");
        // A number may be used again when its session has ended.
        let (again, streams) = broker.open(2, &python);
        assert!(!ids.contains(&again));
        wait_for(&streams);
        broker.end();
        before.assert_unchanged();
    });
}

#[test]
fn what_is_not_to_be_had_is_said_and_costs_no_session() {
    for_each_privilege("udf_refused", |privilege| {
        let place = Place::new();
        let python = waiting_python(&place, privilege);
        let broker = Broker::start(&place, privilege);
        let (_, streams) = broker.open(1, &python);
        wait_for(&streams);
        for packet in [&b"no json"[..], b"{}", b"{\"open\": {}}", &[0xff; 4096]] {
            broker.say(packet, &[]);
            let answer = broker.hear();
            assert_eq!(answer["failed"]["number"], 0, "{answer}");
        }
        let refused = |open: Value, why: &str| {
            let number = open["number"].clone();
            drop(broker.ask(&open));
            let answer = broker.hear();
            assert_eq!(answer["failed"]["number"], number, "{answer}");
            let message = answer["failed"]["message"].as_str().unwrap();
            assert!(message.contains(why), "{message}");
        };
        refused(session(1, &python), "number");
        refused(session(0, &python), "number");
        refused(session(2, "/no/such/python"), "/no/such/python");
        refused(
            json!({ "number": 2, "interpreter": python, "limits": { "memory": 1 } }),
            "memory",
        );
        broker.say(
            json!({ "open": session(2, &python) })
                .to_string()
                .as_bytes(),
            &[],
        );
        let answer = broker.hear();
        let message = answer["failed"]["message"].as_str().unwrap();
        assert!(message.contains("descriptors"), "{message}");
        // What no session has is no fault: its end may have crossed this word.
        broker.say(
            json!({ "kill": { "number": 9 } }).to_string().as_bytes(),
            &[],
        );
        rustix::net::send(&streams.socket, b"x", SendFlags::NOSIGNAL).unwrap();
        assert_eq!(broker.hear()["ended"]["number"], 1);
        broker.end();
    });
}

#[test]
fn a_worker_that_cannot_import_says_so_and_has_an_end() {
    for_each_privilege("udf_import", |privilege| {
        let place = Place::new();
        let broker = Broker::start(&place, privilege);
        let mut streams = broker.ask(&json!({
            "number": 1, "interpreter": "/usr/bin/python3", "modules": ["there_is_no_such_module"],
        }));
        let answer = broker.hear();
        let warning = answer["opened"]["warning"].as_str().unwrap();
        let expected = match privilege {
            Privilege::Root => "there_is_no_such_module",
            _ => "root",
        };
        assert!(warning.contains(expected), "{warning}");
        let ended = broker.hear();
        assert_eq!(ended["ended"]["verdict"]["exit_code"], 1, "{ended}");
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
        let python = waiting_python(&place, privilege);
        let mut broker = Broker::start(&place, privilege);
        let (_, streams) = broker.open(1, &python);
        wait_for(&streams);
        broker.child.kill().unwrap();
        broker.child.wait().unwrap();
        eventually("the end of all of it", || {
            orphans().is_empty().then_some(())
        });
        // The engine hears it on its session, too.
        let heard = rustix::net::recv(&streams.socket, &mut [0], RecvFlags::empty());
        assert!(matches!(
            heard,
            Ok((0, _)) | Err(rustix::io::Errno::CONNRESET)
        ));
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
        let python = waiting_python(&place, privilege);
        let mut broker = Broker::start(&place, privilege);
        let (_, streams) = broker.open(1, &python);
        wait_for(&streams);
        // As the kernel closes it for a process that is no more, in the middle of a packet.
        broker.say(b"{\"open\": {", &[]);
        drop(broker.control);
        assert!(broker.child.wait().unwrap().success());
        before.assert_unchanged();
    });
}
