//! What leaves the sandboxes of a pool (`lakekeep_sandbox::Pool`): what its rules say, through
//! one relay that ends with it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command};

use lakekeep_tests::internet::{GREETING, Internet, WORDS, in_fresh_network, try_out};
use lakekeep_tests::manager::{is_alive, kill};
use lakekeep_tests::{
    HostSnapshot, Place, Privilege, Tracked, children, eventually, for_each_privilege, is_program,
    orphans, pool_program, pool_program_at, run_pool,
};
use serde_json::Value;

/// What the relay's resolver answers.
const HOSTS: &str = "93.184.216.34 pypi.example other.example\n";

const RULES: &str = "egress:allow tcp pypi.example:80;allow tcp 93.184.216.34:8080";

const ALLOWED: &str = "print(tcp('pypi.example', 80), end='')";
const DENIED: &str = "tcp('other.example', 80)";

/// A command that runs this after [`WORDS`].
fn python(script: &str) -> String {
    format!("exec /usr/bin/python3 - <<'END'\n{WORDS}\n{script}\nEND\n")
}

/// The pool's program, on the test's host, whose input and output are the test's.
struct Program {
    process: Tracked,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(internet: &Internet, place: &Place, arguments: &[&str]) -> Self {
        let command = pool_program(place, Privilege::Root);
        Self::start_by(internet, place, command, arguments)
    }

