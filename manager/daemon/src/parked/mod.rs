//! Sandboxes made ahead of whoever asks for them.
//!
//! A parked sandbox is one like any other, made by the launcher, sealed and read back. It
//! is nobody's: it has a name of its own, the limits of its shape, no volume, and no task
//! but one that is ready: sealed, and without a command.
//! Whoever asks for one of its [`Shape`] gets it, whatever it takes to make it theirs is
//! done then, and it never comes back: it serves one trust key and dies.
//!
//! Shapes are learned: the first sandbox of a shape is made while its caller waits, and
//! from then on some are kept ready, until nobody has asked for a while. They are made
//! one at a time, when no caller is being served, and no faster than is configured: what
//! is asked for now goes before what may be asked for later. And each request earns one
//! and no more: nobody can make the manager work by thinking of shapes.
//!
//! They end with their manager: a launcher ends what nobody has told it to keep.

mod shape;
#[cfg(test)]
mod tests;
mod zygotes;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lakekeep_content::Pin;
use lakekeep_plan::Plan;
use lakekeep_sandbox::service::{self, Held};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Deserialize;
use tokio::sync::Notify;

use crate::launchers::{Launcher, Launchers};
use crate::metrics;
use crate::registry::identifier;
use crate::sandbox::lock;

pub use shape::{Divided, Late, Shape, divide};
use zygotes::Zygotes;
pub use zygotes::{Planned, Zygote, ZygoteDoc};

/// Nobody was served for so long: now there is time to make some ahead.
const QUIET: Duration = Duration::from_millis(20);

/// And after so long even if somebody always is: else a steady load would never find one.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What could not be made is not tried again at once.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// `[parked]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParkedDoc {
    /// Most that are kept ready of each shape; 0: none are made ahead.
    pub per_shape: usize,
    /// How many all together; shapes that were asked for least lately go without.
    pub most: usize,
    /// Most that are made in a second.
    pub per_second: u32,
    /// Nobody has asked for so many minutes: the shape is forgotten.
    pub minutes: u32,
}

impl Default for ParkedDoc {
    fn default() -> Self {
        Self {
            per_shape: 2,
            most: 64,
            per_second: 20,
            minutes: 10,
        }
    }
}

/// A sandbox made ahead. Whoever drops it must have ended it: [`Stock::end`].
#[derive(Debug)]
pub struct Parked {
    /// Its identifier.
    pub id: String,
    /// Who made it.
    pub launcher: Arc<Launcher>,
    /// As it was made.
    pub held: Held,
    /// What its tasks are forked of.
    pub zygote: Option<Arc<Zygote>>,
}

/// All of them. Clones are of the same.
#[derive(Debug, Clone)]
pub struct Stock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    doc: ParkedDoc,
    launchers: Launchers,
    shelves: Mutex<HashMap<Shape, Shelf>>,
    zygotes: Zygotes,
    /// Something may have to be made.
    changed: Notify,
    /// When a caller was last served.
    served: Mutex<Instant>,
    counts: metrics::Parked,
}

/// The sandboxes of one shape.
#[derive(Debug)]
struct Shelf {
    blank: Plan,
    /// With a task that is ready.
    has_task: bool,
    ready: VecDeque<Parked>,
    asked: Instant,
    /// Requests for which none has been made ahead yet.
    earned: usize,
    /// None is made before then.
    due: Option<Instant>,
    /// What tasks that are ready are forked of.
    zygote: Option<Arc<Planned>>,
    /// Keeps their image in its store.
    _image: Option<Arc<Pin>>,
}

/// What is made next.
type Lacking = (Shape, Plan, bool, Option<Arc<Planned>>);

impl Stock {
    /// Empty.
    pub fn new(doc: ParkedDoc, launchers: Launchers, counts: metrics::Parked) -> Self {
        let per_shape = doc.per_shape.min(doc.most);
        Self(Arc::new(Inner {
            doc: ParkedDoc { per_shape, ..doc },
            launchers,
            shelves: Mutex::default(),
            zygotes: Zygotes::default(),
            changed: Notify::new(),
            served: Mutex::new(Instant::now()),
            counts,
        }))
    }

