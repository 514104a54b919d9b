//! What happens to sandboxes, for whoever follows it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::sync::broadcast;

use crate::meta::Meta;
use crate::sandbox::lock;

/// Events that a follower who comes late can still have.
const KEPT: usize = 4096;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A sandbox was made.
    Created,
    /// A sandbox was taken over from an earlier manager.
    Adopted,
    /// A task started.
    Started,
    /// A task ended.
    Exited,
    /// A sandbox stands still.
    Frozen,
    /// It goes on.
    Thawed,
    /// A sandbox ended.
    Ended,
}

impl What {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Adopted => "adopted",
            Self::Started => "started",
            Self::Exited => "exited",
            Self::Frozen => "frozen",
            Self::Thawed => "thawed",
            Self::Ended => "ended",
        }
    }
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Counts up, over all managers' lives, with gaps between them.
    pub number: u64,
    /// When.
    pub time: SystemTime,
    /// What.
    pub what: What,
    /// Of which sandbox.
    pub sandbox: String,
    /// Of which task; 0: of the sandbox itself.
    pub task: u32,
    /// Whose it is.
    pub owner: String,
    /// In which profile.
    pub profile: String,
    /// In words.
    pub detail: String,
}

/// Events that are kept, and those to come.
pub type Followed = (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>);

/// From where on events are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Those to come.
    Now,
    /// Those after this number.
    After(u64),
    /// All that are kept.
    Oldest,
}

/// Where events are told and heard.
#[derive(Debug, Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Before the first: later than any number of an earlier manager's.
    base: u64,
    kept: Mutex<VecDeque<Arc<Event>>>,
    sender: broadcast::Sender<Arc<Event>>,
}

impl Events {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let micros = since.map_or(0, |since| since.as_micros());
        let shared = Shared {
            base: u64::try_from(micros).unwrap_or(0),
            kept: Mutex::new(VecDeque::new()),
            sender: broadcast::Sender::new(KEPT),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Tells what happened to a sandbox or one of its tasks.
    pub fn tell(&self, meta: &Meta, task: u32, what: What, detail: &str) {
        let mut kept = lock(&self.shared.kept);
        let event = Arc::new(Event {
            number: kept.back().map_or(self.shared.base, |last| last.number) + 1,
            time: SystemTime::now(),
            what,
            sandbox: meta.id.clone(),
            task,
            owner: meta.owner.clone(),
            profile: meta.profile.clone(),
            detail: detail.to_owned(),
        });
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&event));
        // Told under the lock, or followers would hear events out of order.
        drop(self.shared.sender.send(event));
    }

    /// Those that are wanted and still kept, and what comes then; `None` when some between
    /// are kept no more.
    pub fn follow(&self, from: From) -> Option<Followed> {
        let kept = lock(&self.shared.kept);
        let oldest = kept
            .front()
            .map_or(self.shared.base + 1, |first| first.number);
        let after = match from {
            From::Now => u64::MAX,
            From::After(number) if number.saturating_add(1) < oldest => return None,
            From::After(number) => number,
            From::Oldest => 0,
        };
        let later = kept.iter().filter(|event| event.number > after);
        Some((later.cloned().collect(), self.shared.sender.subscribe()))
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> Arc<Event> {
        Arc::new(Event {
            number,
            time: SystemTime::now(),
            what: What::Created,
            sandbox: number.to_string(),
            task: 0,
            owner: "alice".to_owned(),
            profile: "p".to_owned(),
            detail: String::new(),
        })
    }

    fn numbers(events: &Events, from: From) -> Option<Vec<u64>> {
        let (kept, _) = events.follow(from)?;
        Some(kept.iter().map(|event| event.number).collect())
    }

    #[test]
    fn what_is_kept_is_told_from_where_it_is_wanted() {
        let events = Events::new();
        let base = events.shared.base;
        assert_eq!(numbers(&events, From::Oldest), Some(vec![]));
        lock(&events.shared.kept).extend((base + 5..base + 8).map(event));
        let all = vec![base + 5, base + 6, base + 7];
        assert_eq!(numbers(&events, From::Oldest), Some(all.clone()));
        assert_eq!(numbers(&events, From::After(base + 4)), Some(all));
        assert_eq!(
            numbers(&events, From::After(base + 6)),
            Some(vec![base + 7])
        );
        assert_eq!(numbers(&events, From::After(base + 3)), None);
        assert_eq!(numbers(&events, From::Now), Some(vec![]));
        assert_eq!(numbers(&events, From::After(u64::MAX)), Some(vec![]));
    }
}
