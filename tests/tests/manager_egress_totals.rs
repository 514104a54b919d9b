//! What the sandboxes of a profile have together, whoever's they are: connections, new ones a
//! second, bytes a second.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use lakekeep_api::v1;
use lakekeep_tests::internet::{Internet, python};
use lakekeep_tests::manager::{
    Manager, Setup, Talk, User, command, create, kill, of, shared_profile,
};
use lakekeep_tests::{eventually, is_program, lakekeep};

/// What the relay's resolver answers.
const HOSTS: &str = "93.184.216.34 pypi.example\n";

/// What both profiles let out.
const RULES: &str = "[egress]\nrules = [\"allow tcp pypi.example:80\"]\n";

/// Holds as many of `count` connections as it gets until it is told to end, and says how many.
/// Sends bytes, and ends when all have arrived.
const WORDS: &str = "
import socket
def greeted(_):
    try:
        s = socket.create_connection(('pypi.example', 80), 60)
        return s if s.recv(100) else None
    except OSError:
        return None
def hold(count):
    held = [s for s in map(greeted, range(count)) if s]
    print('held', len(held), flush=True)
    input()
    print('alive', sum(map(alive, held)), flush=True)
def alive(s):
    s.setblocking(False)
    try:
        return len(s.recv(1)) > 0
    except BlockingIOError:
        return True
    except OSError:
        return False
def send(size):
    with socket.create_connection(('pypi.example', 80), 60) as s:
        s.settimeout(None)
        s.sendall(bytes([7]) * size)
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096): pass
";

/// A host with an Internet, and a manager on it: a sandbox of each of two users in one profile, and
/// one in another.
struct Site {
    _internet: Internet,
    manager: Manager,
    hers: v1::Sandbox,
    his: v1::Sandbox,
    other: v1::Sandbox,
}

impl Site {
    fn start(test: &str) -> Option<Self> {
        let internet = Internet::make(test)?;
        let setup = Setup::new()
            .profile("net", &shared_profile("net", RULES))
            .profile("other", &shared_profile("other", RULES));
        let hosts = setup.place().hosts(HOSTS);
        let manager = internet.on_host_with_names(&hosts, || setup.start(test))?;
        let (alice, bob) = (manager.alice(), manager.bob());
        Some(Self {
            hers: alice.sandbox(wanted("net")),
            his: bob.sandbox(wanted("net")),
            other: alice.sandbox(wanted("other")),
            manager,
            _internet: internet,
        })
    }

    /// Gives the profile this total, and returns when it holds for both sandboxes.
    fn total(&self, total: &str) {
        let (alice, bob) = (self.manager.alice(), self.manager.bob());
        let both = [(&alice, &self.hers), (&bob, &self.his)];
        let egress =
            |(user, sandbox): (&User, &v1::Sandbox)| user.get(of(&sandbox.id)).unwrap().egress;
        let before = both.map(egress);
        let text = format!("{RULES}[egress.total]\n{total}\n");
        let path = self.manager.profiles().join("net.toml");
        std::fs::write(path, shared_profile("net", &text)).unwrap();
        eventually("other rules for both", || {
            let now = both.map(egress);
            let changed = now.iter().zip(&before).all(|(now, before)| now != before);
            changed.then_some(())
        });
        // The end of a task waits until the relay has answered what it was told before.
        for (user, sandbox) in both {
            user.python(&sandbox.id, "").finish().unwrap();
        }
    }

    fn alice(&self, script: &str) -> Talk {
        begin(&self.manager.alice(), &self.hers, script)
    }

    fn bob(&self, script: &str) -> Talk {
        begin(&self.manager.bob(), &self.his, script)
    }

    fn other(&self, script: &str) -> Talk {
        begin(&self.manager.alice(), &self.other, script)
    }

    /// Has both do the same at the same time, and says how long that took.
    fn both(&self, script: &str) -> Duration {
        let began = Instant::now();
        for talk in [self.alice(script), self.bob(script)] {
            assert_eq!(talk.finish().unwrap().success(), "");
        }
        began.elapsed()
    }

    /// Waits until the log of flows says so.
    fn log_says(&self, words: &str) {
        eventually(words, || {
            let mut read = Command::new(lakekeep());
            read.args(["egress", "log", "--json"])
                .env("LAKEKEEP_SOCKET", self.manager.socket());
            let flows = read.output().unwrap().stdout;
            String::from_utf8_lossy(&flows)
                .contains(words)
                .then_some(())
        });
    }

    fn kill_relay(&self) {
        let relay = || {
            let is_relay = |pid: &i32| is_program(*pid, "lakekeep-relay");
            self.manager.processes().into_iter().find(is_relay)
        };
        let old = eventually("a relay to kill", relay);
        kill(old);
        eventually("another relay", || relay().filter(|pid| *pid != old));
    }
}

