//! The network drivers on real links and real packet filters, on a host made of namespaces.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod beside;
mod conformance;
mod isolation;
mod life;
mod ports;
mod sublink;
mod world;
