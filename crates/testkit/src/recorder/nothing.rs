use async_trait::async_trait;
use pintle_contract::{
    DriverError, NetworkDriver,
    network::{CreateEndpoint, CreateNetwork, EndpointId, Interface, Join, Joined, NetworkCapabilities},
};

/// A network driver that agrees to everything and does nothing. Its containers have loopback alone, and no way out of
/// the engine's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

#[async_trait]
impl NetworkDriver for Nothing {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        Ok(NetworkCapabilities { gateway_check: true, ..NetworkCapabilities::default() })
    }

    async fn create_network(&self, _request: CreateNetwork) -> Result<(), DriverError> {
        Ok(())
    }

    async fn delete_network(&self, _network: &str) -> Result<(), DriverError> {
        Ok(())
    }

    async fn create_endpoint(&self, _request: CreateEndpoint) -> Result<Interface, DriverError> {
        Ok(Interface::default())
    }

    async fn delete_endpoint(&self, _id: &EndpointId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn join(&self, _request: Join) -> Result<Joined, DriverError> {
        Ok(Joined { disable_gateway_service: true, ..Joined::default() })
    }

    async fn leave(&self, _id: &EndpointId) -> Result<(), DriverError> {
        Ok(())
    }
}
