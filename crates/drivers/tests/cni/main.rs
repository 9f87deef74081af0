//! The `cni` driver with the reference plugins and with plugins that misbehave, in a namespace that plays the host: it
//! and everything in it end with the test. Needs root, and Debian's containernetworking-plugins.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod faults;
mod house;
mod library;
mod protocol;
mod reference;
mod trust;