    fn start_by(
        internet: &Internet,
        place: &Place,
        mut command: Command,
        arguments: &[&str],
    ) -> Self {
        let mut process = internet.on_host_with_names(&place.hosts(HOSTS), || {
            Tracked::spawn(command.args(arguments))
        });
        Self {
            input: process.stdin.take().unwrap(),
            lines: BufReader::new(process.stdout.take().unwrap()).lines(),
            process,
        }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn task(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    #[track_caller]
    fn pauses(&mut self) {
        assert_eq!(self.line(), "paused");
    }

    fn goes_on(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }

    fn relay(&self) -> Option<i32> {
        let is_relay = |pid: &i32| is_program(*pid, "lakekeep-relay");
        children(self.process.id()).into_iter().find(is_relay)
    }
}

/// Copies of the program and of those that it starts, one of which can be missing for a while.
struct Programs(PathBuf);

impl Programs {
    fn copy(place: &Place) -> Self {
        let folder = place.dir("programs", Privilege::Root);
        let own = pool_program(place, Privilege::Root);
        let beside = Path::new(own.get_program()).parent().unwrap();
        for name in ["lakekeep-tests-pool", "lakekeep-launcher", "lakekeep-relay"] {
            std::fs::copy(beside.join(name), folder.join(name)).unwrap();
        }
        Self(folder)
    }

    fn pool(&self, place: &Place) -> Command {
        pool_program_at(self.0.join("lakekeep-tests-pool"), place, Privilege::Root)
    }

    /// Takes one away, and returns what puts it back.
    fn take_away(&self, name: &str) -> impl Fn() {
        let (path, aside) = (self.0.join(name), self.0.join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        move || std::fs::rename(&aside, &path).unwrap()
    }
}

fn assert_passed(task: &Value) {
    assert_eq!(task["output"], GREETING, "{task:#}");
    assert_eq!(task["outcome"]["traffic"]["denied"], 0, "{task:#}");
}

fn assert_denied(task: &Value, host: &str) {
    let outcome = &task["outcome"];
    assert_eq!(outcome["verdict"]["exit_code"], 1, "{task:#}");
    let explanation = outcome["verdict"]["explanation"].as_str().unwrap();
    let denial = format!("denied egress to {host}");
    assert!(explanation.contains(&denial), "{explanation}");
    assert!(outcome["traffic"]["denied"].as_u64().unwrap() >= 1);
}

#[test]
fn what_the_rules_allow_passes_and_the_rest_is_refused_and_told() {
    let Some(internet) = Internet::make("pool_egress") else {
        return;
    };
    internet.prove("tcp(SERVER, 22)");
    for_each_privilege("pool_egress", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let arrived = internet.arrived();
        // More than are ready: the last is made, and served, when it is asked for.
        let scripts = [ALLOWED, DENIED, "tcp(SERVER, 22)", "print('quiet')"].map(python);
        let mut arguments = vec![RULES, "3"];
        arguments.extend(scripts.iter().map(String::as_str));
        let tasks = internet.on_host_with_names(&place.hosts(HOSTS), || {
            run_pool(&place, privilege, &arguments)
        });
        assert_eq!(tasks.len(), 12);
        for of_one in tasks.chunks(4) {
            assert_passed(&of_one[0]);
            assert_denied(&of_one[1], "other.example");
            assert_denied(&of_one[2], "93.184.216.34:22");
            // What an earlier task was denied is not told of a later one.
            assert_eq!(of_one[3]["outcome"]["traffic"]["denied"], 0);
            let network = of_one[0]["outcome"]["receipt"]["network"].as_str().unwrap();
            assert!(network.starts_with("relay: 2 rules, "), "{network}");
        }
        let after = internet.arrived();
        assert_eq!(after.0 - arrived.0, 3);
        assert_eq!(after.1 - arrived.1, 3 * "secret".len() as u64);
        before.assert_unchanged();
    });
}

#[test]
fn all_that_left_a_sandbox_is_told_at_its_end() {
    let Some(internet) = Internet::make("pool_egress_end") else {
        return;
    };
    let place = Place::new();
    let scripts = [ALLOWED, DENIED, ALLOWED].map(python);
    let mut arguments = vec![RULES, "1"];
    arguments.extend(scripts.iter().map(String::as_str));
    let mut said = internet.on_host_with_names(&place.hosts(HOSTS), || {
        run_pool(&place, Privilege::Root, &arguments)
    });
    let traffic = said.pop().unwrap();
    assert_eq!(traffic["sent"], 2 * "secret".len(), "{traffic}");
    assert_eq!(traffic["received"], 2 * GREETING.len(), "{traffic}");
    assert!(traffic["denied"].as_u64().unwrap() >= 1, "{traffic}");
    assert!(traffic["lost"].is_null(), "{traffic}");
}

#[test]
fn one_relay_serves_all_and_another_takes_over_when_it_dies() {
    let Some(internet) = Internet::make("pool_egress_relay") else {
        return;
    };
    let place = Place::new();
    let (allowed, denied) = (python(ALLOWED), python(DENIED));
    let scripts = [RULES, "2", "pause", &allowed, &denied];
    let mut program = Program::start(&internet, &place, &scripts);
    program.pauses();
    // It was killed while both sandboxes were claimed, and nothing ran in them.
    let first = eventually("a relay", || program.relay());
    kill(first);
    // Nobody asks for another one.
    let another = || program.relay().filter(|relay| *relay != first);
    let second = eventually("another relay", another);
    assert!(!is_alive(first));
    program.goes_on();
    assert_passed(&program.task());
    assert_denied(&program.task(), "other.example");
    program.pauses();
    assert_eq!(program.relay(), Some(second));
    program.goes_on();
    // The other sandbox finds the second one.
    assert_passed(&program.task());
    assert_denied(&program.task(), "other.example");
    assert_eq!(program.process.wait().unwrap().code(), Some(0));
    assert!(!is_alive(second));
}

#[test]
fn a_relay_that_dies_under_a_task_ends_its_connections_and_that_is_told() {
    let Some(internet) = Internet::make("pool_egress_relay_task") else {
        return;
    };
    let place = Place::new();
    let hold = python(
        "with socket.create_connection(('pypi.example', 80), 5) as s:\n    \
         s.sendall(b'begun\\n')\n    \
         try:\n        \
         while s.recv(100): pass\n    \
         except OSError: pass\n    \
         print('ended')",
    );
    let allowed = python(ALLOWED);
    let mut program = Program::start(&internet, &place, &[RULES, "1", &hold, &allowed]);
    let arrived = internet.arrived().1;
    let relay = eventually("a relay", || program.relay());
    eventually("a connection", || {
        (internet.arrived().1 > arrived).then_some(())
    });
    kill(relay);
    let task = program.task();
    let lost = task["outcome"]["traffic"]["lost"].as_str().unwrap();
    assert!(lost.contains("signal: 9"), "{lost}");
    assert_eq!(task["output"], "ended\n", "{task}");
    assert_passed(&program.task());
    assert_eq!(program.process.wait().unwrap().code(), Some(0));
}

/// A connection that would wait for a relay holds the task until its time is up.
#[test]
fn without_a_relay_connections_fail_at_once_until_there_is_one_again() {
    let Some(internet) = Internet::make("pool_egress_closed") else {
        return;
    };
    let place = Place::new();
    let programs = Programs::copy(&place);
    let alone = python(
        "with socket.create_connection((SERVER, 8080), 5) as s:\n    \
         s.sendall(b'begun\\n')\n    \
         try:\n        \
         while s.recv(100): pass\n    \
         except OSError: pass\n\
         try: print(tcp(SERVER, 8080))\n\
         except OSError as error: print(type(error).__name__)\n\
         try: print(tcp(SERVER, 8080))\n\
         except OSError as error: print(type(error).__name__)",
    );
    let allowed = python(ALLOWED);
    let scripts = [RULES, "1", &alone, "pause", &allowed];
    let command = programs.pool(&place);
    let mut program = Program::start_by(&internet, &place, command, &scripts);
    let arrived = internet.arrived().1;
    let relay = eventually("a relay", || program.relay());
    eventually("a connection", || {
        (internet.arrived().1 > arrived).then_some(())
    });
    // There is none to be started in its stead.
    let put_back = programs.take_away("lakekeep-relay");
    kill(relay);
    let task = program.task();
    let said: Vec<&str> = task["output"].as_str().unwrap().lines().collect();
    let [first, second] = said[..] else {
        panic!("{task:#}");
    };
    // The first may have come before the end was noticed, and waited until then.
    assert_ne!(first, "TimeoutError", "{task:#}");
    assert_eq!(second, "ConnectionRefusedError", "{task:#}");
    program.pauses();
    put_back();
    program.goes_on();
    assert_passed(&program.task());
    assert_eq!(program.process.wait().unwrap().code(), Some(0));
}

#[test]
fn nothing_is_left_when_its_program_is_killed() {
    let Some(internet) = Internet::make("pool_egress_killed") else {
        return;
    };
    let place = Place::new();
    let before = HostSnapshot::take(place.path());
    let allowed = python(ALLOWED);
    let mut program = Program::start(&internet, &place, &[RULES, "wait:2", &allowed]);
    assert_passed(&program.task());
    let relay = program.relay().unwrap();
    program.process.kill().unwrap();
    program.process.wait().unwrap();
    eventually("the relay's end", || (!is_alive(relay)).then_some(()));
    eventually("the end of all of it", || {
        orphans().is_empty().then_some(())
    });
    // The next start sweeps what the dead could not take with them.
    let next = run_pool(&place, Privilege::Root, &["1", "true"]);
    assert_eq!(next.len(), 1);
    before.assert_unchanged();
}

/// Switches the loopback off, on which all routes are (netdevice(7), `SIOCSIFFLAGS`).
const DOWN: &str = "
import fcntl
try:
    with socket.socket(V4, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack('16sh14x', b'lo', 0))
    print('down')
except OSError as e: print(type(e).__name__)
";

/// Of one zygote: what it forks is in its own sandbox's network, which belongs to that one's user
/// namespace, and goes by the rules there.
#[test]
fn forked_tasks_go_by_the_rules() {
    let Some(internet) = Internet::make("pool_egress_zygote") else {
        return;
    };
    let place = Place::new();
    let before = HostSnapshot::take(place.path());
    let arrived = internet.arrived();
    let said = |script: &str| format!("{WORDS}\n{script}");
    let outside = in_fresh_network(|| try_out(DOWN)).stdout;
    assert_eq!(String::from_utf8_lossy(&outside), "down\n");
    let look = "print(sorted(socket.if_nameindex()))";
    let scripts = [DOWN, ALLOWED, DENIED, look].map(said);
    // Its modules have been imported, and no name was asked for.
    let zygote = "zygote:/usr/bin/python3:socket,ssl:general";
    let mut arguments = vec![zygote, RULES, "2"];
    arguments.extend(scripts.iter().map(String::as_str));
    let tasks = internet.on_host_with_names(&place.hosts(HOSTS), || {
        run_pool(&place, Privilege::Root, &arguments)
    });
    assert_eq!(tasks.len(), 8);
    for of_one in tasks.chunks(4) {
        assert!(
            of_one.iter().all(|task| task["forked"] == true),
            "{tasks:?}"
        );
        assert_eq!(of_one[0]["output"], "PermissionError\n", "{}", of_one[0]);
        assert_passed(&of_one[1]);
        assert_denied(&of_one[2], "other.example");
        assert_eq!(of_one[3]["output"], "[(1, 'lo')]\n");
    }
    assert_eq!(internet.arrived().0 - arrived.0, 2);
    before.assert_unchanged();
}
