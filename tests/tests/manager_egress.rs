//! What leaves the sandboxes of a manager: by its administrator's, its profiles' and its users'
//! rules, through one relay that outlives it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use lakekeep_api::v1;
use lakekeep_tests::internet::{GREETING, Internet, WORDS, python};
use lakekeep_tests::manager::{
    Dice, Done, Manager, Setup, Talk, User, command, create, is_alive, kill, of, shared_profile,
};
use lakekeep_tests::{eventually, is_program, lakekeep};

/// What the relay's resolver answers.
const HOSTS: &str = "93.184.216.34 pypi.example index.example other.example\n";

/// What the profile lets out.
const RULES: &str = "[egress]\nrules = [\"allow tcp pypi.example:80\", \"allow tcp other.example:80\", \
                     \"allow tcp 93.184.216.34:8080\"]\n";

/// Sends a line every 20 ms over one connection, and says when that ends. (What begins as text
/// is looked at up to the end of its first line.)
const TRICKLE: &str = "
import time
def trickle(name, port):
    with socket.create_connection((name, port), 5) as s:
        print('connected', flush=True)
        try:
            while True:
                s.sendall(b'.\\n')
                time.sleep(0.02)
        except OSError as e:
            print('ended', type(e).__name__, flush=True)
";

/// A host with an Internet, and a manager on it.
struct Site {
    internet: Internet,
    manager: Manager,
}

impl Site {
    fn start(test: &str, rules: &str) -> Option<Self> {
        Self::start_with(
            test,
            Setup::new().profile("net", &shared_profile("net", rules)),
        )
    }

    fn start_with(test: &str, setup: Setup) -> Option<Self> {
        let internet = Internet::make(test)?;
        let hosts = setup.place().hosts(HOSTS);
        let manager = internet.on_host_with_names(&hosts, || setup.start(test))?;
        Some(Self { internet, manager })
    }

    /// Bytes that have arrived outside.
    fn bytes(&self) -> u64 {
        self.internet.arrived().1
    }

    /// Waits until bytes arrive that were sent from now on: those on their way are few.
    fn flows(&self, what: &str) {
        let before = self.bytes() + 10;
        eventually(what, || (self.bytes() > before).then_some(()));
    }

    /// Rewrites the profile.
    fn profile(&self, rules: &str) {
        let path = self.manager.profiles().join("net.toml");
        std::fs::write(path, shared_profile("net", rules)).unwrap();
    }

    /// Waits until the log of flows says so.
    fn log_says(&self, words: &str) {
        eventually(words, || {
            let mut read = Command::new(lakekeep());
            read.args(["egress", "log", "--json"])
                .env("LAKEKEEP_SOCKET", self.manager.socket());
            let read = read.output().unwrap();
            let flows = String::from_utf8_lossy(&read.stdout);
            flows.contains(words).then_some(())
        });
    }

    fn relay(&self) -> Option<i32> {
        relay_of(&self.manager)
    }

    /// Kills the relay, and returns when another serves, with how long that took.
    fn kill_relay(&self) -> Duration {
        let old = eventually("a relay to kill", || self.relay());
        kill(old);
        let since = Instant::now();
        eventually("another relay", || self.relay().filter(|pid| *pid != old));
        since.elapsed()
    }
}

fn relay_of(manager: &Manager) -> Option<i32> {
    let is_relay = |pid: &i32| is_program(*pid, "lakekeep-relay");
    manager.processes().into_iter().find(is_relay)
}

fn wanted(policy: &str) -> v1::CreateRequest {
    v1::CreateRequest {
        profile: "net".to_owned(),
        policy: policy.to_owned(),
        ..create()
    }
}

fn begin(user: &User, sandbox: &str, script: &str) -> Talk {
    user.python(sandbox, &format!("{WORDS}{TRICKLE}\n{script}"))
}

fn run(user: &User, sandbox: &str, script: &str) -> Done {
    begin(user, sandbox, script).finish().unwrap()
}

