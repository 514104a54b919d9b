//! SIGKILL for the manager, its launchers and its supervisor: what shall survive does,
//! with every byte of its output; what shall not ends; nothing is left.
//!
//! `LAKEKEEP_TESTS_MANAGER_KILLS` sets the number of kills under load.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lakekeep_api::v1::{self, Kind, State};
use lakekeep_tests::manager::{
    Manager, Refused, Setup, Talk, User, create, is_alive, kill, of, shell,
};
use lakekeep_tests::{cgroups_of_lakekeep, eventually, eventually_within, number_from_env};
use rustix::fs::FlockOperation;

const COUNT: &str = "i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); echo $i; echo e$i >&2; sleep 0.002; done; echo over $i";

/// Where this conversation stands, which need not have heard yet what it is about.
fn attach(talk: &Talk, sandbox: &str, task: u32) -> v1::AttachStart {
    let (stdout_offset, stderr_offset) = talk.offsets();
    v1::AttachStart {
        sandbox: sandbox.to_owned(),
        task,
        stdout_offset,
        stderr_offset,
        ..v1::AttachStart::default()
    }
}

/// The numbers from 1 on, each once, and how far they go.
fn numbers(bytes: &[u8], before: &str) -> u64 {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut last = 0;
    for line in text.lines().filter(|line| !line.starts_with("over")) {
        let number: u64 = line.strip_prefix(before).unwrap().parse().unwrap();
        assert_eq!(number, last + 1, "after {last}");
        last = number;
    }
    last
}

#[test]
fn a_task_outlives_its_manager_and_no_byte_is_lost() {
    let Some(manager) = Setup::new().start("adoption") else {
        return;
    };
    let alice = manager.alice();
    let kept = alice.sandbox(create());
    let lost = alice.sandbox(v1::CreateRequest {
        kind: Kind::Udf.into(),
        ..create()
    });
    let (pid, gone) = (
        i32::try_from(kept.pid).unwrap(),
        i32::try_from(lost.pid).unwrap(),
    );
    let mut start = shell(&kept.id, COUNT);
    start.detach = true;
    let mut talk = alice.exec(start).unwrap();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut lines = 0;
    for _ in 0..3 {
        lines += 50;
        talk.until("fifty more lines", |talk| {
            let so_far = stdout.iter().chain(&talk.stdout);
            so_far.filter(|byte| **byte == b'\n').count() >= lines
        });
        let again = attach(&talk, &kept.id, 1);
        stdout.extend(std::mem::take(&mut talk.stdout));
        stderr.extend(std::mem::take(&mut talk.stderr));
        manager.kill_manager();
        talk = manager.alice().attach(again).unwrap();
    }
    let alice = manager.alice();
    let shown = alice.get(of(&kept.id)).unwrap();
    assert_eq!((shown.state(), shown.pid), (State::Running, kept.pid));
    assert!(is_alive(pid));
    eventually("the end of the functions' sandbox", || {
        (!is_alive(gone)).then_some(())
    });
    let after = alice.get(of(&lost.id));
    assert!(after.is_err() || after.unwrap().state() == State::Ended);
    alice.run(&kept.id, "touch /tmp/stop").success();
    let done = talk.finish().unwrap();
    stdout.extend(&done.stdout);
    stderr.extend(&done.stderr);
    let count = numbers(&stdout, "");
    assert_eq!(numbers(&stderr, "e"), count);
    assert!(stdout.ends_with(format!("over {count}\n").as_bytes()));
    assert!(count >= 150);
    // Nothing of the tasks that have ended is taken for a later one's.
    manager.kill_manager();
    let next = manager.alice().run(&kept.id, "echo next");
    assert_eq!(next.success(), "next");
    assert!(next.task > 2, "{next:?}");
    manager.end();
}

/// Whether a file below this folder holds a word.
fn holds(folder: &Path, word: &str) -> bool {
    let found = Command::new("grep")
        .args([
            "--recursive",
            "--binary-files=text",
            "--quiet",
            "--devices=skip",
            word,
        ])
        .arg(folder)
        .status();
    match found.unwrap().code() {
        Some(0) => true,
        Some(1) => false,
        other => panic!("grep in {}: {other:?}", folder.display()),
    }
}

/// What tells one set of variables from another, and does not print them: a task's output is in
/// a file.
const SEEN: &str = "env --null | sort --zero-terminated | sha256sum; \
    echo \"$PROFILE, $BOTH, ${EMPTY-none}, ${#MARKED}\"";

