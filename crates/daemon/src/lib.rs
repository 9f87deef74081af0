//! The composition root: configuration, the parts in order, Docker's HTTP API, and the way down.
//!
//! | module | job |
//! |---|---|
//! | [`config`] | flags and `daemon.json` become a checked [`Config`] |
//! | `boot` | opens the parts in dependency order; brings up what was wanted |
//! | `daemon` | [`start`], [`Daemon`], [`run`]: signals, reload, drain |
//! | `listen`, `tls`, `peer`, `serve` | sockets, handshakes, who is at the other end, connections |
//! | `authorization` | what is judged is what is carried out |
//! | `http` | one request in, one answer out |
//! | `hijack` | connections that stop being HTTP |
//! | `routes` | one file for each resource of the API |
//! | `convert` | the API's shapes to and from the engine's |
//! | `status` | kinds of errors become HTTP statuses, here alone |
//! | `builtins`, `networking`, `quotas` | the drivers that are linked in; what the configuration says of networks, and the kernel of quotas |

mod app;
pub mod audit;
mod authorization;
mod boot;
mod builtins;
mod claim;
pub mod config;
mod convert;
mod daemon;
mod hijack;
mod http;
pub mod identity;
mod listen;
mod logging;
mod metrics;
mod networking;
mod notify;
mod peer;
mod quotas;
mod reload;
mod rights;
mod routes;
mod serve;
mod status;
mod tls;

pub use config::{Config, Options};
pub use daemon::{Daemon, run, start};
pub use logging::Log;
pub use networking::clear_networks;
