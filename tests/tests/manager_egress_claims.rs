//! Sandboxes that were made ahead with a way out: until they are somebody's it leads nowhere, and
//! from then on it is that one's, by that one's rules.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::thread;

use lakekeep_api::v1;
use lakekeep_sys::net;
use lakekeep_tests::internet::{GREETING, Internet, WORDS, try_out};
use lakekeep_tests::manager::parked::{claimed, claims, learn, ready, tables};
use lakekeep_tests::manager::{
    Done, Manager, Setup, User, create, is_alive, kill, of, shared_profile,
};
use lakekeep_tests::{eventually, forget, is_program};

/// What the relay's resolver answers.
const HOSTS: &str = "93.184.216.34 pypi.example index.example other.example\n";

/// What the profile lets out.
const RULES: &str =
    "[egress]\nrules = [\"allow tcp pypi.example:80\", \"allow tcp other.example:80\"]\n";

/// Another profile of which sandboxes are alike but for that.
const OTHER_RULES: &str = "[egress]\nrules = [\"allow tcp index.example:80\"]\n";

const PYPI: &str = "print(tcp('pypi.example', 80), end='')";
const OTHER: &str = "print(tcp('other.example', 80), end='')";
const INDEX: &str = "print(tcp('index.example', 80), end='')";

/// A host with an Internet, and a manager on it that keeps one sandbox of each shape ready.
struct Site {
    internet: Internet,
    manager: Manager,
}

impl Site {
    fn start(test: &str) -> Option<Self> {
        Self::start_with(test, "")
    }

    fn start_with(test: &str, more: &str) -> Option<Self> {
        let internet = Internet::make(test)?;
        let setup = Setup::new()
            .profile("net", &shared_profile("net", RULES))
            .profile("index", &shared_profile("index", OTHER_RULES))
            .profile("closed", &shared_profile("closed", ""));
        let hosts = setup.place().hosts(HOSTS);
        let tables = tables(setup.place().path());
        let setup = setup.tables(&format!("{tables}{more}"));
        let manager = internet.on_host_with_names(&hosts, || setup.start(test))?;
        Some(Self { internet, manager })
    }

    /// Waits until one is ready; the init of the only sandbox that nobody has.
    fn waiting(&self) -> i32 {
        ready(&self.manager);
        let inits = self.manager.inits();
        assert_eq!(inits.len(), 1, "{inits:?}");
        inits[0]
    }

    fn relay(&self) -> Option<i32> {
        let is_relay = |pid: &i32| is_program(*pid, "lakekeep-relay");
        self.manager.processes().into_iter().find(is_relay)
    }

    fn kill_relay(&self) {
        let old = eventually("a relay to kill", || self.relay());
        kill(old);
        eventually("another relay", || self.relay().filter(|pid| *pid != old));
    }
}

fn wanted(profile: &str, rule: Option<&str>) -> v1::CreateRequest {
    let policy = |rule| format!("version = 1\n[egress]\nrules = [\"{rule}\"]\n");
    v1::CreateRequest {
        profile: profile.to_owned(),
        policy: rule.map(policy).unwrap_or_default(),
        ..create()
    }
}

fn run(user: &User, sandbox: &v1::Sandbox, script: &str) -> Done {
    let talk = user.python(&sandbox.id, &format!("{WORDS}\n{script}"));
    talk.finish().unwrap()
}

#[track_caller]
fn assert_passes(user: &User, sandbox: &v1::Sandbox, script: &str) {
    let done = run(user, sandbox, script);
    assert_eq!(done.success(), GREETING.trim_end());
}

/// It is refused, and told; nothing arrives.
#[track_caller]
fn assert_denied(site: &Site, (user, sandbox): (&User, &v1::Sandbox), script: &str, host: &str) {
    let before = site.internet.arrived();
    let done = run(user, sandbox, script);
    assert_eq!(done.code, 1, "{}", done.text());
    let explanation = done.outcome["verdict"]["explanation"].as_str().unwrap();
    let denial = format!("denied egress to {host}");
    assert!(explanation.contains(&denial), "{explanation}");
    assert_eq!(site.internet.arrived(), before);
}

