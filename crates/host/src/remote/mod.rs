//! The plugin protocol's client: the remote form of every contract.
//!
//! A [`Client`] is one plugin's address with its pooled connections, its [`Breaker`] and its counters. A call
//! has one budget that covers everything: waiting for a connection, sending, and reading the bounded answer.
//! Only connecting is retried; a request whose bytes may have reached the plugin is never sent again.

mod authorization;
mod breaker;
mod call;
mod client;
mod connect;
mod ipam;
mod log;
mod metrics;
mod network;
mod pipes;
mod tls;
mod volume;

pub use authorization::Authorization;
pub use breaker::BreakerState;
pub use call::{Budget, CallError};
pub use client::Client;
pub use ipam::Ipam;
pub use log::Log;
pub use metrics::Metrics;
pub use network::Network;
pub use volume::{PathMap, Volume};
