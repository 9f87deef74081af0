//! First-party drivers, each a contract implementation.
//!
//! They are linked into the engine or served as plugins; nothing here knows which. The daemon's list of
//! built-ins says which ones an engine has.

pub mod bridge;
pub mod cni;
mod interface;
pub mod ipam;
pub mod local;
pub mod logs;
pub mod overlay;
mod plain;
mod sublink;

pub use bridge::Bridge;
pub use cni::Cni;
pub use ipam::Ipam;
pub use local::Local;
pub use overlay::Overlay;
pub use plain::Plain;
pub use sublink::Sublink;

/// Does on a thread of its own kind what blocks.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, pintle_contract::DriverError> + Send + 'static,
) -> Result<T, pintle_contract::DriverError> {
    tokio::task::spawn_blocking(act)
        .await
        .unwrap_or_else(|error| Err(pintle_contract::DriverError::internal(error.to_string())))
}
