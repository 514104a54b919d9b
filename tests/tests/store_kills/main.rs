//! Whoever pulls, loads or captures, sends or collects is killed at random moments. Each time everything in
//! the store is sound, nothing is half there, and the same done again comes to the same end.
//!
//! `LAKEKEEP_KILLS` says how often, `LAKEKEEP_SEED` repeats the moments of a run, which printed it. For many kills the
//! stores belong in memory: on a disk most of the time goes by in syncfs(2), which waits for whatever else the
//! machine has written. A kill loses nothing that the kernel has, there or here. Not in /dev/shm: no environment may
//! be in /dev. As root, in a mount table of its own:
//!
//! ```text
//! LAKEKEEP_KILLS=200 TMPDIR=/var/tmp unshare --mount sh -c 'mount -t tmpfs -o mode=1777 none /var/tmp &&
//!     cargo test --release -p lakekeep-tests --test store_kills -- --nocapture'
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../../images/unpack/tests/common/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;
#[path = "../../../images/content/tests/kills/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod kills;
mod local;
#[path = "../pull/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the rest is for other tests")]
mod pull;
mod stage;
mod upload;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lakekeep_tests::{eventually, skip};
use local::Stock;
use stage::{Look, Stage, entries};
use upload::Upload;

const PYTHON: &str = "/usr/bin/python3";

/// How often something is killed, where nothing is said.
const KILLS: u64 = 15;

/// Something that is done to stores, and killed.
trait Operation {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Chooses what is done next, and makes that there is something to do. How long all of it took before.
    fn prepare(&mut self, dice: &mut fastrand::Rng) -> Duration;

    /// Does it, and kills one of those who do it after this time. Whether it would have gone on.
    fn kill(&self, dice: &mut fastrand::Rng, after: Duration) -> bool;

    /// Does it to its end, and fails unless the same comes of it as the first time.
    fn again(&self);

    /// The stores that it changes.
    fn stores(&self) -> Vec<PathBuf>;

    /// Reads these stores through, as whoever starts next does. What it said.
    fn fsck(&self, store: &Path) -> std::process::Output;

    /// Fails unless everything in its stores is sound, and nothing unfinished is left.
    fn assert_sound(&self, when: &str) {
        for store in self.stores() {
            let checked = self.fsck(&store);
            assert!(checked.status.success(), "{when}: {}", pull::said(&checked));
            // A manager whose client was killed may be at work for a moment.
            eventually("the end of everything unfinished", || {
                entries(&store.join("drafts")).is_empty().then_some(())
            });
            let damaged = entries(&store.join("damaged"));
            assert!(damaged.is_empty(), "{when}: {damaged:?}");
            let known = [
                "blobs", "damaged", "drafts", "folders", "format", "lock", "names", "partial",
            ];
            let strange = entries(&store);
            let strange = strange
                .iter()
                .find(|path| !known.iter().any(|name| path.ends_with(name)));
            assert_eq!(strange, None, "{when}");
        }
    }

    /// Fails unless nothing is left that somebody else would have gone on with.
    fn assert_finished(&self, when: &str) {
        for store in self.stores() {
            let left = [
                entries(&store.join("partial")),
                entries(&store.join("../inbox")),
            ]
            .concat();
            assert!(left.is_empty(), "{when}: {left:?}");
        }
    }
}

/// How often which operation was killed in which stage.
struct Figures(Vec<(&'static str, [u64; 4])>);

impl Figures {
    fn count(&mut self, operation: usize, stage: Stage) {
        let column = Stage::ALL.iter().position(|one| *one == stage).unwrap();
        self.0[operation].1[column] += 1;
    }

    /// Of those that were killed.
    fn unended(&self) -> u64 {
        let rows = self.0.iter();
        rows.map(|(_, [before, within, between, _])| before + within + between)
            .sum()
    }

    fn print(&self) {
        println!(
            "{:10} {:>7} {:>7} {:>7} {:>7} {:>7}",
            "", "kills", "before", "within", "between", "ended"
        );
        for (name, [before, within, between, ended]) in &self.0 {
            let all = before + within + between + ended;
            println!("{name:10} {all:>7} {before:>7} {within:>7} {between:>7} {ended:>7}");
        }
    }
}

fn kill_all(operations: &mut [Box<dyn Operation + '_>], kills: u64) -> Figures {
    let mut dice = kills::dice();
    let names = operations
        .iter()
        .map(|operation| (operation.name(), [0; 4]));
    let mut figures = Figures(names.collect());
    for kill in 0..kills {
        let which = kill as usize % operations.len();
        let operation = &mut operations[which];
        let when = format!("kill {kill}, {}", operation.name());
        let whole = operation.prepare(&mut dice);
        let before = Look::at(&operation.stores());
        let after = kills::moment(&mut dice, whole);
        let going = operation.kill(&mut dice, after);
        let stage = Stage::of(going, &before, &Look::at(&operation.stores()));
        figures.count(which, stage);
        let when = format!("{when} after {after:?} of {whole:?}: {stage:?}");
        operation.assert_sound(&when);
        operation.again();
        operation.assert_sound(&when);
        operation.assert_finished(&when);
    }
    figures
}

#[test]
fn killed_at_any_moment_stores_are_sound_and_the_same_can_be_done_again() {
    if !Path::new(PYTHON).exists() {
        return skip("store_kills", "python", "there is no /usr/bin/python3");
    }
    let kills = kills::times(KILLS);
    let begun = Instant::now();
    let stock = Stock::new();
    let manager = upload::manager();
    let mut operations = local::operations(&stock);
    if let Some(manager) = &manager {
        operations.push(Box::new(Upload::new(manager)));
    }
    let figures = kill_all(&mut operations, kills);
    drop(operations);
    if let Some(manager) = manager {
        manager.end();
    }
    figures.print();
    println!("{kills} kills in {:.0?}", begun.elapsed());
    let unended = figures.unended();
    assert!(
        unended * 4 > kills,
        "{unended} of {kills} were killed before their end"
    );
    let rare = figures
        .0
        .iter()
        .find(|(_, stages)| stages[1] + stages[2] == 0);
    assert!(
        kills < 100 || rare.is_none(),
        "{rare:?} was never killed at work"
    );
}
