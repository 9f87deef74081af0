#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod fake;
mod property;
mod stories;