#[test]
fn tasks_have_the_same_variables_under_the_next_manager_and_no_file_has_their_values() {
    let profile = "[env]\nBOTH = \"of the profile\"\nPROFILE = \"whole\"\n";
    let Some(manager) = Setup::new().personal(profile).start("variables_adoption") else {
        return;
    };
    let alice = manager.alice();
    let request = |value: &str| v1::CreateRequest {
        policy: format!(
            "version = 1\n[env]\nMARKED = {value:?}\nBOTH = \"one\\ntwo = 3\"\nEMPTY = \"\"\n"
        ),
        ..create()
    };
    let (value, other) = ("value-6f1c2a90", "of-the-frozen-one");
    let (runs, frozen) = (alice.sandbox(request(value)), alice.sandbox(request(other)));
    let seen = |user: &User, id: &str| user.run(id, SEEN).success();
    let before = [&runs, &frozen].map(|sandbox| seen(&alice, &sandbox.id));
    assert_ne!(before[0], before[1]);
    let shown = format!("whole, one\ntwo = 3, , {}", value.len());
    assert!(before[0].ends_with(&shown), "{before:?}");
    assert_eq!(alice.freeze(of(&frozen.id)).unwrap().state(), State::Frozen);
    for _ in 0..2 {
        manager.kill_manager();
        assert_eq!(seen(&manager.alice(), &runs.id), before[0]);
    }
    let alice = manager.alice();
    assert_eq!(alice.thaw(of(&frozen.id)).unwrap().state(), State::Running);
    assert_eq!(seen(&alice, &frozen.id), before[1]);
    for folder in [manager.runtime(), manager.kept()] {
        assert!(!holds(&folder, value), "{}", folder.display());
    }
    // They would be found where the names are.
    assert!(holds(&manager.runtime(), "MARKED"));
    manager.end();
}

#[test]
fn what_is_frozen_is_so_at_the_next_manager_and_goes_on_when_it_is_thawed() {
    let Some(manager) = Setup::new().start("frozen_adoption") else {
        return;
    };
    let alice = manager.alice();
    let (stays, goes) = (alice.sandbox(create()), alice.sandbox(create()));
    let mut talk = alice
        .exec(v1::ExecStart {
            detach: true,
            ..shell(&stays.id, COUNT)
        })
        .unwrap();
    talk.until("some lines", |talk| talk.stdout.len() > 20);
    let again = v1::AttachStart {
        sandbox: stays.id.clone(),
        task: talk.task,
        ..v1::AttachStart::default()
    };
    drop(talk);
    for id in [&stays.id, &goes.id] {
        assert_eq!(alice.freeze(of(id)).unwrap().state(), State::Frozen);
    }
    let mut used = None;
    for _ in 0..2 {
        manager.kill_manager();
        let alice = manager.alice();
        for id in [&stays.id, &goes.id] {
            let shown = alice.get(of(id)).unwrap();
            assert_eq!(shown.state(), State::Frozen, "{shown:?}");
            assert_eq!(alice.exec(shell(id, "true")).unwrap_err().reason, "FROZEN");
        }
        let request = v1::StatsRequest {
            sandbox: stays.id.clone(),
            ..v1::StatsRequest::default()
        };
        let sample = alice.stats(request).unwrap().next_one().unwrap().unwrap();
        // Neither death nor adoption lets it run.
        let now = sample.sandboxes[0].cpu_us;
        assert_eq!(*used.get_or_insert(now), now);
    }
    let alice = manager.alice();
    // A frozen init hears nothing: what would wait for it is refused, however much it is.
    for _ in 0..600 {
        let refused = alice.signal(v1::SignalRequest {
            sandbox: stays.id.clone(),
            task: again.task,
            signal: 10,
        });
        assert_eq!(refused.unwrap_err().reason, "FROZEN");
    }
    assert_eq!(alice.thaw(of(&stays.id)).unwrap().state(), State::Running);
    let talk = alice.attach(again).unwrap();
    alice.run(&stays.id, "touch /tmp/stop").success();
    let done = talk.finish().unwrap();
    let count = numbers(&done.stdout, "");
    assert_eq!(numbers(&done.stderr, "e"), count);
    assert!(done.stdout.ends_with(format!("over {count}\n").as_bytes()));
    // One that was thawed is taken over as any other.
    manager.kill_manager();
    let alice = manager.alice();
    assert_eq!(alice.get(of(&stays.id)).unwrap().state(), State::Running);
    assert_eq!(alice.run(&stays.id, "echo well").success(), "well");
    let pid = i32::try_from(goes.pid).unwrap();
    assert!(is_alive(pid));
    assert_eq!(alice.kill(of(&goes.id)).unwrap().state(), State::Ended);
    eventually("the end of its init", || (!is_alive(pid)).then_some(()));
    manager.end();
}

