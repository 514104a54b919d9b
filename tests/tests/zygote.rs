//! Tasks that are forked from a zygote (`lakekeep_sandbox::Pool::start_with_zygote`): they are
//! what an interpreter would be that was executed, and no two of them are alike.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader};
use std::process::Command;

use lakekeep_tests::{
    HostSnapshot, Place, Privilege, Tracked, eventually, orphans, pool_program, run_pool, unreaped,
};
use serde_json::Value;

const PYTHON: &str = "/usr/bin/python3";

/// What the standard library can draw, and `multiprocessing`'s key.
const MODULES: &str = "random,uuid,tempfile,secrets,json,multiprocessing.process";

/// Runs scripts in each of `count` sandboxes of a pool with a zygote; what was said of each
/// task.
fn run(place: &Place, zygote: &str, count: &str, scripts: &[&str]) -> Vec<Value> {
    run_pool(
        place,
        Privilege::Root,
        &[&[zygote, count], scripts].concat(),
    )
}

fn zygote(preset: &str) -> String {
    format!("zygote:{PYTHON}:{MODULES}:{preset}")
}

fn output(task: &Value) -> &str {
    task["output"].as_str().unwrap()
}

/// The test runs where there is root, and says so where there is not.
fn as_root(name: &str, test: impl FnOnce(&Place)) {
    if Privilege::Root.available(name) {
        test(&Place::new());
    }
}

#[test]
fn siblings_draw_what_no_other_draws() {
    as_root("zygote_siblings", |place| {
        let before = HostSnapshot::take(place.path());
        let draw = "import random, uuid, tempfile, secrets, os, multiprocessing.process as m\n\
                    print(random.random(), uuid.uuid4(), uuid.uuid1(), secrets.token_hex(), \
                    os.urandom(8).hex(), os.path.basename(tempfile.mktemp()), \
                    bytes(m.current_process().authkey).hex())";
        // Of two zygotes, for one serves three sandboxes; each has two tasks.
        let tasks = run(place, &zygote("general"), "4", &[draw, draw]);
        assert_eq!(tasks.len(), 8);
        assert!(
            tasks.iter().take(4).all(|task| task["forked"] == true),
            "{tasks:?}"
        );
        let drawn: Vec<Vec<&str>> = tasks
            .iter()
            .map(|task| output(task).split(' ').collect())
            .collect();
        assert!(drawn.iter().all(|words| words.len() == 7), "{drawn:?}");
        for kind in 0..7 {
            let mut values: Vec<&str> = drawn.iter().map(|words| words[kind]).collect();
            values.sort_unstable();
            values.dedup();
            assert_eq!(values.len(), 8, "{kind}: {drawn:?}");
        }
        before.assert_unchanged();
    });
}

#[test]
fn a_task_has_nothing_of_the_zygotes_and_is_where_an_executed_one_would_be() {
    as_root("zygote_place", |place| {
        let look = "import os, sys\n\
            status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n\
            names = ('Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp')\n\
            print([status[name].split() for name in names])\n\
            print(sorted(os.listdir('/proc/self/fd'))[:3], len(os.listdir('/proc/self/fd')))\n\
            print([name for name in os.listdir('/proc') if name.isdigit()].__len__())\n\
            print(open('/proc/self/cgroup').read().count('..'))\n\
            print(sorted(os.environ))\n\
            print(os.getcwd(), status['Umask'].split(), status['NSsid'].split() == status['NSpid'].split(), sys.argv, sys.path[0] == '')\n\
            print(open('/proc/self/oom_score_adj').read().strip())\n\
            print(os.uname().nodename)\n\
            print('__main__' in sys.modules, __name__, 'Order' in globals(), 'serve' in globals())\n";
        for preset in ["udf", "notebook", "general"] {
            let warm = run(place, &zygote(preset), "1", &[look]);
            assert_eq!(warm[0]["forked"], true, "{preset}: {warm:?}");
            let cold = run(
                place,
                &format!("zygote:{PYTHON}:no_such_module:{preset}"),
                "1",
                &[look],
            );
            assert!(
                cold[0]["zygote"]
                    .as_str()
                    .unwrap()
                    .contains("no_such_module"),
                "{cold:?}"
            );
            assert_eq!(cold[1]["forked"], false, "{preset}: {cold:?}");
            let lines = |task: &Value| -> Vec<String> {
                let lines = output(task).lines().map(str::to_owned);
                // Its host name is its own.
                lines.filter(|line| !line.starts_with("sandbox-")).collect()
            };
            assert_eq!(lines(&warm[0]), lines(&cold[1]), "{preset}");
            assert!(lines(&warm[0]).len() >= 8, "{warm:?}");
        }
    });
}

