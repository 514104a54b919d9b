//! Many users' worth of load on one manager: sandboxes that live all the while, and
//! others that are made, used and ended by many clients at once. No error, no leak,
//! no memory that grows.
//!
//! | variable | default | the figures in docs/benchmarks.md |
//! |---|---|---|
//! | `LAKEKEEP_TESTS_LOAD_LIVE` | 12 | 500 |
//! | `LAKEKEEP_TESTS_LOAD_CYCLES` | 80 | 10000 |
//! | `LAKEKEEP_TESTS_LOAD_CLIENTS` | 4 | 16 |
//! | `LAKEKEEP_TESTS_LOAD_SECONDS` | 0 | 600: cycles go on at least so long |
//! | `LAKEKEEP_TESTS_LOAD_RAW` | none | a folder for every cycle's times and every sample |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lakekeep_api::v1;
use lakekeep_tests::manager::{
    ALICE, BOB, Manager, Sample, Setup, Talk, Times, Use, User, Work, cycle, shell,
};
use lakekeep_tests::{eventually_within, number_from_env};

/// Samples that the whole load is divided into.
const SAMPLES: u32 = 60;

/// Ended sandboxes that a manager remembers at most.
const REMEMBERED: usize = 1000;

/// Memory that a process may hold more at the load's end than in its middle, KiB.
///
/// Between the two, half of the cycles lie. What is kept of each cycle shows as its
/// size times their number; noise of the allocator does not grow with them.
const GROWTH: u64 = 3 << 10;

#[derive(Debug, Default)]
struct Found {
    cycles: Mutex<Vec<(Duration, Times)>>,
    samples: Mutex<Vec<(Duration, Sample)>>,
    errors: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much.
struct Sizes {
    live: usize,
    cycles: usize,
    clients: usize,
    least: Duration,
}

impl Sizes {
    fn read() -> Self {
        let seconds = number_from_env("LAKEKEEP_TESTS_LOAD_SECONDS", 0);
        Self {
            live: number_from_env("LAKEKEEP_TESTS_LOAD_LIVE", 12),
            cycles: number_from_env("LAKEKEEP_TESTS_LOAD_CYCLES", 80),
            clients: number_from_env("LAKEKEEP_TESTS_LOAD_CLIENTS", 4).max(1),
            least: Duration::from_secs(u64::try_from(seconds).unwrap()),
        }
    }
}

/// A sandbox that lives all the while, and its task, if it has one.
struct Living {
    sandbox: v1::Sandbox,
    talk: Option<Talk>,
}

const NAMES: [&str; 2] = [ALICE, BOB];

fn name(client: usize) -> &'static str {
    NAMES.get(client % NAMES.len()).unwrap()
}

/// Every fourth has a task that waits for a word.
fn populate(users: &[User], count: usize) -> Vec<Living> {
    let share = count.div_ceil(users.len());
    thread::scope(|scope| {
        let made: Vec<_> = users
            .iter()
            .enumerate()
            .map(|(at, user)| {
                let mine = share.min(count.saturating_sub(at * share));
                scope.spawn(move || (0..mine).map(|at| live(user, at)).collect::<Vec<_>>())
            })
            .collect();
        let made = made.into_iter().flat_map(|made| made.join().unwrap());
        made.collect()
    })
}

fn live(user: &User, at: usize) -> Living {
    let sandbox = user.sandbox(Work::of_cycle(at).request());
    let talk = at.is_multiple_of(4).then(|| {
        let script = "echo waits; read word; echo heard $word";
        let mut talk = user.exec(shell(&sandbox.id, script)).unwrap();
        talk.prints("waits");
        talk
    });
    Living { sandbox, talk }
}

/// Each of them still answers, and a task that waits hears its word.
fn examine(users: &[User], living: Vec<Living>) {
    thread::scope(|scope| {
        let mut shares: Vec<Vec<Living>> = users.iter().map(|_| Vec::new()).collect();
        for one in living {
            let at = users
                .iter()
                .position(|user| user.name() == one.sandbox.owner)
                .unwrap();
            shares.get_mut(at).unwrap().push(one);
        }
        for (user, share) in users.iter().zip(shares) {
            scope.spawn(move || {
                for Living { sandbox, talk } in share {
                    assert_eq!(user.run(&sandbox.id, "echo well").success(), "well");
                    if let Some(mut talk) = talk {
                        talk.give(b"word\n");
                        let done = talk.finish().unwrap();
                        assert_eq!(done.success(), "waits\nheard word");
                    }
                }
            });
        }
    });
}

