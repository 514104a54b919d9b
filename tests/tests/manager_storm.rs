//! SIGKILL for the manager and its launchers, again and again, at random moments of a
//! load: nothing is left, what was acknowledged is in the audit log, and what shall
//! survive is taken over with every byte of its output.
//!
//! | variable | default | the figures in docs/benchmarks.md |
//! |---|---|---|
//! | `LAKEKEEP_TESTS_STORM_KILLS` | 12 | 300 |
//! | `LAKEKEEP_TESTS_STORM_CLIENTS` | 3 | 16 |
//! | `LAKEKEEP_TESTS_STORM_SURVIVORS` | 6 | 24 |
//! | `LAKEKEEP_TESTS_STORM_SEED` | 1 | 1 |
//! | `LAKEKEEP_TESTS_STORM_RAW` | none | a folder for the moments and the sums |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lakekeep_api::v1::{self, Kind};
use lakekeep_tests::manager::{
    ALICE, BOB, Dice, Heard, Kept, Manager, Refused, Sample, Setup, Talk, User, Work, kill,
    milliseconds, of, shell,
};
use lakekeep_tests::{eventually, eventually_within, number_from_env};

/// The longest pause before a kill, milliseconds: after a kill, and after something was
/// done since.
const LONGEST_PAUSES: [usize; 2] = [300, 1500];

const NAMES: [&str; 2] = [ALICE, BOB];

