use std::{fmt, sync::Arc};

use async_trait::async_trait;
use pintle_contract::{DriverError, IpamDriver, NetworkDriver};

/// A driver that was found.
pub struct Found<D: ?Sized> {
    /// The driver.
    pub driver: Arc<D>,
    /// It is linked in: it knows only what this process tells it.
    pub forgets: bool,
}

impl<D: ?Sized> fmt::Debug for Found<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("forgets", &self.forgets).finish_non_exhaustive()
    }
}

/// Who knows the drivers by the names that stand in configurations.
#[async_trait]
pub trait Drivers: Send + Sync {
    /// The network driver `name`.
    async fn network(&self, name: &str) -> Result<Found<dyn NetworkDriver>, DriverError>;

    /// The IPAM driver `name`.
    async fn ipam(&self, name: &str) -> Result<Found<dyn IpamDriver>, DriverError>;
}