/// What was not let out ends a program of Python's with an error, and is told.
fn assert_denied(done: &Done, host: &str) {
    assert_eq!(done.code, 1, "{}", done.text());
    let explanation = done.outcome["verdict"]["explanation"].as_str().unwrap();
    assert!(
        explanation.contains(&format!("denied egress to {host}")),
        "{explanation}"
    );
    assert!(done.outcome["traffic"]["denied"].as_u64().unwrap() >= 1);
}

#[test]
fn what_is_allowed_passes_and_the_rest_is_refused_and_told() {
    let Some(site) = Site::start("manager_egress_rules", RULES) else {
        return;
    };
    let alice = site.manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    assert_eq!(sandbox.egress.len(), 64);
    let done = run(
        &alice,
        &sandbox.id,
        "print(tcp('pypi.example', 80), end='')",
    );
    assert_eq!(done.success(), GREETING.trim_end());
    assert_eq!(done.outcome["traffic"]["denied"], 0);
    let network = done.outcome["receipt"]["network"].as_str().unwrap();
    assert_eq!(network, format!("relay: 3 rules, {}", sandbox.egress));
    site.internet.prove("tcp(SERVER, 22)");
    let before = site.internet.arrived();
    let name = run(&alice, &sandbox.id, "tcp('index.example', 80)");
    assert_denied(&name, "index.example");
    let explanation = name.outcome["verdict"]["explanation"].as_str().unwrap();
    assert!(
        explanation.contains("the owner can add: allow tcp index.example"),
        "{explanation}"
    );
    assert_denied(
        &run(&alice, &sandbox.id, "tcp(SERVER, 22)"),
        "93.184.216.34:22",
    );
    assert_eq!(site.internet.arrived(), before);
    // What an earlier task was denied is not told of a later one.
    let later = run(&alice, &sandbox.id, "print('hello')");
    assert_eq!(later.outcome["traffic"]["denied"], 0);
    site.manager.end();
}

#[test]
fn a_user_narrows_and_never_widens() {
    let Some(site) = Site::start("manager_egress_levels", RULES) else {
        return;
    };
    let alice = site.manager.alice();
    let policy = |rule: &str| format!("version = 1\n[egress]\nrules = [\"{rule}\"]\n");
    let narrow = alice.sandbox(wanted(&policy("allow tcp pypi.example:80")));
    assert_ne!(narrow.egress, alice.sandbox(wanted("")).egress);
    let done = run(&alice, &narrow.id, "print(tcp('pypi.example', 80), end='')");
    assert_eq!(done.success(), GREETING.trim_end());
    assert_denied(
        &run(&alice, &narrow.id, "tcp('other.example', 80)"),
        "other.example",
    );
    let wide = alice
        .create(wanted(&policy("allow tcp index.example:80")))
        .unwrap_err();
    assert_eq!(wide.reason, "BAD_POLICY");
    assert!(wide.message.contains("egress.rules[0]"), "{}", wide.message);
    // A profile without rules lets nothing out, whoever asks.
    let own = v1::CreateRequest {
        policy: policy("allow tcp pypi.example:80"),
        ..create()
    };
    let none = alice.create(own).unwrap_err();
    assert!(none.message.contains("add [egress]"), "{}", none.message);
    site.manager.end();
}

#[test]
fn one_users_addresses_lead_nowhere_for_another() {
    let Some(site) = Site::start("manager_egress_users", RULES) else {
        return;
    };
    let (alice, bob) = (site.manager.alice(), site.manager.bob());
    let (hers, his) = (alice.sandbox(wanted("")), bob.sandbox(wanted("")));
    let look = "print(socket.gethostbyname('pypi.example'), flush=True)\ninput()";
    let mut held = begin(&alice, &hers.id, look);
    held.prints("\n");
    let address = held.text().trim().to_owned();
    assert!(address.starts_with("198.1"), "{address}");
    let before = site.internet.arrived();
    let done = run(&bob, &his.id, &format!("tcp('{address}', 80)"));
    assert_denied(&done, &format!("{address}:80"));
    assert_eq!(site.internet.arrived(), before);
    held.give(b"\n");
    held.end_input();
    held.finish().unwrap();
    site.manager.end();
}