#[test]
fn a_launcher_s_sandboxes_end_with_it() {
    let Some(manager) = Setup::new().start("launcher") else {
        return;
    };
    let alice = manager.alice();
    let sandbox = alice.sandbox(create());
    let pid = i32::try_from(sandbox.pid).unwrap();
    let mut talk = alice
        .exec(shell(&sandbox.id, "echo here; sleep 1000"))
        .unwrap();
    talk.prints("here");
    let manager_pid = manager.pid();
    let launcher = manager.launchers()[0];
    kill(launcher);
    let done = talk.finish().unwrap();
    assert_eq!(done.verdict(), "lost", "{}", done.outcome);
    eventually("the end of its init", || (!is_alive(pid)).then_some(()));
    let ended = alice.get(of(&sandbox.id)).unwrap();
    assert_eq!(ended.state(), State::Ended);
    let why = format!("sandbox {}: its init is heard no more", sandbox.id);
    eventually("a word on it in the log", || {
        manager.log().contains(&why).then_some(())
    });
    let verdict: serde_json::Value = serde_json::from_str(&ended.verdict).unwrap();
    assert_eq!(verdict["kind"], "lost");
    // The next one may be refused while there is no launcher, with a word to come again.
    let next = made(&alice);
    assert_eq!(alice.run(&next.id, "echo again").success(), "again");
    assert_ne!(manager.launchers()[0], launcher);
    assert_eq!(manager.pid(), manager_pid);
    manager.end();
}

fn made(user: &User) -> v1::Sandbox {
    eventually("a new sandbox", || match user.create(create()) {
        Ok(sandbox) => Some(sandbox),
        Err(refused) if refused.reason == "UNAVAILABLE" => None,
        Err(refused) => panic!("{refused:?}"),
    })
}

#[test]
fn with_the_supervisor_everything_ends_and_the_next_one_sweeps() {
    let setup = Setup::new().launchers(2);
    let Some(mut manager) = setup.start("supervisor") else {
        return;
    };
    let alice = manager.alice();
    let old = alice.sandbox(create());
    let mut talk = alice.exec(shell(&old.id, "echo here; sleep 1000")).unwrap();
    talk.prints("here");
    let namespaces = manager.namespaces();
    assert!(!namespaces.is_empty());
    manager.kill_supervisor();
    manager.start_again();
    let alice = manager.alice();
    let gone = alice.get(of(&old.id));
    assert!(gone.is_err() || gone.unwrap().state() == State::Ended);
    let next = alice.sandbox(create());
    assert_eq!(alice.run(&next.id, "echo new").success(), "new");
    alice.kill(of(&next.id)).unwrap();
    manager.nothing_is_left(&namespaces);
    manager.end();
}

/// What a client under load may meet while things are killed around it.
fn is_passing(refused: &Refused) -> bool {
    let passing = [
        "UNAVAILABLE",
        "Unavailable",
        "Unknown",
        "Cancelled",
        "ENDED",
        "NOT_FOUND",
        "Internal",
        "INTERNAL",
        "CONFLICT",
    ];
    passing.contains(&refused.reason.as_str())
}

