//! How many connections live at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// As many places as connections may live; there can be fewer than connections that live already.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    most: usize,
    /// Places that are taken and are to be given back to nobody: there are fewer by now.
    owed: usize,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// So many.
    pub fn new(most: u32) -> Arc<Self> {
        let most = bounded(most);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(most)),
            state: Mutex::new(State { most, owed: 0 }),
        })
    }

    /// Other ones from now on. Who has a place keeps it.
    pub fn bound(&self, most: u32) {
        let most = bounded(most);
        let mut state = self.state();
        if most >= state.most {
            let more = most - state.most;
            let paid = more.min(state.owed);
            state.owed -= paid;
            self.free.add_permits(more - paid);
        } else {
            let fewer = state.most - most;
            state.owed += fewer - self.free.forget_permits(fewer);
        }
        state.most = most;
    }

    /// Whether all are taken.
    pub fn is_full(&self) -> bool {
        self.free.available_permits() == 0
    }

    /// The next that is free.
    pub async fn take(self: &Arc<Self>) -> Place {
        // An error: the semaphore was closed, which nobody does; nothing bounds them then.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        Place {
            places: Arc::clone(self),
            permit,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bounded(most: u32) -> usize {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    most.min(Semaphore::MAX_PERMITS)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state();
        if let Some(permit) = self.permit.take()
            && state.owed > 0
        {
            state.owed -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all that are free.
    async fn all(places: &Arc<Places>) -> Vec<Place> {
        let mut taken = Vec::new();
        while !places.is_full() {
            taken.push(places.take().await);
        }
        taken
    }

    #[tokio::test]
    async fn fewer_places_are_fewer_when_their_connections_end() {
        let places = Places::new(4);
        let mut taken = all(&places).await;
        places.bound(2);
        for _ in 0..2 {
            taken.pop();
            assert!(places.is_full());
        }
        taken.pop();
        assert_eq!(all(&places).await.len(), 1);
        taken.clear();
        assert_eq!(all(&places).await.len(), 2);
    }

    #[tokio::test]
    async fn more_places_pay_first_what_is_owed() {
        let places = Places::new(4);
        let taken = all(&places).await;
        places.bound(1);
        places.bound(3);
        assert!(places.is_full());
        places.bound(6);
        let more = all(&places).await;
        assert_eq!(more.len(), 2);
        drop((taken, more));
        assert_eq!(all(&places).await.len(), 6);
    }

    #[tokio::test]
    async fn free_places_go_at_once() {
        let places = Places::new(4);
        let one = places.take().await;
        places.bound(3);
        assert_eq!(all(&places).await.len(), 2);
        drop(one);
        assert_eq!(all(&places).await.len(), 3);
    }
}
