//! Containers, builds, volumes, networks, events and authorization: state machines and reconciliation. Knows neither HTTP nor Docker's JSON.

pub mod authorization;
pub mod builder;
pub mod containers;
mod error;
pub mod events;
mod journal;
pub mod networks;
pub mod resolver;
pub mod volumes;

pub use error::{EngineError, ErrorKind};
pub use journal::{Changes, Journal, Pending};