#[test]
fn its_end_and_its_errors_are_an_interpreters() {
    as_root("zygote_ends", |place| {
        let scripts = [
            "import sys; print('said'); sys.exit(7)",
            "import atexit; atexit.register(lambda: print('at exit')); print('first')",
            "raise SystemExit('words')",
            "def f():\n    raise ValueError('of the user')\nf()",
            "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
            "import os; os._exit(9)",
            "while True: pass",
            "print('after')",
        ];
        let zygote = zygote("general");
        let arguments = [&[&*zygote, "wall:5s", "1"], &scripts[..]].concat();
        let tasks = run_pool(place, Privilege::Root, &arguments);
        let verdict = |index: usize| &tasks[index]["outcome"]["verdict"];
        assert_eq!(
            (output(&tasks[0]), &verdict(0)["exit_code"]),
            ("said\n", &7.into())
        );
        assert_eq!(output(&tasks[1]), "first\nat exit\n");
        assert_eq!(verdict(2)["exit_code"], 1);
        assert_eq!(verdict(3)["exit_code"], 1);
        assert_eq!(verdict(4)["kind"], "signal");
        assert_eq!(verdict(5)["exit_code"], 9);
        assert_eq!(verdict(6)["kind"], "wall_time");
        assert_eq!(output(&tasks[7]), "after\n");
        assert!(tasks.iter().all(|task| task["forked"] == true), "{tasks:?}");
    });
}

#[test]
fn what_is_not_for_the_interpreter_is_executed_with_the_same_seal() {
    as_root("zygote_exec", |place| {
        let scripts = [
            "/usr/bin/cut -d: -f2 /proc/self/status",
            "/usr/bin/python3 -V",
            "/usr/bin/python3 -m base64 -e /etc/hostname",
            "/no/such/program",
            "/etc/hostname",
        ];
        let tasks = run(place, &zygote("general"), "1", &scripts);
        assert!(output(&tasks[0]).contains("cut"), "{tasks:?}");
        assert!(output(&tasks[1]).starts_with("Python 3."), "{tasks:?}");
        assert_eq!(tasks[2]["outcome"]["verdict"]["exit_code"], 0, "{tasks:?}");
        assert_eq!(
            tasks[3]["outcome"]["verdict"]["exit_code"], 127,
            "{tasks:?}"
        );
        assert_eq!(
            tasks[4]["outcome"]["verdict"]["exit_code"], 126,
            "{tasks:?}"
        );
    });
}

#[test]
fn what_one_task_leaves_the_next_does_not_find() {
    as_root("zygote_rest", |place| {
        let leave = "import random, sys, os, builtins\n\
            open('/tmp/left', 'w').write('x'); builtins.left = 1; sys.modules['left'] = sys; os.environ['LEFT'] = '1'";
        let find = "import sys, os, builtins\n\
            print(os.path.exists('/tmp/left'), hasattr(builtins, 'left'), 'left' in sys.modules, 'LEFT' in os.environ)";
        let tasks = run(place, &zygote("general"), "2", &[leave, find]);
        assert_eq!(output(&tasks[1]), "False False False False\n");
        assert_eq!(output(&tasks[3]), "False False False False\n");
    });
}