#[test]
fn connections_outlive_their_manager() {
    let Some(site) = Site::start("manager_egress_manager", RULES) else {
        return;
    };
    let alice = site.manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    let mut start = command(&sandbox.id, &[]);
    start.arguments = python(&format!("{WORDS}{TRICKLE}\ntrickle('pypi.example', 80)"))
        .map(String::into_bytes)
        .to_vec();
    start.detach = true;
    let mut talk = alice.exec(start).unwrap();
    talk.prints("connected");
    // Inside, before the relay has connected to anybody.
    site.flows("bytes before the manager's death");
    let relay = site.relay().unwrap();
    let arrived = site.internet.arrived().0;
    site.manager.kill_manager();
    site.flows("bytes after the manager's death");
    assert_eq!(site.relay(), Some(relay));
    assert_eq!(
        site.internet.arrived().0,
        arrived,
        "it is the same connection"
    );
    // The next manager knows the sandbox, and what leaves it.
    let alice = site.manager.alice();
    let found = alice.get(of(&sandbox.id)).unwrap();
    assert_eq!(found.egress, sandbox.egress);
    assert_denied(
        &run(&alice, &sandbox.id, "tcp(SERVER, 22)"),
        "93.184.216.34:22",
    );
    site.profile("[egress]\nrules = []\n");
    site.log_says("ended, for the rules were changed");
    site.manager.end();
}

#[test]
fn a_relay_that_dies_leaves_nothing_open_and_another_takes_over() {
    let Some(site) = Site::start("manager_egress_relay", RULES) else {
        return;
    };
    let alice = site.manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    let mut talk = begin(&alice, &sandbox.id, "trickle('pypi.example', 80)");
    talk.prints("connected");
    site.flows("bytes before the relay's death");
    let back = site.kill_relay();
    talk.prints("ended");
    let done = talk.finish().unwrap();
    assert!(
        done.outcome["traffic"]["lost"].is_string(),
        "{:#}",
        done.outcome
    );
    assert!(back < Duration::from_secs(1), "{back:?}");
    let done = run(
        &alice,
        &sandbox.id,
        "print(tcp('pypi.example', 80), end='')",
    );
    assert_eq!(done.success(), GREETING.trim_end());
    assert_denied(
        &run(&alice, &sandbox.id, "tcp(SERVER, 22)"),
        "93.184.216.34:22",
    );
    site.manager.end();
}

#[test]
fn what_a_profile_no_longer_allows_ends_and_the_rest_goes_on() {
    let Some(site) = Site::start("manager_egress_reload", RULES) else {
        return;
    };
    let alice = site.manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    let mut ends = begin(&alice, &sandbox.id, "trickle('pypi.example', 80)");
    let mut stays = begin(&alice, &sandbox.id, "trickle('other.example', 80)");
    ends.prints("connected");
    stays.prints("connected");
    site.profile("[egress]\nrules = [\"allow tcp other.example:80\"]\n");
    ends.prints("ended");
    ends.finish().unwrap();
    site.log_says("ended, for the rules were changed");
    site.flows("the other connection");
    let now = alice.get(of(&sandbox.id)).unwrap();
    assert_ne!(now.egress, sandbox.egress);
    assert_denied(
        &run(&alice, &sandbox.id, "tcp('pypi.example', 80)"),
        "pypi.example",
    );
    // Back again: new connections pass.
    site.profile(RULES);
    eventually("the old rules again", || {
        let now = alice.get(of(&sandbox.id)).unwrap();
        (now.egress == sandbox.egress).then_some(())
    });
    let done = run(
        &alice,
        &sandbox.id,
        "print(tcp('pypi.example', 80), end='')",
    );
    assert_eq!(done.success(), GREETING.trim_end());
    drop(stays);
    site.manager.end();
}

