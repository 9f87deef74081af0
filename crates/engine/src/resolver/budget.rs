//! How many questions may wait for an answer from elsewhere at one time, over all sandboxes.
//!
//! A sandbox may have as many under way as places are still free: one alone gets half of all, two a third each, and
//! who has none under way finds room for as long as there is any. What finds none waits in its sandbox's line; lines
//! take turns.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Which sandbox, among those that share a budget.
pub(super) type Key = u64;

/// The places that all sandboxes share.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Places of each sandbox that has any.
    held: HashMap<Key, usize>,
    /// Sandboxes that wait, in the order of their turns; each once.
    turns: VecDeque<Key>,
    lines: HashMap<Key, VecDeque<oneshot::Sender<Place>>>,
}

impl State {
    fn admits(&self, key: Key, limit: usize) -> bool {
        self.held.get(&key).copied().unwrap_or(0) < limit.saturating_sub(self.taken)
    }

    fn take(&mut self, key: Key) {
        self.taken += 1;
        *self.held.entry(key).or_default() += 1;
    }

    fn give_back(&mut self, key: Key) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(held) = self.held.get_mut(&key) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&key);
            }
        }
    }

    /// The next in turn that may go, and its place in line.
    fn next(&mut self, limit: usize) -> Option<(Key, oneshot::Sender<Place>)> {
        for _ in 0..self.turns.len() {
            let key = self.turns.pop_front()?;
            let Some(line) = self.lines.get_mut(&key) else { continue };
            line.retain(|waiting| !waiting.is_closed());
            if line.is_empty() {
                self.lines.remove(&key);
                continue;
            }
            if !self.admits(key, limit) {
                self.turns.push_back(key);
                continue;
            }
            let line = self.lines.get_mut(&key)?;
            let next = line.pop_front();
            if line.is_empty() {
                self.lines.remove(&key);
            } else {
                self.turns.push_back(key);
            }
            return next.map(|waiting| (key, waiting));
        }
        None
    }
}

/// A place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    budget: Arc<Budget>,
    key: Key,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.budget.lock().give_back(self.key);
        self.budget.hand_out();
    }
}

impl Budget {
    /// So many places.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for this sandbox, as soon as there is one.
    pub(super) async fn place(self: &Arc<Self>, key: Key) -> Option<Place> {
        let waiting = {
            let mut state = self.lock();
            if !state.lines.contains_key(&key) && state.admits(key, self.limit) {
                state.take(key);
                return Some(Place { budget: Arc::clone(self), key });
            }
            let (sender, receiver) = oneshot::channel();
            let line = state.lines.entry(key).or_default();
            line.push_back(sender);
            if line.len() == 1 {
                state.turns.push_back(key);
            }
            receiver
        };
        waiting.await.ok()
    }

    /// Gives free places to those whose turn it is.
    fn hand_out(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.next(self.limit);
                if let Some((key, _)) = &next {
                    state.take(*key);
                }
                next
            };
            let Some((key, waiting)) = next else { return };
            // Whoever gave up meanwhile drops the place at once, outside of the lock.
            drop(waiting.send(Place { budget: Arc::clone(self), key }));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now(budget: &Arc<Budget>, key: Key) -> Option<Place> {
        use futures_util::FutureExt;
        budget.place(key).now_or_never().flatten()
    }

    #[test]
    fn one_gets_half_and_a_newcomer_finds_room() {
        let budget = Budget::new(8);
        let greedy: Vec<_> = std::iter::from_fn(|| now(&budget, 1)).collect();
        assert_eq!(greedy.len(), 4);
        let second: Vec<_> = std::iter::from_fn(|| now(&budget, 2)).collect();
        assert_eq!(second.len(), 2);
        assert!(now(&budget, 3).is_some());
    }

    #[tokio::test]
    async fn lines_take_turns() {
        let budget = Budget::new(4);
        let mut first = vec![now(&budget, 1).unwrap(), now(&budget, 1).unwrap()];
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for key in [1, 1, 1, 2, 2, 2] {
            let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
            tasks.spawn(async move {
                let place = budget.place(key).await.unwrap();
                order.lock().unwrap().push(key);
                tokio::task::yield_now().await;
                drop(place);
            });
            tokio::task::yield_now().await;
        }
        first.clear();
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let order = order.lock().unwrap().clone();
        assert_eq!(order.len(), 6);
        // The second sandbox, with nothing under way, does not stand behind all of the first one's.
        assert!(order.iter().position(|key| *key == 2).unwrap() < 3, "{order:?}");
        let state = budget.lock();
        assert!(state.taken == 0 && state.held.is_empty() && state.lines.is_empty(), "{state:?}");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_holds_nothing() {
        let budget = Budget::new(2);
        let place = now(&budget, 1).unwrap();
        assert!(now(&budget, 1).is_none(), "half of two");
        drop(place);
        assert!(now(&budget, 1).is_some());
        assert_eq!(budget.lock().taken, 0);
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_is_held(steps in proptest::collection::vec((0u64..5, any::<bool>()), 0..200)) {
            let budget = Budget::new(16);
            let mut places: Vec<Place> = Vec::new();
            for (key, take) in steps {
                if take {
                    places.extend(now(&budget, key));
                } else if !places.is_empty() {
                    places.remove(usize::try_from(key).unwrap() % places.len());
                }
                let state = budget.lock();
                prop_assert_eq!(state.taken, places.len());
                prop_assert!(state.taken <= 16);
                prop_assert!(state.held.values().all(|held| (1..=8).contains(held)), "nobody gets more than half");
                prop_assert_eq!(state.held.values().sum::<usize>(), places.len());
            }
        }
    }
}