#[test]
fn the_receipt_says_what_is_shared() {
    as_root("zygote_receipt", |place| {
        let tasks = run(place, &zygote("udf"), "1", &["print(1)"]);
        let receipt = &tasks[0]["outcome"]["receipt"];
        let warnings = receipt["warnings"].to_string();
        assert!(warnings.contains("forked from a zygote"), "{warnings}");
        let layers = receipt["layers"].as_array().unwrap();
        let seccomp = layers.iter().find(|layer| layer["layer"] == "seccomp");
        assert_eq!(seccomp.unwrap()["value"]["filters"], 2, "{receipt}");
    });
}

#[test]
fn what_its_program_leaves_when_it_is_killed_ends() {
    as_root("zygote_killed", |place| {
        let before = HostSnapshot::take(place.path());
        let mut command = pool_program(place, Privilege::Root);
        let mut child = Tracked::spawn(command.args([&zygote("general"), "wait:2", "print(1)"]));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "waiting"));
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("the end of all of it", || {
            orphans().is_empty().then_some(())
        });
        // The next start sweeps what the dead could not take with them.
        run(place, &zygote("general"), "1", &["print(1)"]);
        before.assert_unchanged();
    });
}

#[test]
fn what_makes_its_sandboxes_is_reaped() {
    as_root("zygote_reaped", |place| {
        let mut command = pool_program(place, Privilege::Root);
        let mut child = Tracked::spawn(command.args([&zygote("general"), "wait:5", "print(1)"]));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "waiting"));
        // A process that has just ended is reaped by somebody who has to run first.
        eventually("nothing that waits to be reaped", || {
            unreaped(child.id()).is_empty().then_some(())
        });
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    });
}

/// A module of an environment that is an enemy's: what it is called, what it does to the
/// processes that are forked, and a program that shows outside that it does so.
const HOSTILE: [(&str, &str, &str); 6] = [
    (
        "shares_memory",
        "import mmap\nshared = mmap.mmap(-1, 4096)\n",
        "import os, shares_memory as m\n\
         if os.fork() == 0: m.shared.write(b'x'); os._exit(0)\n\
         os.wait(); print('works' if m.shared[:1] == b'x' else 'no')",
    ),
    (
        "keeps_its_user",
        "import os\nos.setresuid = lambda *ids: None\n",
        "import os, keeps_its_user\nos.setresuid(1, 1, 1); print('works' if os.getuid() == 0 else 'no')",
    ),
    (
        "keeps_capabilities",
        "import sys\nsys.modules['__main__'].drop_capabilities = lambda: None\n",
        "dropped = []\ndef drop_capabilities(): dropped.append(1)\n\
         import keeps_capabilities\ndrop_capabilities(); print('no' if dropped else 'works')",
    ),
    (
        "installs_no_filter",
        "import sys\nsys.modules['__main__'].install = lambda code: None\n",
        "installed = []\ndef install(code): installed.append(1)\n\
         import installs_no_filter\ninstall(b''); print('no' if installed else 'works')",
    ),
    (
        "keeps_a_descriptor",
        "import os, sys\nkept = os.open('/', os.O_RDONLY)\n\
         sys.modules['__main__'].close_from = lambda first: None\n",
        "import os, keeps_a_descriptor as m\n\
         if os.fork() == 0: os.fstat(m.kept); print('works', flush=True); os._exit(0)\n\
         os.wait()",
    ),
    (
        "stays_outside",
        "import sys\nsys.modules['__main__'].libc.setns = lambda *words: 0\n",
        "import ctypes\nlibc = ctypes.CDLL(None)\nimport stays_outside\n\
         print('works' if libc.setns(-1, 0) == 0 else 'no')",
    ),
];

