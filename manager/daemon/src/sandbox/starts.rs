//! Starts of tasks that may be asked for twice, because the answer was lost.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lakekeep_api::Reason;
use lakekeep_store::state::arguments_digest;
use serde::{Deserialize, Serialize};

use super::lock;
use crate::fault::Fault;

/// Starts of one sandbox that are remembered; the oldest are forgotten first.
const MOST: usize = 1024;

/// Longest word of a caller's for a start, bytes.
const LONGEST: usize = 64;

/// When to ask again for what is being answered.
const SOON: Duration = Duration::from_millis(100);

/// Who asked for a start, under which word, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    user: String,
    word: String,
    /// Digest of what shall run: the same word does not stand for something else.
    digest: String,
}

impl Asked {
    /// A start under a word; `None` where the caller gave none.
    ///
    /// # Errors
    /// `BadRequest` for a word that is too long.
    pub fn new(
        user: &str,
        word: &str,
        (arguments, folder): (&[Vec<u8>], &str),
    ) -> Result<Option<Self>, Fault> {
        if word.len() > LONGEST {
            let message = format!("request_id is longer than {LONGEST} bytes; make it shorter");
            return Err(Fault::new(Reason::BadRequest, message));
        }
        let words = arguments.iter().map(Vec::as_slice);
        let words: Vec<&[u8]> = words.chain([folder.as_bytes()]).collect();
        Ok((!word.is_empty()).then(|| Self {
            user: user.to_owned(),
            word: word.to_owned(),
            digest: arguments_digest(&words).to_string(),
        }))
    }

    fn key(&self) -> Key {
        (self.user.clone(), self.word.clone())
    }
}

type Key = (String, String);

/// The starts of one sandbox.
#[derive(Debug, Clone, Default)]
pub struct Starts(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
struct Books {
    known: HashMap<Key, Known>,
    order: VecDeque<Key>,
}

#[derive(Debug)]
struct Known {
    digest: String,
    /// `None`: it is being answered.
    task: Option<u32>,
}

/// What a start came to.
#[derive(Debug)]
pub enum Claim {
    /// Nobody asked for it before.
    New(Starting),
    /// It was answered with this task.
    Before(u32),
}

/// A start that is being answered. Dropped before it is done, it may be asked for again.
#[derive(Debug)]
pub struct Starting {
    starts: Starts,
    asked: Option<Asked>,
}

impl Starts {
    /// Claims a start; one without a word is always new.
    ///
    /// # Errors
    /// `Conflict` while it is being answered, with a hint when to ask again, and for a
    /// word that stood for something else.
    pub fn claim(&self, asked: Option<Asked>) -> Result<Claim, Fault> {
        if let Some(asked) = &asked {
            let mut books = lock(&self.0);
            if let Some(known) = books.known.get(&asked.key()) {
                return known.again(asked);
            }
            books.add(asked, None);
        }
        Ok(Claim::New(Starting {
            starts: self.clone(),
            asked,
        }))
    }

    /// Whether a start was answered already.
    pub fn answered(&self, asked: &Asked) -> bool {
        let books = lock(&self.0);
        let known = books.known.get(&asked.key());
        known.is_some_and(|known| known.task.is_some())
    }

    /// Remembers what an earlier manager answered.
    pub fn restore(&self, asked: &Asked, task: u32) {
        lock(&self.0).add(asked, Some(task));
    }
}

impl Known {
    fn again(&self, asked: &Asked) -> Result<Claim, Fault> {
        if self.digest != asked.digest {
            return Err(Fault::new(
                Reason::Conflict,
                "request_id stood for another command in this sandbox; choose another word",
            ));
        }
        self.task.map(Claim::Before).ok_or_else(|| {
            let message = "a start of this request_id is being answered; ask again";
            Fault::new(Reason::Conflict, message).retry_after(SOON)
        })
    }
}

impl Books {
    fn add(&mut self, asked: &Asked, task: Option<u32>) {
        let digest = asked.digest.clone();
        let known = Known { digest, task };
        if self.known.insert(asked.key(), known).is_none() {
            self.order.push_back(asked.key());
        }
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        self.known.remove(key);
        self.order.retain(|known| known != key);
    }
}

impl Starting {
    /// It was answered with this task.
    pub fn done(mut self, task: u32) {
        if let Some(asked) = self.asked.take()
            && let Some(known) = lock(&self.starts.0).known.get_mut(&asked.key())
        {
            known.task = Some(task);
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            lock(&self.starts.0).remove(&asked.key());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(user: &str, word: &str, program: &str) -> Option<Asked> {
        let arguments = [program.as_bytes().to_vec()];
        Asked::new(user, word, (&arguments, "")).unwrap()
    }

    fn new(starts: &Starts, user: &str, word: &str) -> Starting {
        match starts.claim(asked(user, word, "true")) {
            Ok(Claim::New(starting)) => starting,
            other => panic!("{other:?}"),
        }
    }

    fn before(starts: &Starts, user: &str, word: &str) -> Option<u32> {
        match starts.claim(asked(user, word, "true")) {
            Ok(Claim::Before(task)) => Some(task),
            _ => None,
        }
    }

    #[test]
    fn the_same_word_of_the_same_caller_is_one_start() {
        let starts = Starts::default();
        let first = new(&starts, "alice", "w");
        let meanwhile = starts.claim(asked("alice", "w", "true")).unwrap_err();
        assert_eq!(meanwhile.reason(), Reason::Conflict);
        first.done(7);
        assert_eq!(before(&starts, "alice", "w"), Some(7));
        new(&starts, "bob", "w").done(8);
        new(&starts, "alice", "").done(9);
        new(&starts, "alice", "").done(10);
        let other = starts.claim(asked("alice", "w", "false")).unwrap_err();
        assert!(other.to_string().contains("another command"), "{other}");
    }

    #[test]
    fn a_start_that_failed_can_be_asked_for_again() {
        let starts = Starts::default();
        drop(new(&starts, "alice", "w"));
        new(&starts, "alice", "w").done(1);
        assert_eq!(before(&starts, "alice", "w"), Some(1));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let starts = Starts::default();
        for number in 0..u32::try_from(MOST).unwrap() + 1 {
            new(&starts, "alice", &number.to_string()).done(number);
        }
        assert_eq!(lock(&starts.0).known.len(), MOST);
        assert_eq!(before(&starts, "alice", "1"), Some(1));
        drop(new(&starts, "alice", "0"));
        assert!(Asked::new("alice", &"w".repeat(65), (&[], "")).is_err());
    }

    #[test]
    fn a_successor_remembers() {
        let starts = Starts::default();
        starts.restore(&asked("alice", "w", "true").unwrap(), 3);
        assert_eq!(before(&starts, "alice", "w"), Some(3));
    }
}