    /// One of this shape, if there is one that lives. The shape is learned, and with it what
    /// `zygote` says.
    pub fn take(
        &self,
        divided: &Divided,
        zygote: impl FnOnce() -> Option<Planned>,
    ) -> Option<Parked> {
        let inner = &self.0;
        if inner.doc.per_shape == 0 {
            return None;
        }
        let now = Instant::now();
        *lock(&inner.served) = now;
        let mut dead = Vec::new();
        let found = {
            let mut shelves = lock(&inner.shelves);
            let shelf = shelves.entry(divided.shape).or_insert_with(|| Shelf {
                blank: divided.blank.clone(),
                has_task: divided.has_task(),
                ready: VecDeque::new(),
                asked: now,
                earned: 0,
                due: None,
                zygote: zygote().map(Arc::new),
                _image: divided.image.clone(),
            });
            shelf.asked = now;
            shelf.earned += 1;
            let found = loop {
                match shelf.ready.pop_front() {
                    Some(parked) if parked.lives() => break Some(parked),
                    Some(parked) => dead.push(parked),
                    None => break None,
                }
            };
            shelf.earn(dead.len(), inner.doc.per_shape);
            found
        };
        inner.counts.asked(found.is_some());
        inner.counts.ready(inner.count());
        inner.changed.notify_one();
        for parked in dead {
            tokio::spawn(Self::end(parked));
        }
        found
    }

    /// Whether any are made ahead.
    pub fn is_kept(&self) -> bool {
        self.0.doc.per_shape > 0
    }

    /// A claim of this shape could not be completed: for a while none of it is ready, and
    /// whoever asks waits.
    pub async fn spoiled(&self, shape: Shape) {
        let rest: Vec<Parked> = {
            let mut shelves = lock(&self.0.shelves);
            let shelf = shelves.get_mut(&shape);
            shelf.map_or_else(Vec::new, |shelf| {
                shelf.due = Some(Instant::now() + AFTER_FAILURE);
                shelf.ready.drain(..).collect()
            })
        };
        for parked in rest {
            Self::end(parked).await;
        }
    }

    /// Ends one that nobody will have, before what its tasks are forked of.
    pub async fn end(parked: Parked) {
        let id = parked.id.clone();
        let ended = parked
            .launcher
            .ask("destroy", move |service| service.destroy(&id));
        if ended.await.is_err() {
            // Its launcher is gone, and it with it.
        }
    }

    /// Ends those of shapes for which nobody has asked for long, and takes those away that
    /// have died.
    pub async fn tidy(&self, now: Instant) {
        self.0.hear_zygotes(now);
        let keep = Duration::from_secs(60 * u64::from(self.0.doc.minutes));
        let old: Vec<Parked> = {
            let mut shelves = lock(&self.0.shelves);
            let old = shelves.extract_if(|_, shelf| now.duration_since(shelf.asked) >= keep);
            let mut old: Vec<Parked> = old.flat_map(|(_, shelf)| shelf.ready).collect();
            for shelf in shelves.values_mut() {
                let all = std::mem::take(&mut shelf.ready);
                let (living, dead): (VecDeque<_>, VecDeque<_>) =
                    all.into_iter().partition(Parked::lives);
                shelf.ready = living;
                shelf.earn(dead.len(), self.0.doc.per_shape);
                old.extend(dead);
            }
            old
        };
        for parked in old {
            Self::end(parked).await;
        }
        self.0.counts.ready(self.0.count());
        self.0.changed.notify_one();
    }

    /// Makes what is lacking, for as long as the manager runs.
    pub async fn fill(self) {
        let inner = &self.0;
        if inner.doc.per_shape == 0 {
            return;
        }
        let pace = Duration::from_secs(1) / inner.doc.per_second.max(1);
        loop {
            let (next, again) = inner.next(Instant::now());
            let Some((shape, blank, has_task, zygote)) = next else {
                tokio::select! {
                    () = inner.changed.notified() => {}
                    () = tokio::time::sleep(again) => {}
                }
                continue;
            };
            inner.quiet().await;
            let began = Instant::now();
            if let Some(least) = inner.crowd_out(shape) {
                Self::end(least).await;
            }
            let made = inner.make((shape, blank, has_task, zygote)).await;
            inner.shelve(shape, made).await;
            tokio::time::sleep(pace.saturating_sub(began.elapsed())).await;
        }
    }
}

impl Shelf {
    /// What was made and died is made again.
    fn earn(&mut self, dead: usize, most: usize) {
        self.earned = (self.earned + dead).min(most.saturating_sub(self.ready.len()));
    }
}