#[test]
fn a_claim_has_its_rules_and_the_receipt_of_one_that_was_made_for_it() {
    let Some(site) = Site::start("egress_claims") else {
        return;
    };
    let alice = site.manager.alice();
    let look = "print(open('/etc/resolv.conf').read(), socket.if_nameindex())";
    let cold = alice.sandbox(wanted("net", None));
    let expected = run(&alice, &cold, look);
    alice.kill(of(&cold.id)).unwrap();
    ready(&site.manager);
    let warm = alice.sandbox(wanted("net", None));
    assert_eq!(claims(&site.manager, "ready"), 1.0);
    assert_eq!(warm.egress, cold.egress);
    assert_passes(&alice, &warm, PYPI);
    assert_denied(&site, (&alice, &warm), INDEX, "index.example");
    let found = run(&alice, &warm, look);
    assert_eq!(found.success(), expected.success());
    let receipt = |done: &Done| {
        let mut receipt = done.outcome["receipt"].clone();
        forget(&mut receipt, &["sandbox", "task", "first"]);
        receipt
    };
    assert!(receipt(&found)["network"].is_string(), "{}", found.outcome);
    assert_eq!(receipt(&found), receipt(&expected));
    site.manager.end();
}

#[test]
fn claims_of_one_stock_do_not_mix() {
    let Some(site) = Site::start("egress_claims_two") else {
        return;
    };
    let (alice, bob) = (site.manager.alice(), site.manager.bob());
    // Rules are no part of the shape: the first is what all others are made like.
    let hers = claimed(
        &site.manager,
        &alice,
        wanted("net", Some("allow tcp pypi.example:80")),
    );
    ready(&site.manager);
    let his = bob.sandbox(wanted("net", Some("allow tcp other.example:80")));
    learn(&site.manager, &bob, wanted("index", None));
    let third = bob.sandbox(wanted("index", None));
    assert!(claims(&site.manager, "ready") >= 3.0);
    assert_ne!(hers.egress, his.egress);
    for (user, sandbox, passes, denied) in [
        (&alice, &hers, PYPI, (OTHER, "other.example")),
        (&bob, &his, OTHER, (PYPI, "pypi.example")),
        (&bob, &third, INDEX, (PYPI, "pypi.example")),
    ] {
        assert_passes(user, sandbox, passes);
        assert_denied(&site, (user, sandbox), denied.0, denied.1);
    }
    site.manager.end();
}

#[test]
fn one_without_rules_is_of_another_shape() {
    let Some(site) = Site::start("egress_claims_none") else {
        return;
    };
    let alice = site.manager.alice();
    learn(&site.manager, &alice, wanted("net", None));
    let closed = alice.sandbox(wanted("closed", None));
    assert_eq!(claims(&site.manager, "ready"), 0.0);
    let look = "print(open('/etc/resolv.conf').read())\ntcp(SERVER, 80)";
    let before = site.internet.arrived();
    let done = run(&alice, &closed, look);
    assert_eq!(done.code, 1, "{}", done.text());
    assert!(done.text().contains("no network"), "{}", done.text());
    assert_eq!(site.internet.arrived(), before);
    site.manager.end();
}

/// What is sent from the network of this process, after [`WORDS`].
fn within_network_of(pid: i32, script: &str) -> String {
    let network = File::open(format!("/proc/{pid}/ns/net")).unwrap();
    let inside = thread::spawn({
        let script = script.to_owned();
        move || {
            net::enter(&network).unwrap();
            try_out(&script)
        }
    });
    String::from_utf8_lossy(&inside.join().unwrap().stdout).into_owned()
}

/// Asks for a name, and sends to an address; says who answered.
const ASK: &str = "
def ask(say):
    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.connect(('198.18.0.1', 53))
        s.send(bytes.fromhex('1234010000010000000000000470797069076578616d706c650000010001'))
        try: say('name', len(s.recv(512)) > 12)
        except OSError: say('name', False)
    with socket.socket(V4, socket.SOCK_STREAM) as s:
        s.settimeout(1)
        try:
            s.connect((SERVER, 80))
            s.sendall(b'secret')
            say('address', s.recv(100) != b'')
        except OSError: say('address', False)
ask(lambda *words: print(*words))
";

