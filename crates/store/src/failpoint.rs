//! Places where a test may make the engine die, to prove that the next one recovers.
//!
//! `PINTLE_FAILPOINT=name` aborts the process when it comes by `failpoint!("name")`, `name@3` when it does so
//! for the third time. Compiled to nothing in release builds without the `failpoints` feature.

/// Dies here if the environment says so. See [`mod@crate::failpoint`].
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        $crate::failpoint::reached($name)
    };
}

/// What [`failpoint!`](crate::failpoint!) calls.
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub fn reached(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };

    static ARMED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("PINTLE_FAILPOINT").ok()?;
        let (name, count) = match text.rsplit_once('@') {
            Some((name, count)) => (name.to_owned(), count.parse().ok()?),
            None => (text, 1),
        };
        Some((name, AtomicU32::new(count)))
    });
    if let Some((armed, left)) = armed
        && armed == name
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

/// What [`failpoint!`](crate::failpoint!) calls.
#[cfg(not(any(debug_assertions, feature = "failpoints")))]
#[inline(always)]
pub fn reached(_name: &str) {}
