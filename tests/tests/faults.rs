//! SIGKILL for the command, the launcher and the init, at every stage of a run:
//! everything of the sandbox ends by itself, and the next start leaves nothing.
//!
//! `LAKEKEEP_TESTS_KILLS` sets the number of kills per victim and privilege.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use lakekeep_tests::{
    HostSnapshot, Place, Privilege, Run, Tracked, descendants, eventually, eventually_within,
    for_each_privilege, number_from_env, orphans,
};
use rustix::process::{Pid, Signal, kill_process};

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    /// `lakekeep run` itself.
    Command,
    /// Its child.
    Launcher,
    /// The first process inside: the last link of the chain of only children.
    Init,
    /// Any process below, another in each round.
    Any,
}

#[test]
fn killing_the_command() {
    kill_many("kill_command", Victim::Command);
}

#[test]
fn killing_the_launcher() {
    kill_many("kill_launcher", Victim::Launcher);
}

#[test]
fn killing_the_init() {
    kill_many("kill_init", Victim::Init);
}

#[test]
fn killing_any_process() {
    kill_many("kill_any", Victim::Any);
}

fn kill_many(test: &str, victim: Victim) {
    let kills = number_from_env("LAKEKEEP_TESTS_KILLS", 30);
    for_each_privilege(test, |privilege| {
        let place = Place::new();
        let state = place.dir("state-shared", privilege);
        let before = HostSnapshot::take(place.path());
        let usual = usual_time(&place, privilege, &state);
        let mut hits = 0;
        for round in 0..kills {
            // From before the first step to after the command's start, evenly.
            let moment = usual.mul_f64(1.3 * round_share(round, kills));
            if kill_once(&place, privilege, &state, (victim, round, moment)) {
                hits += 1;
            }
            no_process_stays(round);
        }
        assert!(
            hits * 2 >= kills,
            "only {hits} of {kills} kills hit a living process"
        );
        // The next start sweeps what the dead could not take with them.
        Run::new(&place, privilege)
            .state(&state)
            .command(["true"])
            .finish()
            .assert_code(0);
        before.assert_unchanged();
    });
}

fn round_share(round: usize, of: usize) -> f64 {
    f64::from(u32::try_from(round).unwrap()) / f64::from(u32::try_from(of).unwrap())
}

/// How long a run takes until its command has started.
fn usual_time(place: &Place, privilege: Privilege, state: &Path) -> Duration {
    let started = Instant::now();
    Run::new(place, privilege)
        .state(state)
        .command(["true"])
        .finish()
        .assert_code(0);
    started.elapsed()
}

/// One run, one kill. The moment is a stage of the run, not a wait for anything:
/// whatever was reached by then is what gets interrupted.
fn kill_once(
    place: &Place,
    privilege: Privilege,
    state: &Path,
    at: (Victim, usize, Duration),
) -> bool {
    let (victim, round, moment) = at;
    let started = Instant::now();
    let child = Run::new(place, privilege)
        .state(state)
        .command(["sleep", "1000"])
        .spawn();
    let chosen = eventually_within(moment + Duration::from_secs(10), || {
        if started.elapsed() < moment {
            return None;
        }
        choose(victim, round, &child)
    });
    let helper = chosen.is_some_and(|pid| HELPERS.contains(&name(pid).as_str()));
    let missed = if helper {
        Missed::Perhaps
    } else {
        Missed::Surely
    };
    let hit = chosen.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok());
    match victim {
        Victim::Command => {}
        // The command must notice, and end by itself, with an error.
        _ if hit => await_end(child, round, missed),
        _ => {}
    }
    hit
}

/// Whether a process that was killed is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missed {
    Surely,
    Perhaps,
}

/// Processes that end once they have done their part: killed in their last moments, they
/// are missed by nobody.
const HELPERS: [&str; 3] = ["youki:[1:INTER]", "newuidmap", "newgidmap"];

fn name(pid: Pid) -> String {
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
    comm.unwrap_or_default().trim_end().to_owned()
}

fn choose(victim: Victim, round: usize, child: &Tracked) -> Option<Pid> {
    let below = descendants(child.id());
    let pid = match victim {
        Victim::Command => i32::try_from(child.id()).ok(),
        Victim::Launcher => below.first().copied(),
        Victim::Init => below.get(1).copied(),
        Victim::Any => below.get(round % below.len().max(1)).copied(),
    };
    pid.and_then(Pid::from_raw)
}

fn await_end(mut child: Tracked, round: usize, missed: Missed) {
    let status = eventually(
        &format!("round {round}: the command ends after a kill"),
        || {
            // Its sandbox stands, and so it must be ended after all.
            let mut below = descendants(child.id())
                .into_iter()
                .filter_map(Pid::from_raw);
            if missed == Missed::Perhaps && below.any(|pid| name(pid) == "sleep") {
                child.kill().unwrap();
            }
            child.try_wait().unwrap()
        },
    );
    assert_ne!(
        status.code(),
        Some(0),
        "round {round}: success after a kill"
    );
}

/// Orphans die with what started them; nothing needs a second command for that.
fn no_process_stays(round: usize) {
    eventually(
        &format!("round {round}: every process of the sandbox is gone"),
        || orphans().is_empty().then_some(()),
    );
}

/// Several at once, all killed: their traces must not be taken for one another's.
#[test]
fn killing_several_launchers_at_once() {
    for_each_privilege("kill_several", |privilege| {
        let place = Place::new();
        let state = place.dir("state-shared", privilege);
        let before = HostSnapshot::take(place.path());
        let survivor = Run::new(&place, privilege).state(&state).command(["cat"]);
        let mut survivor = survivor.spawn();
        for round in 0..5 {
            let children: Vec<Tracked> = (0..3)
                .map(|_| {
                    Run::new(&place, privilege)
                        .state(&state)
                        .command(["sleep", "1000"])
                        .spawn()
                })
                .collect();
            for child in &children {
                let pid = eventually("a launcher", || choose(Victim::Launcher, 0, child));
                // Already over by itself would be a failure of its own, seen below.
                assert!(kill_process(pid, Signal::KILL).is_ok(), "round {round}");
            }
            for child in children {
                await_end(child, round, Missed::Surely);
            }
            Run::new(&place, privilege)
                .state(&state)
                .command(["true"])
                .finish()
                .assert_code(0);
        }
        assert!(
            survivor.try_wait().unwrap().is_none(),
            "a neighbour was swept while it lived"
        );
        drop(survivor.stdin.take());
        let status = eventually("the survivor's end", || survivor.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
        before.assert_unchanged();
    });
}

/// The caller's terminal closes, its shell is killed: the same as a kill.
#[test]
fn the_command_s_streams_close_under_it() {
    for_each_privilege("closed_streams", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let run =
            Run::new(&place, privilege).shell("while :; do echo tick || exit 7; sleep 0.05; done");
        let mut child = run.spawn();
        drop(child.stdout.take());
        drop(child.stdin.take());
        let status = eventually("the end of a run without readers", || {
            child.try_wait().unwrap()
        });
        assert_ne!(status.code(), Some(0));
        drop(child);
        before.assert_unchanged();
    });
}