impl Parked {
    /// Whether its init has not ended.
    fn lives(&self) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut ended = [PollFd::new(&self.held.pidfd, PollFlags::IN)];
        matches!(rustix::event::poll(&mut ended, Some(&now)), Ok(0))
    }
}

impl Inner {
    fn count(&self) -> usize {
        lock(&self.shelves)
            .values()
            .map(|shelf| shelf.ready.len())
            .sum()
    }

    /// What to make next, of the shape that was asked for last; else, when to look again.
    fn next(&self, now: Instant) -> (Option<Lacking>, Duration) {
        let shelves = lock(&self.shelves);
        let lacking = shelves
            .iter()
            .filter(|(_, shelf)| shelf.earned > 0 && shelf.ready.len() < self.doc.per_shape);
        let mut again = AFTER_FAILURE;
        let mut best: Option<(&Shape, &Shelf)> = None;
        for (shape, shelf) in lacking {
            if let Some(wait) = shelf.due.map(|due| due.saturating_duration_since(now))
                && !wait.is_zero()
            {
                again = again.min(wait);
                continue;
            }
            if best.is_none_or(|(_, known)| known.asked < shelf.asked) {
                best = Some((shape, shelf));
            }
        }
        (
            best.map(|(shape, shelf)| {
                let blank = shelf.blank.clone();
                (*shape, blank, shelf.has_task, shelf.zygote.clone())
            }),
            again,
        )
    }

    /// Where there are as many as there may be: one of the shape that was asked for least
    /// lately makes room for one of `shape`.
    fn crowd_out(&self, shape: Shape) -> Option<Parked> {
        let mut shelves = lock(&self.shelves);
        let total: usize = shelves.values().map(|shelf| shelf.ready.len()).sum();
        if total < self.doc.most {
            return None;
        }
        let others = shelves.iter_mut().filter(|(other, _)| **other != shape);
        let filled = others.filter(|(_, shelf)| !shelf.ready.is_empty());
        let (_, least) = filled.min_by_key(|(_, shelf)| shelf.asked)?;
        least.ready.pop_front()
    }

    /// Waits until nobody has been served for a moment.
    async fn quiet(&self) {
        let began = Instant::now();
        loop {
            let since = lock(&self.served).elapsed();
            if since >= QUIET || began.elapsed() >= LONGEST_WAIT {
                return;
            }
            tokio::time::sleep(QUIET.saturating_sub(since)).await;
        }
    }

    async fn make(&self, (shape, mut blank, has_task, planned): Lacking) -> Option<Parked> {
        let id = identifier().ok()?;
        blank.rename(&id);
        let launcher = self.launchers.idlest()?;
        let planned = planned.filter(|_| has_task);
        let zygote = match &planned {
            Some(planned) => {
                let sandbox = (&launcher, &mut blank);
                Some(self.zygotes.serve(shape, planned, sandbox).await.ok()?)
            }
            None => None,
        };
        let held = launcher.ask("park", move |service| {
            let held = service.create(&blank)?;
            if has_task {
                service::get_ready(&held.init, &blank)?;
            }
            Ok(held)
        });
        let Ok(held) = held.await else {
            // Were its zygote to blame, the next one's would not be.
            self.zygotes.discard(shape);
            return None;
        };
        Some(Parked {
            id,
            launcher,
            held,
            zygote,
        })
    }

    /// A zygote that has something to say serves no more, nor does another of its shape for
    /// as long as it is known: its sandboxes have their tasks executed.
    fn hear_zygotes(&self, now: Instant) {
        for (shape, words) in self.zygotes.complaints(now) {
            if let Some(shelf) = lock(&self.shelves).get_mut(&shape) {
                shelf.zygote = None;
            }
            tracing::warn!(
                "a zygote serves no more; does its interpreter import what it shall? {words}"
            );
        }
    }

    async fn shelve(&self, shape: Shape, made: Option<Parked>) {
        let unwanted = {
            let mut shelves = lock(&self.shelves);
            match (shelves.get_mut(&shape), made) {
                (Some(shelf), Some(parked)) => {
                    shelf.ready.push_back(parked);
                    shelf.earned = shelf.earned.saturating_sub(1);
                    shelf.due = None;
                    None
                }
                (Some(shelf), None) => {
                    shelf.due = Some(Instant::now() + AFTER_FAILURE);
                    None
                }
                // Forgotten meanwhile.
                (_, made) => made,
            }
        };
        if let Some(parked) = unwanted {
            Stock::end(parked).await;
        }
        self.counts.ready(self.count());
    }
}