#[test]
fn the_administrators_rules_bound_every_profile() {
    let test = "manager_egress_administrator";
    let bound = "[egress]\nrules = [\"allow tcp pypi.example:80\"]\n";
    let setup = Setup::new()
        .profile("net", &shared_profile("net", RULES))
        .tables(bound);
    let Some(site) = Site::start_with(test, setup) else {
        return;
    };
    let alice = site.manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    let done = run(
        &alice,
        &sandbox.id,
        "print(tcp('pypi.example', 80), end='')",
    );
    assert_eq!(done.success(), GREETING.trim_end());
    let done = run(&alice, &sandbox.id, "tcp('other.example', 80)");
    assert_denied(&done, "other.example");
    let explanation = done.outcome["verdict"]["explanation"].as_str().unwrap();
    assert!(explanation.contains("administrator"), "{explanation}");
    let log = site.manager.log();
    assert!(
        log.contains("egress.rules[1]") && log.contains("without effect"),
        "{log}"
    );
    site.manager.end();
}

/// A document of the administrator's with these rules.
fn bound(rules: &[&str]) -> String {
    format!("version = 1\nrules = {rules:?}\n")
}

/// The names that the profile lets out; the address is left to it.
const BOTH: &[&str] = &["allow tcp pypi.example:80", "allow tcp other.example:80"];

#[test]
fn the_administrators_rules_are_read_again_under_traffic() {
    let setup = Setup::new()
        .profile("net", &shared_profile("net", RULES))
        .egress(&bound(BOTH));
    let Some(site) = Site::start_with("manager_egress_bound", setup) else {
        return;
    };
    let write = |text: &str| std::fs::write(site.manager.egress(), text).unwrap();
    let alice = site.manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    let mut ends = begin(&alice, &sandbox.id, "trickle('pypi.example', 80)");
    let mut stays = begin(&alice, &sandbox.id, "trickle('other.example', 80)");
    ends.prints("connected");
    stays.prints("connected");
    write(&bound(&["allow tcp other.example:80"]));
    ends.prints("ended");
    ends.finish().unwrap();
    site.log_says("ended, for the rules were changed");
    site.flows("the other connection");
    let denied = run(&alice, &sandbox.id, "tcp('pypi.example', 80)");
    assert_denied(&denied, "pypi.example");
    let explanation = denied.outcome["verdict"]["explanation"].as_str().unwrap();
    assert!(
        explanation.contains("no rule of the administrator"),
        "{explanation}"
    );
    // Of a name that is refused again within a second nothing is told.
    let refused = || {
        let done = run(&alice, &sandbox.id, "tcp('pypi.example', 80)");
        assert_eq!(done.code, 1, "{}", done.text());
    };

    // What is none is refused with its line, and what held goes on to hold.
    write(&bound(&["allow tcp pypi.example:80", "allow everything"]));
    eventually("the refusal of what is none", || {
        let log = site.manager.log();
        let line = log.contains("egress.toml:2: rules[1]");
        (line && log.contains("the old ones stay")).then_some(())
    });
    refused();
    site.flows("the other connection, after a document that was refused");
    write("");
    refused();

    // A sandbox that is made from now on is bounded by what holds now.
    write(&bound(&["allow tcp pypi.example:80"]));
    stays.prints("ended");
    stays.finish().unwrap();
    let next = alice.sandbox(wanted(""));
    for id in [&sandbox.id, &next.id] {
        let done = run(&alice, id, "print(tcp('pypi.example', 80), end='')");
        assert_eq!(done.success(), GREETING.trim_end());
        assert_denied(
            &run(&alice, id, "tcp('other.example', 80)"),
            "other.example",
        );
    }
    site.manager.end();
}

