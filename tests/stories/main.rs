//! Stories: what a user does, told with the stock `docker` CLI (and with `pintle` in its place) against a real
//! engine on a fresh data root. They need root and the packages that `tests/run` installs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a story that cannot go on should stop"
)]

mod audit;
mod authorization;
mod build;
mod clients;
mod cni;
mod completion;
mod compose;
mod containers;
mod copies;
mod credentials;
mod daemon;
mod data_root;
mod faults;
mod foreign;
mod full_disk;
mod guide;
mod harness;
mod health;
mod host;
mod hub;
mod identity;
mod images;
mod interop;
mod ipam_leaks;
mod kill_sweep;
mod legacy;
mod letter;
mod log_drivers;
mod log_looking;
mod log_plugins;
mod logs;
mod many;
mod metrics;
mod neighbours;
mod network_faults;
mod network_limits;
mod networks;
mod operator;
mod package;
mod plugin_networks;
mod plugins;
mod policy;
mod quickstart;
mod registry;
mod remote_networks;
mod runtimes;
mod seed;
mod volumes;
mod workbench;
