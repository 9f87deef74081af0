//! The driver contracts and their vocabulary.
//!
//! A contract is a trait with two homes: in process (a built-in driver) and behind a socket (a plugin).
//! `pintle-sdk` serves any contract on a socket, `pintle-host` calls one; the engine cannot tell which it
//! holds. This crate does no I/O and knows no JSON.

pub mod authorization;
mod error;
pub mod ipam;
pub mod log;
pub mod metrics;
pub mod network;
pub mod path;
mod value;
pub mod volume;

pub use authorization::Authorizer;
pub use error::{DriverError, ErrorKind};
pub use ipam::IpamDriver;
pub use log::{LogDriver, LogEntry, LogLines, LogStream};
pub use metrics::MetricsCollector;
pub use network::NetworkDriver;
pub use value::Value;
pub use volume::{CreateVolume, MountId, Scope, Volume, VolumeCapabilities, VolumeDriver};