/// The load: cycles by so many clients, sampled all the while.
fn load(manager: &Manager, sizes: &Sizes, found: &Found) -> Duration {
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let goes_on = || next.load(Ordering::Relaxed) < sizes.cycles || begun.elapsed() < sizes.least;
    // Paced, so that the cycles fill the time that they shall take.
    let due = |number: usize| {
        let share = u32::try_from(number.min(sizes.cycles)).unwrap();
        sizes.least * share / u32::try_from(sizes.cycles.max(1)).unwrap()
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..sizes.clients)
            .map(|client| {
                scope.spawn({
                    let (next, goes_on, due) = (&next, &goes_on, &due);
                    move || {
                        let user = manager.user(name(client));
                        while goes_on() {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            thread::sleep(due(number).saturating_sub(begun.elapsed()));
                            let at = begun.elapsed();
                            match cycle(&user, number) {
                                Ok(times) => lock(&found.cycles).push((at, times)),
                                Err(wrong) => {
                                    lock(&found.errors).push(format!("{number}: {wrong:?}"))
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        let (over, next) = (&over, &next);
        let sampler = scope.spawn(move || {
            let mut seen = 0;
            while !over.load(Ordering::Relaxed) {
                let done = next.load(Ordering::Relaxed).min(sizes.cycles);
                // A part of the cycles each, whatever they take.
                let part = done * usize::try_from(SAMPLES).unwrap() / sizes.cycles.max(1);
                if part >= seen {
                    lock(&found.samples).push((begun.elapsed(), manager.sample()));
                    seen = part + 1;
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        for client in clients {
            client.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        sampler.join().unwrap();
    });
    begun.elapsed()
}

#[test]
fn load_leaks_nothing_and_no_memory_grows() {
    let sizes = Sizes::read();
    let Some(manager) = Setup::new().launchers(2).start("load") else {
        return;
    };
    let pid = manager.pid().unwrap();
    let users = NAMES.map(|name| manager.user(name));
    let living = populate(&users, sizes.live);
    // Everything that is made once and for all is there after some cycles.
    for number in 0..20 {
        cycle(&users[number % 2], number).unwrap();
    }
    let before = manager.sample();
    eprintln!("with {} live: {}", living.len(), before.host);
    let found = Found::default();
    let took = load(&manager, &sizes, &found);
    let errors = lock(&found.errors).clone();
    report(&found, &before, took);
    assert!(
        errors.is_empty(),
        "{} errors:\n{}",
        errors.len(),
        errors.join("\n")
    );
    assert_eq!(manager.pid(), Some(pid), "the manager was started again");
    nothing_leaks(&manager, &before);
    memory_is_flat(&lock(&found.samples), sizes.cycles);
    examine(&users, living);
    manager.end();
}

/// With the same sandboxes alive, the same things exist, to the last one.
fn nothing_leaks(manager: &Manager, before: &Sample) {
    let mut now = manager.sample();
    let clean = eventually_within(Duration::from_secs(20), || {
        now = manager.sample();
        let same = now.host == before.host
            && now.launchers.descriptors == before.launchers.descriptors
            // The clients' connections are closed when the kernel says so.
            && now.manager.descriptors <= before.manager.descriptors;
        same.then_some(())
    });
    assert!(clean.is_some(), "before: {before:#?}\nafter: {now:#?}");
}

/// What each process holds in the last quarter of the load is what it held in the
/// second. The first is left out: until then allocators fill, and the memory of ended
/// sandboxes, of which the manager remembers only so many. Nothing is told by fewer
/// cycles than that.
fn memory_is_flat(samples: &[(Duration, Sample)], cycles: usize) {
    let quarter = samples.len() / 4;
    if cycles / 4 < REMEMBERED {
        eprintln!("{cycles} cycles tell nothing of memory that grows");
        return;
    }
    let mean = |from: usize, part: Part<Sample, Use>| {
        let some = samples.iter().skip(from).take(quarter);
        let sum: u64 = some.map(|(_, sample)| part(sample).pss).sum();
        sum / u64::try_from(quarter).unwrap()
    };
    let parts: [(&str, Part<Sample, Use>); 3] = [
        ("manager", |sample| sample.manager),
        ("supervisor", |sample| sample.supervisor),
        ("launchers", |sample| sample.launchers),
    ];
    for (what, part) in parts {
        let (middle, end) = (mean(quarter, part), mean(samples.len() - quarter, part));
        eprintln!("{what}: {middle} KiB in the second quarter, {end} KiB in the last");
        assert!(
            end <= middle + GROWTH,
            "{what} grows: {middle} KiB, then {end} KiB"
        );
    }
}

/// One figure of several.
type Part<Whole, Figure> = fn(&Whole) -> Figure;

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn report(found: &Found, before: &Sample, took: Duration) {
    let cycles = lock(&found.cycles);
    let samples = lock(&found.samples);
    let mut text = String::new();
    let rate = cycles.len() as f64 / took.as_secs_f64();
    writeln!(
        text,
        "{} cycles in {took:.1?}: {rate:.1} a second, {} errors",
        cycles.len(),
        lock(&found.errors).len()
    )
    .unwrap();
    let parts: [(&str, Part<Times, Duration>); 3] = [
        ("create", |times| times.create),
        ("exec", |times| times.exec),
        ("destroy", |times| times.destroy),
    ];
    for (what, part) in parts {
        let mut times: Vec<Duration> = cycles.iter().map(|(_, times)| part(times)).collect();
        times.sort_unstable();
        let (median, last) = (percentile(&times, 50), percentile(&times, 99));
        writeln!(text, "{what}: median {median:.1?}, p99 {last:.1?}").unwrap();
    }
    let start = Some(before);
    let middle = samples.get(samples.len() / 2).map(|(_, sample)| sample);
    let end = samples.last().map(|(_, sample)| sample);
    for (when, sample) in [("start", start), ("middle", middle), ("end", end)] {
        let sample = sample.copied().unwrap_or_default();
        for (who, of) in [
            ("manager", sample.manager),
            ("supervisor", sample.supervisor),
            ("launchers", sample.launchers),
        ] {
            let Use {
                rss,
                pss,
                descriptors,
                threads,
                cpu,
            } = of;
            writeln!(text, "{when}: {who}: rss {rss} KiB, pss {pss} KiB, {descriptors} descriptors, {threads} threads, {cpu} ms of cpu").unwrap();
        }
    }
    eprint!("{text}");
    if let Some(folder) = std::env::var_os("LAKEKEEP_TESTS_LOAD_RAW").map(PathBuf::from) {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("load.txt"), &text).unwrap();
        std::fs::write(folder.join("load-cycles.csv"), cycles_csv(&cycles)).unwrap();
        std::fs::write(folder.join("load-samples.csv"), samples_csv(&samples)).unwrap();
    }
}

fn cycles_csv(cycles: &[(Duration, Times)]) -> String {
    let mut text = String::from("at_ms,create_us,exec_us,destroy_us\n");
    for (at, times) in cycles {
        let [create, exec, destroy] =
            [times.create, times.exec, times.destroy].map(|time| time.as_micros());
        writeln!(text, "{},{create},{exec},{destroy}", at.as_millis()).unwrap();
    }
    text
}

fn samples_csv(samples: &[(Duration, Sample)]) -> String {
    let mut text = String::from("at_ms");
    for who in ["manager", "supervisor", "launchers"] {
        for what in ["rss_kib", "pss_kib", "descriptors", "threads", "cpu_ms"] {
            write!(text, ",{who}_{what}").unwrap();
        }
    }
    text.push_str(",processes,namespaces,groups,launcher_mounts,host_mounts,folders\n");
    for (at, sample) in samples {
        write!(text, "{}", at.as_millis()).unwrap();
        for Use {
            rss,
            pss,
            descriptors,
            threads,
            cpu,
        } in [sample.manager, sample.supervisor, sample.launchers]
        {
            write!(text, ",{rss},{pss},{descriptors},{threads},{cpu}").unwrap();
        }
        let host = sample.host;
        writeln!(
            text,
            ",{},{},{},{},{},{}",
            host.processes,
            host.namespaces,
            host.groups,
            host.mounts,
            host.host_mounts,
            host.folders
        )
        .unwrap();
    }
    text
}
