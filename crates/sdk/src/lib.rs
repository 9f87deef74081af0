//! Serve a driver as a Docker plugin: implement one trait, call one function.
//!
//! ```no_run
//! use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, sync::Mutex};
//! use pintle_sdk::{CreateVolume, DriverError, MountId, Volume, VolumeDriver, async_trait};
//!
//! /// Directories below `/mnt`.
//! #[derive(Default)]
//! struct Folders(Mutex<BTreeMap<String, PathBuf>>);
//!
//! #[async_trait]
//! impl VolumeDriver for Folders {
//!     async fn create(&self, request: CreateVolume) -> Result<(), DriverError> {
//!         let path = PathBuf::from("/mnt").join(&request.name);
//!         std::fs::create_dir_all(&path)?;
//!         self.0.lock().map_err(|_| DriverError::internal("a call panicked"))?.insert(request.name, path);
//!         Ok(())
//!     }
//!     # async fn remove(&self, name: &str) -> Result<(), DriverError> { todo!() }
//!     # async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> { todo!() }
//!     # async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> { todo!() }
//!     # async fn get(&self, name: &str) -> Result<Volume, DriverError> { todo!() }
//!     # async fn list(&self) -> Result<Vec<Volume>, DriverError> { todo!() }
//!     // … remove, mount, unmount, get, list
//! }
//!
//! fn main() -> ExitCode {
//!     pintle_sdk::run(async { Ok(pintle_sdk::serve_volume("folders", Folders::default()).await?) })
//! }
//! ```
//!
//! The program is a plugin now: started by hand it is a legacy plugin that `docker volume create -d folders`
//! finds; packed with a `config.json` whose `interface.socket` is `folders.sock` it is a managed one. SIGTERM
//! stops it after the calls under way. What it writes to standard error is the plugin's log.
//!
//! Networks and addresses are served the same way ([`NetworkDriver`], [`serve_network`]; [`IpamDriver`],
//! [`serve_ipam`]), and so are decisions on what clients may do ([`Authorizer`], [`serve_authorization`]), and what takes containers' lines somewhere ([`LogDriver`], [`serve_log`]); one program can be several of them on one socket: `Server::network(driver).and_ipam(other)`.
//!
//! [`Server`] has the rest: other addresses, health, deadlines, stopping from code.

mod listen;
mod program;
mod server;
mod service;

pub use async_trait::async_trait;
pub use listen::{Listen, SOCKET_DIR, SPEC_DIR};

pub use ipnet;
pub use pintle_contract::{
    self as contract, Authorizer, CreateVolume, DriverError, ErrorKind, IpamDriver, LogDriver, LogEntry,
    LogStream, MountId, NetworkDriver, Scope, Value, Volume, VolumeCapabilities, VolumeDriver, authorization,
    ipam, log, network,
};
pub use program::run;
pub use server::{Address, Running, ServeError, Server};
pub use tokio;

/// Serves a volume driver as the plugin `name` until SIGTERM or SIGINT.
///
/// It listens on the socket that systemd passed, or else on `/run/docker/plugins/NAME.sock`, which is where
/// engines look for both kinds of plugins. The same as `Server::volume(driver).serve(Listen::auto(name))`.
pub async fn serve_volume(name: &str, driver: impl VolumeDriver) -> Result<(), ServeError> {
    Server::volume(driver).serve(Listen::auto(name)).await
}

/// Serves a network driver as the plugin `name` until SIGTERM or SIGINT, where [`serve_volume`] does.
pub async fn serve_network(name: &str, driver: impl NetworkDriver) -> Result<(), ServeError> {
    Server::network(driver).serve(Listen::auto(name)).await
}

/// Serves an IPAM driver as the plugin `name` until SIGTERM or SIGINT, where [`serve_volume`] does.
pub async fn serve_ipam(name: &str, driver: impl IpamDriver) -> Result<(), ServeError> {
    Server::ipam(driver).serve(Listen::auto(name)).await
}

/// Serves an authorizer as the plugin `name` until SIGTERM or SIGINT, where [`serve_volume`] does.
pub async fn serve_authorization(name: &str, authorizer: impl Authorizer) -> Result<(), ServeError> {
    Server::authorization(authorizer).serve(Listen::auto(name)).await
}

/// Serves a log driver as the plugin `name` until SIGTERM or SIGINT, where [`serve_volume`] does.
///
/// No more of a container's lines is read than the driver has acknowledged, and what it fails to take is handed over again.
pub async fn serve_log(name: &str, driver: impl LogDriver) -> Result<(), ServeError> {
    Server::log(driver).serve(Listen::auto(name)).await
}
