//! A volume plugin that misbehaves where it is told to, and works everywhere else.
//!
//! In process it listens on a socket of the test's; the program `faulty-volume` is the same as a managed
//! plugin, told by its environment. It writes HTTP by hand, since no library lets one do it wrong.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! use pintle_testkit::{client::VolumeClient, faulty::Faulty, volume::ReferenceDriver};
//! use pintle_contract::VolumeDriver;
//!
//! let dir = tempfile::tempdir()?;
//! let script = "list=err500:out of order*1".parse().map_err(std::io::Error::other)?;
//! let plugin = Faulty::start(dir.path().join("f.sock"), ReferenceDriver::temporary()?, script)?;
//! let client = VolumeClient::unix(plugin.socket());
//! assert_eq!(client.list().await.map_err(|error| error.message), Err("VolumeDriver.List: out of order".into()));
//! assert!(client.list().await.is_ok(), "only the first call fails");
//! # Ok(()) }
//! ```

mod script;
mod server;

pub use script::{Call, Fault, Script, ScriptError, duration};
pub use server::Faulty;