/// Kinds that outlive their manager.
const KINDS: [Kind; 3] = [Kind::Interactive, Kind::Kernel, Kind::Batch];

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was acknowledged, how often: an action on a sandbox.
#[derive(Debug, Default)]
struct Ledger(Mutex<BTreeMap<(&'static str, String), usize>>);

impl Ledger {
    fn note(&self, action: &'static str, sandbox: &str) {
        *lock(&self.0)
            .entry((action, sandbox.to_owned()))
            .or_default() += 1;
    }
}

#[derive(Debug, Default)]
struct Storm {
    over: AtomicBool,
    ledger: Ledger,
    cycles: AtomicUsize,
    cut: AtomicUsize,
    adopted: AtomicUsize,
    lost: AtomicUsize,
    numbers: AtomicUsize,
}

impl Storm {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn count(what: &AtomicUsize) {
        what.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a client may meet when processes are killed around it. A manager that answers
/// does not fail itself (`INTERNAL`), and refuses nobody (`DENIED`, `QUOTA_EXCEEDED`).
fn is_passing(refused: &Refused) -> bool {
    let passing = [
        "UNAVAILABLE",
        "Unavailable",
        "Unknown",
        "Cancelled",
        "ENDED",
        "NOT_FOUND",
        "Internal",
        "CONFLICT",
    ];
    passing.contains(&refused.reason.as_str())
}

/// A connection, made again when it is lost.
fn connected(manager: &Manager, name: &str) -> User {
    eventually("a connection", || manager.try_user(name))
}

/// Creates, executes and ends until told to stop.
fn work(manager: &Manager, client: usize, storm: &Storm) {
    let name = NAMES.get(client % NAMES.len()).unwrap();
    let mut user = connected(manager, name);
    let mut number = client;
    while !storm.is_over() {
        number += 16;
        match cycle(&user, number, &storm.ledger) {
            Ok(()) => Storm::count(&storm.cycles),
            Err(refused) => {
                assert!(is_passing(&refused), "{refused:?}");
                Storm::count(&storm.cut);
                user = connected(manager, name);
            }
        }
    }
}

fn cycle(user: &User, number: usize, ledger: &Ledger) -> Result<(), Refused> {
    let work = Work::of_cycle(number);
    // Whoever is cut off here does not come back for it.
    let request = v1::CreateRequest {
        idle_timeout: milliseconds(5000),
        ..work.request()
    };
    let sandbox = user.create(request)?.id;
    ledger.note("create_sandbox", &sandbox);
    let mut talk = user.exec(work.command(&sandbox))?;
    while talk.task == 0 && talk.step()? {}
    ledger.note("exec", &sandbox);
    let done = talk.finish()?;
    if !["lost", "killed"].contains(&done.verdict()) {
        assert_eq!(work.judge(&done), None);
    }
    user.kill(of(&sandbox))?;
    ledger.note("kill", &sandbox);
    Ok(())
}

/// Keeps one sandbox alive for as long as its launcher lives, and makes another then.
fn keep(manager: &Manager, at: usize, storm: &Storm) -> (User, Kept) {
    let name = NAMES.get(at % NAMES.len()).unwrap();
    let kind = *KINDS.get(at % KINDS.len()).unwrap();
    let mut user = connected(manager, name);
    let mut kept: Option<Kept> = None;
    loop {
        let Some(one) = &mut kept else {
            match Kept::make(&user, kind) {
                Ok(made) => {
                    storm.ledger.note("create_sandbox", &made.sandbox);
                    storm.ledger.note("exec", &made.sandbox);
                    kept = Some(made);
                }
                Err((made, refused)) => {
                    assert!(is_passing(&refused), "{refused:?}");
                    if let Some(made) = made {
                        storm.ledger.note("create_sandbox", &made);
                    }
                    user = connected(manager, name);
                }
            }
            continue;
        };
        match one.listen(&user, || storm.is_over()) {
            None => return (user, kept.unwrap()),
            Some(Heard::Cut(refused)) => {
                assert!(is_passing(&refused), "{refused:?}");
                user = connected(manager, name);
                Storm::count(&storm.adopted);
            }
            Some(Heard::Lost(why)) => {
                eventually(
                    &format!("the end of the launcher of {}: {why}", one.sandbox),
                    || one.may_be_lost().then_some(()),
                );
                Storm::count(&storm.lost);
                let count = usize::try_from(one.count()).unwrap();
                storm.numbers.fetch_add(count, Ordering::Relaxed);
                kept = None;
            }
            Some(Heard::Over(count)) => panic!("{} ended by itself at {count}", one.sandbox),
        }
    }
}

/// After the storm: told to stop, it ends with all of its numbers heard; unless it was lost
/// with the last launcher that was killed, and nobody had heard of that yet.
fn finish(user: &User, mut kept: Kept, storm: &Storm) {
    let stopped = user.exec(shell(&kept.sandbox, "touch /tmp/stop"));
    match stopped.and_then(Talk::finish) {
        Ok(done) => {
            done.success();
        }
        Err(refused) if refused.reason == "ENDED" => {
            eventually(
                &format!("the end of the launcher of {}: {refused:?}", kept.sandbox),
                || kept.may_be_lost().then_some(()),
            );
            Storm::count(&storm.lost);
            return;
        }
        Err(refused) => panic!("{}: {refused:?}", kept.sandbox),
    }
    storm.ledger.note("exec", &kept.sandbox);
    match kept.listen(user, || false) {
        Some(Heard::Over(count)) => {
            let count = usize::try_from(count).unwrap();
            storm.numbers.fetch_add(count, Ordering::Relaxed);
        }
        other => panic!("{}: {other:?}", kept.sandbox),
    }
    user.kill(of(&kept.sandbox)).unwrap();
    storm.ledger.note("kill", &kept.sandbox);
}

/// The kills: half of them for the manager, the others for whatever launchers there are.
/// One of four comes soon after the one before, into a start or an adoption; the others
/// wait until a cycle was done.
fn rage(manager: &Manager, storm: &Storm, kills: usize, seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let mut moments = String::from("at_ms,pid,what\n");
    let begun = Instant::now();
    for _ in 0..kills {
        let done = storm.cycles.load(Ordering::Relaxed);
        let mut longest = LONGEST_PAUSES[0];
        if dice.below(4) > 0 {
            longest = LONGEST_PAUSES[1];
            eventually("a cycle between two kills", || {
                (storm.cycles.load(Ordering::Relaxed) > done).then_some(())
            });
        }
        let pause = dice.below(longest);
        thread::sleep(Duration::from_millis(u64::try_from(pause).unwrap()));
        let (pid, what) = eventually("somebody to kill", || match dice.below(2) {
            0 => Some((manager.pid()?, "manager")),
            _ => {
                let all = manager.targets();
                Some((*all.get(dice.below(all.len()))?, "launcher"))
            }
        });
        // It may have ended meanwhile, with another one.
        if lakekeep_tests::manager::is_alive(pid) {
            kill(pid);
        }
        writeln!(moments, "{},{pid},{what}", begun.elapsed().as_millis()).unwrap();
    }
    moments
}

#[test]
fn three_hundred_kills() {
    let kills = number_from_env("LAKEKEEP_TESTS_STORM_KILLS", 12);
    let clients = number_from_env("LAKEKEEP_TESTS_STORM_CLIENTS", 3);
    let survivors = number_from_env("LAKEKEEP_TESTS_STORM_SURVIVORS", 6);
    let seed = u64::try_from(number_from_env("LAKEKEEP_TESTS_STORM_SEED", 1)).unwrap();
    let Some(manager) = Setup::new().launchers(2).start("storm") else {
        return;
    };
    let before = manager.sample();
    let storm = Storm::default();
    let begun = Instant::now();
    let moments = thread::scope(|scope| {
        let end = StopOnDrop(&storm.over);
        for client in 0..clients {
            let (manager, storm) = (&manager, &storm);
            scope.spawn(move || work(manager, client, storm));
        }
        let keepers: Vec<_> = (0..survivors)
            .map(|at| {
                let (manager, storm) = (&manager, &storm);
                scope.spawn(move || keep(manager, at, storm))
            })
            .collect();
        let moments = rage(&manager, &storm, kills, seed);
        manager.answers();
        eventually("all launchers", || {
            (manager.launcher_servers().len() == 2).then_some(())
        });
        drop(end);
        for keeper in keepers {
            let (user, kept) = keeper.join().unwrap();
            finish(&user, kept, &storm);
        }
        moments
    });
    let took = begun.elapsed();
    end_what_nobody_has_ended(&manager);
    nothing_leaks(&manager, &before);
    let events = nothing_is_forgotten(&manager, &storm);
    report(&storm, (kills, took, events), &moments);
    manager.end();
}

/// A client that lost its connection does not know what became of its request: what it
/// made is listed, and nothing is there that is not.
fn end_what_nobody_has_ended(manager: &Manager) {
    for name in NAMES {
        let user = connected(manager, name);
        loop {
            let listed = user.list(v1::ListRequest::default()).unwrap();
            if listed.sandboxes.is_empty() {
                break;
            }
            for sandbox in listed.sandboxes {
                user.kill(of(&sandbox.id)).unwrap();
            }
        }
    }
}

fn nothing_leaks(manager: &Manager, before: &Sample) {
    let mut now = manager.sample();
    let clean = eventually_within(Duration::from_secs(20), || {
        now = manager.sample();
        let same = now.host == before.host
            && now.launchers.descriptors <= before.launchers.descriptors + 2;
        same.then_some(())
    });
    assert!(clean.is_some(), "before: {before:#?}\nafter: {now:#?}");
}

/// Every action that was acknowledged is in the audit log, whose chain is whole.
fn nothing_is_forgotten(manager: &Manager, storm: &Storm) -> u64 {
    let root = connected(manager, "root");
    let verified = root.verify_audit(v1::VerifyAuditRequest {}).unwrap();
    assert!(verified.whole, "{}", verified.problem);
    let mut noted: BTreeMap<(String, String), usize> = BTreeMap::new();
    for event in root.audit(v1::QueryAuditRequest::default()).unwrap() {
        let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        if event["outcome"] == "allowed" {
            *noted.entry((word("action"), word("sandbox"))).or_default() += 1;
        }
    }
    let known = lock(&storm.ledger.0);
    let lost: Vec<_> = known
        .iter()
        .filter(|((action, sandbox), count)| {
            let key = ((*action).to_owned(), sandbox.clone());
            noted.get(&key).is_none_or(|noted| noted < *count)
        })
        .collect();
    assert!(!known.is_empty());
    assert!(
        lost.is_empty(),
        "acknowledged, and not in the log: {lost:?}"
    );
    verified.events
}

fn report(storm: &Storm, (kills, took, events): (usize, Duration, u64), moments: &str) {
    let get = |what: &AtomicUsize| what.load(Ordering::Relaxed);
    let acknowledged: usize = lock(&storm.ledger.0).values().sum();
    let text = format!(
        "{kills} kills in {took:.1?}: {} cycles done, {} cut, survivors attached again {} times and {} lost with their launcher, {} numbers heard in order, {acknowledged} actions acknowledged and found among {events} events\n",
        get(&storm.cycles),
        get(&storm.cut),
        get(&storm.adopted),
        get(&storm.lost),
        get(&storm.numbers),
    );
    eprint!("{text}");
    if let Some(folder) = std::env::var_os("LAKEKEEP_TESTS_STORM_RAW").map(PathBuf::from) {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("storm.txt"), text).unwrap();
        std::fs::write(folder.join("storm-kills.csv"), moments).unwrap();
    }
}

/// The load ends also when the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