/// Creates, executes and ends until told to stop.
fn work(manager: &Manager, name: &str, stop: &AtomicBool, done: &AtomicUsize) {
    let mut user = None;
    while !stop.load(Ordering::Relaxed) {
        let with = user.get_or_insert_with(|| manager.user(name));
        let attempt = with.create(create()).and_then(|sandbox| {
            let ended = with
                .exec(shell(&sandbox.id, "echo ok"))
                .and_then(Talk::finish)?;
            with.kill(of(&sandbox.id))?;
            Ok(ended)
        });
        match attempt {
            Ok(ended) if ended.verdict() == "lost" => {}
            Ok(ended) => {
                assert!(ended.code == 0 || ended.verdict() == "killed", "{ended:?}");
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(refused) => {
                assert!(is_passing(&refused), "{refused:?}");
                user = None;
            }
        }
    }
}

#[test]
fn kills_under_load_leak_nothing_and_lose_nothing() {
    let kills = number_from_env("LAKEKEEP_TESTS_MANAGER_KILLS", 5);
    let Some(manager) = Setup::new().launchers(2).start("kills") else {
        return;
    };
    let alice = manager.alice();
    let survivor = alice.sandbox(create()).id;
    let mut start = shell(&survivor, COUNT);
    start.detach = true;
    let mut talk = alice.exec(start).unwrap();
    talk.until("its start", |talk| !talk.stdout.is_empty());
    let task = talk.task;
    drop((talk, alice));
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let end = StopOnDrop(&stop);
        for name in [lakekeep_tests::manager::ALICE, lakekeep_tests::manager::BOB] {
            scope.spawn(|| work(&manager, name, &stop, &done));
        }
        for round in 0..kills {
            // Between two kills something is done: the moment is the load's.
            let before = done.load(Ordering::Relaxed);
            eventually("work between kills", || {
                (done.load(Ordering::Relaxed) > before + round % 3).then_some(())
            });
            manager.kill_manager();
        }
        drop(end);
    });
    let alice = manager.alice();
    let talk = alice
        .attach(v1::AttachStart {
            sandbox: survivor.clone(),
            task,
            ..v1::AttachStart::default()
        })
        .unwrap();
    alice.run(&survivor, "touch /tmp/stop").success();
    let ended = talk.finish().unwrap();
    let count = numbers(&ended.stdout, "");
    assert_eq!(numbers(&ended.stderr, "e"), count);
    for launcher in manager.launchers() {
        kill(launcher);
    }
    eventually("new launchers", || {
        (manager.launchers().len() == 2).then_some(())
    });
    let next = made(&alice);
    assert_eq!(alice.run(&next.id, "echo well").success(), "well");
    let verified = manager
        .root()
        .verify_audit(v1::VerifyAuditRequest {})
        .unwrap();
    assert!(verified.whole, "{}", verified.problem);
    manager.end();
}

/// The load ends also when the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_a_launcher_leaves_that_dies_slowly_is_swept_without_another_start() {
    // As if a process of it still held the lock when its successor looked.
    let launcher = "l00000000000051de";
    let Some(manager) = Setup::new().start("slow_death") else {
        return;
    };
    let kept = manager.alice().sandbox(create());
    let lives = cgroups_of_lakekeep().into_iter();
    let groups: BTreeSet<PathBuf> = lives.map(|live| live.with_file_name(launcher)).collect();
    let killed = manager.launchers();
    assert!(!groups.is_empty() && !killed.is_empty());
    for group in &groups {
        fs::create_dir_all(group.join("sandbox")).unwrap();
    }
    let held: Vec<File> = groups
        .iter()
        .map(|path| File::open(path).unwrap())
        .collect();
    for group in &held {
        rustix::fs::flock(group, FlockOperation::NonBlockingLockExclusive).unwrap();
    }
    kill(killed[0]);
    eventually("another launcher", || {
        let now = manager.launchers();
        (now.len() == killed.len() && !now.contains(&killed[0])).then_some(())
    });
    let started = manager.launchers();
    assert!(groups.iter().all(|group| group.join("sandbox").is_dir()));
    drop(held);
    eventually_within(Duration::from_secs(60), || {
        groups.iter().all(|group| !group.exists()).then_some(())
    })
    .unwrap();
    assert_eq!(manager.launchers(), started);
    // It may have been the dead launcher's.
    if let Err(refused) = manager.alice().kill(of(&kept.id)) {
        assert_eq!(refused.reason, "NOT_FOUND");
    }
    manager.end();
}

#[test]
fn nothing_is_left_of_a_sandbox_whose_init_was_killed() {
    let Some(manager) = Setup::new().start("dead_init") else {
        return;
    };
    let launchers = manager.launchers();
    let sandbox = manager.alice().sandbox(create());
    let groups: Vec<PathBuf> = cgroups_of_lakekeep()
        .into_iter()
        .map(|launcher| launcher.join(&sandbox.id))
        .filter(|group| group.exists())
        .collect();
    assert!(!groups.is_empty());
    kill(sandbox.pid.try_into().unwrap());
    eventually("the end of its groups", || {
        groups.iter().all(|group| !group.exists()).then_some(())
    });
    // Not by the sweep of another launcher.
    assert_eq!(manager.launchers(), launchers);
    manager.end();
}
