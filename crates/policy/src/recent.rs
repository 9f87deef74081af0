//! How much each user asked lately: what limits of rates are decided by.
//!
//! | key | what |
//! |---|---|
//! | `Minute`, `Hour` | requests of this user in the last 60 seconds and 60 minutes, before this one |
//! | `ChangesMinute`, `ChangesHour` | of these, such as change something: neither GET nor HEAD |

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use pintle_contract::authorization::Request;
use serde_json::{Value, json};

/// Users that are remembered. Beyond, whoever asked longest ago is forgotten.
const USERS: usize = 4096;

/// What a user asked lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recent {
    minute: u64,
    hour: u64,
    changes_minute: u64,
    changes_hour: u64,
}

impl Recent {
    pub(crate) fn to_value(self) -> Value {
        json!({
            "Minute": self.minute, "Hour": self.hour,
            "ChangesMinute": self.changes_minute, "ChangesHour": self.changes_hour,
        })
    }
}

/// The name that a user's requests are counted by.
pub fn who(request: &Request) -> String {
    match &request.peer {
        _ if !request.user.is_empty() => request.user.clone(),
        Some(peer) if !peer.name.is_empty() => peer.name.clone(),
        Some(peer) => format!("uid {}", peer.uid),
        None => String::new(),
    }
}

/// Counts in sixty slots, each of the same length.
#[derive(Debug, Clone)]
struct Window {
    slot: Duration,
    /// The newest slot's number.
    newest: u64,
    slots: [u32; 60],
}

impl Window {
    fn new(slot: Duration) -> Self {
        Self { slot, newest: 0, slots: [0; 60] }
    }

    /// How many there were in the last sixty slots; and one more from now on, if it counts.
    fn count(&mut self, since: Duration, counts: bool) -> u64 {
        let now = since.as_nanos() / self.slot.as_nanos().max(1);
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        for passed in 1..=now.saturating_sub(self.newest).min(60) {
            let at = usize::try_from((self.newest + passed) % 60).unwrap_or_default();
            if let Some(slot) = self.slots.get_mut(at) {
                *slot = 0;
            }
        }
        self.newest = self.newest.max(now);
        let before = self.slots.iter().map(|slot| u64::from(*slot)).sum();
        let at = usize::try_from(self.newest % 60).unwrap_or_default();
        if let Some(slot) = self.slots.get_mut(at).filter(|_| counts) {
            *slot = slot.saturating_add(1);
        }
        before
    }
}

#[derive(Debug, Clone)]
struct User {
    last: Duration,
    /// The request that was counted last, so that one that is asked about again counts once.
    time: String,
    minute: Window,
    hour: Window,
    changes_minute: Window,
    changes_hour: Window,
}

impl User {
    fn new() -> Self {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        Self {
            last: Duration::ZERO,
            time: String::new(),
            minute: Window::new(second),
            hour: Window::new(minute),
            changes_minute: Window::new(second),
            changes_hour: Window::new(minute),
        }
    }
}

/// Every user's counts.
#[derive(Debug)]
pub(crate) struct Counts {
    begun: Instant,
    users: Mutex<HashMap<String, User>>,
}

impl Counts {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), users: Mutex::default() }
    }

    /// What the user of a request asked before it, which counts from now on.
    pub(crate) fn take(&self, request: &Request) -> Recent {
        self.at(request, self.begun.elapsed())
    }

    fn at(&self, request: &Request, now: Duration) -> Recent {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let who = who(request);
        if !users.contains_key(&who)
            && users.len() >= USERS
            && let Some(oldest) = users.iter().min_by_key(|(_, user)| user.last).map(|(name, _)| name.clone())
        {
            users.remove(&oldest);
        }
        let user = users.entry(who).or_insert_with(User::new);
        let time = request.context.as_ref().map(|context| context.time.clone()).unwrap_or_default();
        let is_new = time.is_empty() || time != user.time;
        (user.time, user.last) = (time, now);
        let changes = is_new && !matches!(request.method.as_str(), "GET" | "HEAD");
        Recent {
            minute: user.minute.count(now, is_new),
            hour: user.hour.count(now, is_new),
            changes_minute: user.changes_minute.count(now, changes),
            changes_hour: user.changes_hour.count(now, changes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(user: &str, method: &str) -> Request {
        Request { user: user.to_owned(), method: method.to_owned(), ..Request::default() }
    }

    #[test]
    fn each_user_is_counted_for_a_minute_and_an_hour() {
        let counts = Counts::new();
        let at = |user, method, seconds| counts.at(&request(user, method), Duration::from_secs(seconds));
        assert_eq!(at("ann", "GET", 0), Recent::default());
        assert_eq!(at("ann", "POST", 1).minute, 1);
        let third = at("ann", "GET", 30);
        assert_eq!((third.minute, third.changes_minute, third.hour), (2, 1, 2));
        assert_eq!(at("bob", "GET", 30), Recent::default(), "somebody else");
        let later = at("ann", "GET", 75);
        assert_eq!((later.minute, later.changes_minute, later.hour), (1, 0, 3));
        assert_eq!(at("ann", "GET", 2 * 3600), Recent::default(), "all forgotten");
        // A clock of the suspended: nothing goes back, nothing panics.
        assert_eq!(at("ann", "GET", 10).minute, 1);
    }

    #[test]
    fn a_request_that_is_asked_about_again_counts_once_and_users_are_bounded() {
        let counts = Counts::new();
        let mut one = request("ann", "POST");
        one.context = Some(Box::new(pintle_contract::authorization::Context {
            time: "2026-11-27T00:00:00.000001Z".to_owned(),
            ..Default::default()
        }));
        for _ in 0..3 {
            counts.at(&one, Duration::ZERO);
        }
        assert_eq!(counts.at(&request("ann", "POST"), Duration::ZERO).minute, 1);
        for user in 0..(USERS as u64 + 10) {
            counts.at(&request(&format!("user{user}"), "GET"), Duration::from_secs(user));
        }
        assert_eq!(counts.users.lock().unwrap().len(), USERS);
    }
}