#[test]
fn before_it_is_claimed_nobody_answers() {
    let Some(site) = Site::start("egress_claims_before") else {
        return;
    };
    let alice = site.manager.alice();
    learn(&site.manager, &alice, wanted("net", None));
    let init = site.waiting();
    site.internet.prove("tcp(SERVER, 80)");
    let before = site.internet.arrived();
    let asked = within_network_of(init, ASK);
    assert_eq!(asked, "name False\naddress False\n");
    assert_eq!(site.internet.arrived(), before);
    // It is the one that is claimed now.
    let warm = alice.sandbox(wanted("net", None));
    assert_eq!(claims(&site.manager, "ready"), 1.0);
    assert_passes(&alice, &warm, PYPI);
    // The same question has an answer now; the address is still no rule's.
    let asked = within_network_of(init, ASK);
    assert_eq!(asked, "name True\naddress False\n");
    site.manager.end();
}

#[test]
fn one_that_nobody_claimed_ends_with_its_manager() {
    let Some(site) = Site::start("egress_claims_unclaimed") else {
        return;
    };
    let alice = site.manager.alice();
    learn(&site.manager, &alice, wanted("net", None));
    let init = site.waiting();
    let relay = site.relay().unwrap();
    site.manager.kill_manager();
    eventually("the end of what was nobody's", || {
        (!is_alive(init)).then_some(())
    });
    // The next manager learns anew, and the relay, which went on, knows nothing of it.
    let alice = site.manager.alice();
    let sandbox = claimed(&site.manager, &alice, wanted("net", None));
    assert_eq!(site.relay(), Some(relay));
    assert_passes(&alice, &sandbox, PYPI);
    assert_denied(&site, (&alice, &sandbox), INDEX, "index.example");
    site.manager.end();
}

#[test]
fn one_that_was_claimed_outlives_its_manager() {
    let Some(site) = Site::start("egress_claims_adopted") else {
        return;
    };
    let alice = site.manager.alice();
    let sandbox = claimed(&site.manager, &alice, wanted("net", None));
    assert_passes(&alice, &sandbox, PYPI);
    site.manager.kill_manager();
    let alice = site.manager.alice();
    assert_eq!(alice.get(of(&sandbox.id)).unwrap().egress, sandbox.egress);
    assert_passes(&alice, &sandbox, PYPI);
    assert_denied(&site, (&alice, &sandbox), INDEX, "index.example");
    site.kill_relay();
    assert_passes(&alice, &sandbox, PYPI);
    site.manager.end();
}

#[test]
fn a_relay_that_died_while_it_waited_is_replaced_at_the_claim() {
    let Some(site) = Site::start("egress_claims_relay") else {
        return;
    };
    let alice = site.manager.alice();
    learn(&site.manager, &alice, wanted("net", None));
    site.kill_relay();
    let sandbox = alice.sandbox(wanted("net", None));
    assert_eq!(claims(&site.manager, "ready"), 1.0);
    assert_passes(&alice, &sandbox, PYPI);
    assert_denied(&site, (&alice, &sandbox), INDEX, "index.example");
    site.manager.end();
}

/// One zygote forks for sandboxes with other rules: each of its tasks is in its own sandbox's
/// network.
#[test]
fn forked_tasks_go_by_their_own_sandboxs_rules() {
    let zygote = "[[zygotes]]\npreset = \"general\"\ninterpreter = \"/usr/bin/python3\"\n\
                  modules = [\"wave\"]\nsandboxes = 8\n";
    let Some(site) = Site::start_with("egress_claims_zygote", zygote) else {
        return;
    };
    let (alice, bob) = (site.manager.alice(), site.manager.bob());
    let hers = claimed(
        &site.manager,
        &alice,
        wanted("net", Some("allow tcp pypi.example:80")),
    );
    ready(&site.manager);
    let his = bob.sandbox(wanted("net", Some("allow tcp other.example:80")));
    for (user, sandbox) in [(&alice, &hers), (&bob, &his)] {
        eventually("a forked task", || {
            let look = run(user, sandbox, "import sys; print('wave' in sys.modules)");
            (look.success() == "True").then_some(())
        });
    }
    assert_passes(&alice, &hers, PYPI);
    assert_denied(&site, (&alice, &hers), OTHER, "other.example");
    assert_passes(&bob, &his, OTHER);
    assert_denied(&site, (&bob, &his), PYPI, "pypi.example");
    // An address that one of them was given for a name is nobody's in the other.
    let address = run(&alice, &hers, "print(socket.gethostbyname('pypi.example'))");
    let address = address.success();
    let reach = format!("tcp('{address}', 80)");
    assert_denied(&site, (&bob, &his), &reach, &format!("{address}:80"));
    site.manager.end();
}