/// An environment of its own with these modules; its interpreter.
fn environment(place: &Place) -> String {
    let folder = place.dir("environment", Privilege::Root);
    let mut venv = Command::new(PYTHON);
    venv.args(["-m", "venv", "--without-pip"]).arg(&folder);
    assert!(venv.status().unwrap().success());
    let python = folder.join("bin/python3").display().to_string();
    let find = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let found = Command::new(&python).args(["-c", find]).output().unwrap();
    let packages = String::from_utf8(found.stdout).unwrap();
    for (name, code, _) in HOSTILE {
        std::fs::write(format!("{}/{name}.py", packages.trim()), code).unwrap();
    }
    python
}

#[test]
fn an_environment_that_is_an_enemy_gets_no_process_that_is_believed() {
    as_root("zygote_hostile", |place| {
        let python = environment(place);
        let before = HostSnapshot::take(place.path());
        for (name, _, proof) in HOSTILE {
            let outside = Command::new(&python).args(["-c", proof]).output().unwrap();
            assert_eq!(outside.stdout, b"works\n", "{name}: {outside:?}");
            let look = "import sys; print(sys.modules.get(sys.argv[0]))";
            let tasks = run(
                place,
                &format!("zygote:{python}:{name}:general"),
                "1",
                &[look],
            );
            // The pool is told, and what runs was executed.
            assert!(tasks[0]["zygote"].is_string(), "{name}: {tasks:?}");
            assert_eq!(tasks[1]["forked"], false, "{name}: {tasks:?}");
            assert_eq!(output(&tasks[1]), "None\n", "{name}");
        }
        before.assert_unchanged();
    });
}

/// The filter of `udf` comes after the order: what did not install it never runs.
#[test]
fn a_filter_that_comes_late_is_missed_too() {
    as_root("zygote_late", |place| {
        let python = environment(place);
        let zygote = format!("zygote:{python}:installs_no_filter:udf");
        let mut command = pool_program(place, Privilege::Root);
        command.stderr(std::process::Stdio::piped());
        let child = command
            .args([&zygote, "1", "print('ran')"])
            .output()
            .unwrap();
        let (said, why) = (
            String::from_utf8_lossy(&child.stdout),
            String::from_utf8_lossy(&child.stderr),
        );
        assert!(!child.status.success() && !said.contains("ran"), "{said}");
        assert!(why.contains("reading the command's seal back"), "{why}");
    });
}

#[test]
fn one_that_is_ready_stays_so_when_an_environment_comes_with_the_claim() {
    as_root("zygote_environment", |place| {
        let folder = place.dir("client", Privilege::Root);
        std::fs::write(folder.join("client_word.py"), "word = 'swordfish'\n").unwrap();
        let folder = folder.display();
        let read = "import sys; sys.path.append('/srv/client/lib'); import client_word; \
                    print(client_word.word)";
        let shown = format!("show:{folder}:/srv/client/lib");
        let arguments = [zygote("general"), shown, "2".to_owned(), read.to_owned()];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        for task in run_pool(place, Privilege::Root, &arguments) {
            assert_eq!(output(&task), "swordfish\n", "{task}");
            // Made anew it would have been executed, or forked later: its receipt tells.
            let warnings = task["outcome"]["receipt"]["warnings"].to_string();
            assert!(warnings.contains("forked from a zygote"), "{task}");
        }
        // Without it there is no such module.
        let bare = run(place, &zygote("general"), "1", &[read]);
        assert_eq!(output(&bare[0]), "");
    });
}

/// The C library's own thresholds give three blocks of a megabyte back to the kernel each time.
#[test]
fn large_memory_that_a_task_frees_serves_it_again() {
    as_root("zygote_memory", |place| {
        let faults = "import resource\n\
            def faults():\n\
            \x20   before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n\
            \x20   blocks = [b'x' * (1 << 20) for _ in range(3)]\n\
            \x20   del blocks\n\
            \x20   return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n\
            print(max([faults() for _ in range(12)][4:]))\n";
        let tasks = run(place, &zygote("udf"), "1", &[faults]);
        assert_eq!(tasks[0]["forked"], true, "{tasks:?}");
        let most: u32 = output(&tasks[0]).trim().parse().unwrap();
        // Of 768 pages.
        assert!(most < 50, "{most} faults");
    });
}