fn wanted(profile: &str) -> v1::CreateRequest {
    v1::CreateRequest {
        profile: profile.to_owned(),
        ..create()
    }
}

fn begin(user: &User, sandbox: &v1::Sandbox, script: &str) -> Talk {
    user.python(&sandbox.id, &format!("{WORDS}\n{script}"))
}

/// Ends what holds connections, of which so many live.
#[track_caller]
fn release(mut talk: Talk, alive: usize) {
    talk.give(b"\n");
    talk.prints(&format!("alive {alive}"));
    talk.finish().unwrap();
}

#[test]
fn a_profiles_sandboxes_share_its_connections() {
    let Some(site) = Site::start("manager_egress_totals_connections") else {
        return;
    };
    // Without a total, both together have more than it will be.
    let mut free = [site.alice("hold(3)"), site.bob("hold(3)")];
    free.iter_mut().for_each(|talk| talk.prints("held 3"));
    free.into_iter().for_each(|talk| release(talk, 3));

    site.total("connections = 4");
    let mut hers = site.alice("hold(3)");
    hers.prints("held 3");
    let mut his = site.bob("hold(3)");
    his.prints("held 1");
    site.log_says("the profile net's total of 4 connections is used up");
    site.log_says("connections raised in [egress.total] of the profile");
    let mut other = site.other("hold(5)");
    other.prints("held 5");

    // Live sandboxes follow: more, and then fewer than there are, of which none ends.
    site.total("connections = 6");
    let mut more = site.bob("hold(3)");
    more.prints("held 2");
    site.total("connections = 2");
    let mut none = site.alice("hold(1)");
    none.prints("held 0");
    release(none, 0);
    release(hers, 3);
    release(his, 1);
    let mut none = site.alice("hold(1)");
    none.prints("held 0");
    release(none, 0);
    release(more, 2);
    release(other, 5);
    let mut again = site.alice("hold(3)");
    again.prints("held 2");
    release(again, 2);
    site.manager.end();
}

#[test]
fn a_total_outlives_manager_and_relay() {
    let Some(site) = Site::start("manager_egress_totals_kills") else {
        return;
    };
    site.total("connections = 4");
    let held = || {
        let mut start = command(&site.hers.id, &[]);
        start.arguments = python(&format!("{WORDS}\nhold(3)"))
            .map(String::into_bytes)
            .to_vec();
        start.detach = true;
        let mut talk = site.manager.alice().exec(start).unwrap();
        talk.prints("held 3");
        talk
    };
    let before = held();
    site.manager.kill_manager();
    let mut his = site.bob("hold(3)");
    his.prints("held 1");
    release(his, 1);
    drop(before);
    // Its connections end with the relay, and the next one is told of the total again.
    site.kill_relay();
    let mut hers = site.alice("hold(3)");
    hers.prints("held 3");
    let mut his = site.bob("hold(3)");
    his.prints("held 1");
    release(hers, 3);
    release(his, 1);
    site.manager.end();
}

#[test]
fn a_profiles_sandboxes_share_its_new_connections() {
    let Some(site) = Site::start("manager_egress_totals_arrivals") else {
        return;
    };
    let script = "for n in range(12): greeted(n).close()";
    let free = site.both(script);
    site.total("new_per_second = 4");
    let slow = site.both(script);
    // 24 at 4 a second, of which one comes at once.
    assert!(slow >= Duration::from_millis(5500), "{slow:?}");
    assert!(free < slow, "{free:?} without a total, {slow:?} with one");
    site.manager.end();
}

#[test]
fn a_profiles_sandboxes_share_its_bandwidth() {
    let Some(site) = Site::start("manager_egress_totals_bytes") else {
        return;
    };
    let script = "send(192 << 10)";
    let free = site.both(script);
    site.total("bytes_per_second = 131072");
    let slow = site.both(script);
    // Three seconds' bytes, of which the burst and two pieces of each are not waited for.
    assert!(slow >= Duration::from_millis(2400), "{slow:?}");
    assert!(free < slow, "{free:?} without a total, {slow:?} with one");
    // At this rate they would take some six minutes; another profile's sandbox does not, and
    // nor do they once the rate is another.
    site.total("bytes_per_second = 1024");
    let both = [site.alice(script), site.bob(script)];
    assert_eq!(
        site.other("send(384 << 10)").finish().unwrap().success(),
        ""
    );
    site.total("");
    for talk in both {
        assert_eq!(talk.finish().unwrap().success(), "");
    }
    site.manager.end();
}
