//! A plugin that misbehaves where it is told to, and works everywhere else.
//!
//! In process it listens on a socket of the test's; the programs `faulty-volume` and `faulty-network`
//! are the same as managed plugins, told by their environment. It writes HTTP by hand, since no library lets one do it wrong.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! use pintle_testkit::{client::PluginClient, faulty::Faulty, volume::ReferenceDriver};
//! use pintle_contract::VolumeDriver;
//! use pintle_sdk::Server;
//!
//! let dir = tempfile::tempdir()?;
//! let script = "list=err500:out of order*1".parse().map_err(std::io::Error::other)?;
//! let drivers = Server::volume(ReferenceDriver::temporary()?);
//! let plugin = Faulty::start(dir.path().join("f.sock"), drivers, script)?;
//! let client = PluginClient::unix(plugin.socket());
//! assert_eq!(client.list().await.map_err(|error| error.message), Err("VolumeDriver.List: out of order".into()));
//! assert!(client.list().await.is_ok(), "only the first call fails");
//! # Ok(()) }
//! ```

mod lie;
mod program;
mod script;
mod server;

pub use program::program;
pub use script::{Call, Fault, Script, ScriptError, duration};
pub use server::Faulty;
