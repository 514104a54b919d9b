//! Ids out of a range, one for each user.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::name::UserName;

/// A range of ids, both ends included. One that exists lies between the least
/// numbers and the reserved ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManagedRange {
    first: u32,
    last: u32,
}

impl ManagedRange {
    pub(super) fn new(first: u32, last: u32) -> ManagedRange {
        ManagedRange { first, last }
    }

    /// The first id.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// The last id.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Whether the id is in it.
    pub fn contains(&self, id: u32) -> bool {
        (self.first..=self.last).contains(&id)
    }

    pub(super) fn overlaps(&self, other: &ManagedRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for ManagedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)
    }
}

/// Why a user has no id of a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManagedIdError {
    /// All are given away.
    #[error("every id of the range {range} is given away; make the rule's range larger")]
    Exhausted {
        /// The range.
        range: ManagedRange,
    },
    /// The store failed.
    #[error("the ids of the range {range} cannot be read or kept: {cause}; see the manager's log")]
    Store {
        /// The range.
        range: ManagedRange,
        /// Why.
        cause: String,
    },
    /// The store gave an id that is not one of the range.
    #[error("the store gave {id}, which is not of the range {range}; see the manager's log")]
    Outside {
        /// The range.
        range: ManagedRange,
        /// The id.
        id: u32,
    },
}

/// Keeps which user has which id. An implementation
///
/// - gives a user the same id of a range for ever, also after a restart, and
///   after the range grew: the owner of files on disk depends on it;
/// - never gives an id to a second user, also when the first is gone;
/// - has stored it durably when it answers.
pub trait ManagedIds {
    /// The user's id of the range; a new one at the first call.
    ///
    /// # Errors
    ///
    /// [`ManagedIdError::Exhausted`] and [`ManagedIdError::Store`].
    fn assign(&self, range: &ManagedRange, user: &UserName) -> Result<u32, ManagedIdError>;

    /// The user's id of the range, if there is one; assigns nothing.
    ///
    /// # Errors
    ///
    /// [`ManagedIdError::Store`].
    fn assigned(
        &self,
        range: &ManagedRange,
        user: &UserName,
    ) -> Result<Option<u32>, ManagedIdError>;
}

/// Ids that are kept in memory, and so for one process only: for tests, and for
/// showing what a configuration would do.
#[derive(Debug, Default)]
pub struct MemoryManagedIds {
    users: Mutex<BTreeMap<u32, UserName>>,
}

impl ManagedIds for MemoryManagedIds {
    fn assign(&self, range: &ManagedRange, user: &UserName) -> Result<u32, ManagedIdError> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_range = users.range(range.first..=range.last);
        if let Some((id, _)) = of_range.find(|(_, owner)| *owner == user) {
            return Ok(*id);
        }
        let free = (range.first..=range.last).find(|id| !users.contains_key(id));
        let id = free.ok_or(ManagedIdError::Exhausted { range: *range })?;
        users.insert(id, user.clone());
        Ok(id)
    }

    fn assigned(
        &self,
        range: &ManagedRange,
        user: &UserName,
    ) -> Result<Option<u32>, ManagedIdError> {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_range = users.range(range.first..=range.last);
        let found = of_range.find(|(_, owner)| *owner == user);
        Ok(found.map(|(id, _)| *id))
    }
}
