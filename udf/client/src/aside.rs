//! Keeping who looks off the processors of the worker that it waits for.
//!
//! A sandbox with one processor to spend has one that it may use, and stays there. An engine's
//! thread that looks for an answer on the same one keeps the answer from being made.

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The processors of a worker, by its own word: a lie makes its own answers late.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// None where they are not known, or nothing can be done about them.
    worker: Option<CpuSet>,
}

impl Aside {
    /// Of a worker with these processors.
    pub(crate) fn of(processors: impl IntoIterator<Item = usize>) -> Self {
        let mut worker = CpuSet::new();
        let known = processors.into_iter();
        for processor in known.filter(|number| *number < CpuSet::MAX_CPU) {
            worker.set(processor);
        }
        Self {
            worker: Some(worker).filter(|set| set.count() > 0),
        }
    }

    /// Moves the calling thread to a processor that is not the worker's, if it is on one of
    /// those and may use another. It may use the same ones afterwards as before.
    pub(crate) fn step(&mut self) {
        let Some(worker) = &self.worker else { return };
        if !worker.is_set(sched_getcpu()) {
            return;
        }
        // An engine whose own filter refuses this, or that has no other: it stays where it is.
        if !matches!(leave(worker), Ok(true)) {
            self.worker = None;
        }
    }
}

/// Whether there was anywhere to go.
fn leave(worker: &CpuSet) -> Result<bool, Errno> {
    let usable = sched_getaffinity(None)?;
    let mut others = usable;
    for processor in (0..CpuSet::MAX_CPU).filter(|number| worker.is_set(*number)) {
        others.unset(processor);
    }
    if others.count() == 0 {
        return Ok(false);
    }
    sched_setaffinity(None, &others)?;
    sched_setaffinity(None, &usable)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that this thread may use.
    fn usable() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU)
            .filter(|number| set.is_set(*number))
            .collect()
    }

    #[test]
    fn who_is_on_the_workers_processor_leaves_it_and_may_use_what_it_could() {
        let before = usable();
        let [first, _, ..] = before.as_slice() else {
            eprintln!("one processor: nowhere to go");
            return;
        };
        // The scheduler may bring it back at any time: it need not stay, it must have left.
        let left = (0..100).any(|_| {
            let mut aside = Aside::of([*first]);
            aside.step();
            assert_eq!(usable(), before);
            sched_getcpu() != *first
        });
        assert!(left);
    }

    #[test]
    fn who_has_nowhere_to_go_stays_and_asks_no_more() {
        let before = usable();
        let mut aside = Aside::of(before.clone());
        aside.step();
        assert!(aside.worker.is_none());
        assert_eq!(usable(), before);
    }

    #[test]
    fn numbers_that_no_processor_has_are_nobodys() {
        assert!(Aside::of([CpuSet::MAX_CPU, usize::MAX]).worker.is_none());
        assert!(Aside::of([]).worker.is_none());
    }
}
