//! Metrics: who collects the engine's numbers.

use crate::DriverError;

/// The metrics contract. The numbers themselves are fetched by the collector, from a socket that the engine serves.
#[async_trait::async_trait]
pub trait MetricsCollector: Send + Sync + 'static {
    /// The engine's numbers can be fetched from now on. Asked again whenever the collector or the engine was started.
    async fn start(&self) -> Result<(), DriverError>;

    /// The engine goes down.
    async fn stop(&self) -> Result<(), DriverError>;
}