#[test]
fn the_configurations_own_rules_are_read_again_too() {
    let table = |rules: &[&str]| format!("[egress]\nrules = {rules:?}\n");
    let setup = Setup::new()
        .profile("net", &shared_profile("net", RULES))
        .tables(&table(BOTH));
    let Some(site) = Site::start_with("manager_egress_table", setup) else {
        return;
    };
    let before = std::fs::read_to_string(site.manager.config()).unwrap();
    let write = |rules: &[&str]| {
        let text = before.replace(&table(BOTH), &table(rules));
        std::fs::write(site.manager.config(), text).unwrap();
    };
    let alice = site.manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    let mut ends = begin(&alice, &sandbox.id, "trickle('pypi.example', 80)");
    ends.prints("connected");
    write(&["allow tcp other.example:80", "deny nothing"]);
    eventually("the refusal of what is none", || {
        let log = site.manager.log();
        let line = log.contains(": egress.rules[1]: column 6");
        line.then_some(())
    });
    site.flows("the connection, after a table that was refused");
    write(&["allow tcp other.example:80"]);
    ends.prints("ended");
    ends.finish().unwrap();
    // A profile that is wrong is no reason to keep a bound.
    std::fs::write(site.manager.profiles().join("wrong.toml"), "nonsense\n").unwrap();
    write(BOTH);
    eventually("the old bound again", || {
        let now = alice.get(of(&sandbox.id)).unwrap();
        (now.egress == sandbox.egress).then_some(())
    });
    // The whole of it is read at a signal as well.
    let pid = rustix::process::Pid::from_raw(site.manager.pid().unwrap()).unwrap();
    write(&[]);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    eventually("nothing leaves", || {
        let now = alice.get(of(&sandbox.id)).unwrap();
        (now.egress != sandbox.egress).then_some(())
    });
    assert_denied(
        &run(&alice, &sandbox.id, "tcp('other.example', 80)"),
        "other.example",
    );
    site.manager.end();
}

#[test]
fn limits_follow_the_profile() {
    let Some(site) = Site::start("manager_egress_limits", RULES) else {
        return;
    };
    let alice = site.manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    let silent = "s = socket.create_connection(('pypi.example', 80), 5)\n\
                  s.settimeout(60)\nprint(s.recv(100).decode(), flush=True)\ns.recv(1)";
    let mut talk = begin(&alice, &sandbox.id, silent);
    talk.prints(GREETING.trim_end());
    site.profile(&format!("{RULES}[egress.limits]\nidle_seconds = 1\n"));
    site.log_says("nothing was carried for 1 s");
    talk.finish().unwrap();
    site.manager.end();
}

/// How many kills; `LAKEKEEP_TESTS_KILLS` says otherwise.
const KILLS: usize = 6;

/// Manager and relay are killed at random while sandboxes send: what is allowed gets through
/// again each time, and what is not never does.
#[test]
fn kills_under_traffic_open_nothing() {
    let Some(site) = Site::start("manager_egress_kills", RULES) else {
        return;
    };
    let kills = std::env::var("LAKEKEEP_TESTS_KILLS");
    let kills = kills
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(KILLS);
    let alice = site.manager.alice();
    let sandbox = alice.sandbox(wanted(""));
    let mut dice = Dice::new(7);
    let allowed = "print(tcp('pypi.example', 80), end='')";
    let mut slowest = Duration::ZERO;
    for round in 0..kills {
        let busy = begin(
            &site.manager.alice(),
            &sandbox.id,
            "trickle('other.example', 80)",
        );
        site.flows("traffic");
        match dice.below(3) {
            0 => site.manager.kill_manager(),
            1 => slowest = slowest.max(site.kill_relay()),
            _ => {
                slowest = slowest.max(site.kill_relay());
                site.manager.kill_manager();
            }
        }
        drop(busy);
        let alice = site.manager.alice();
        let done = run(&alice, &sandbox.id, allowed);
        assert_eq!(done.success(), GREETING.trim_end(), "round {round}");
        let denied = run(&alice, &sandbox.id, "tcp(SERVER, 22)");
        assert_denied(&denied, "93.184.216.34:22");
        assert!(site.relay().is_some_and(is_alive));
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    eprintln!("{kills} kills; the slowest relay came after {slowest:?}");
    site.manager.end();
}
