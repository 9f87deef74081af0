//! Discover, activate and call plugins; the managed-plugin life cycle.
//!
//! This is the only crate that speaks to plugins. Everything above it holds contracts
//! ([`pintle_contract::VolumeDriver`]) and cannot tell a plugin from a built-in driver.
//!
//! | module | job |
//! |---|---|
//! | `host` | the one handle that the engine holds |
//! | `plugin` | what a plugin looks like from outside |
//! | `remote` | the plugin protocol's client: pooled, budgeted, behind a breaker |
//! | `legacy` | plugins that somebody else started: discovery and activation |
//! | `managed` | plugins that we install, start, watch, upgrade and remove |
//! | `driver` | a plugin's contracts, as the engine holds them |
//! | `networks` | the networks that plugins are in |
//! | `lease` | who uses which plugin |
//! | `arrivals` | which plugins came up |
//! | `error` | what can go wrong, as kinds |

mod arrivals;
mod config;
mod driver;
mod error;
mod host;
mod lease;
mod legacy;
mod managed;
mod networks;
mod plugin;
pub mod remote;

pub use arrivals::{Arrival, Arrivals};
pub use config::HostConfig;
pub use driver::{
    AuthorizerRef, DriverRef, IpamDriverRef, LogDriverRef, MetricsCollectorRef, NetworkDriverRef,
    VolumeDriverRef,
};
pub use error::{ErrorKind, HostError};
pub use host::Host;
pub use lease::{Holder, Lease};
pub use legacy::locate;
pub use networks::{Guest, NetworkFacts, PluginNetworks, Room};
pub use plugin::{
    CallStats, EventSink, Plugin, PluginAction, PluginEvent, PluginFilters, PluginState, Pushed,
};
