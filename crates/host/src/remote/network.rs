use std::sync::Arc;

use pintle_contract::{
    DriverError, ErrorKind, NetworkDriver,
    network::{CreateEndpoint, CreateNetwork, EndpointId, Interface, Join, Joined, NetworkCapabilities},
};

use super::Client;

/// The network contract, kept by a plugin. The inverse of `pintle_sdk`'s serving end.
#[derive(Debug)]
pub struct Network {
    client: Arc<Client>,
}

impl Network {
    /// The driver behind `client`.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    fn not_yet<T>(&self) -> Result<T, DriverError> {
        let address = self.client.address();
        Err(DriverError::new(
            ErrorKind::Unsupported,
            format!("network plugins are not called yet ({address})"),
        ))
    }
}

#[async_trait::async_trait]
impl NetworkDriver for Network {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        self.not_yet()
    }

    async fn create_network(&self, _request: CreateNetwork) -> Result<(), DriverError> {
        self.not_yet()
    }

    async fn delete_network(&self, _network: &str) -> Result<(), DriverError> {
        self.not_yet()
    }

    async fn create_endpoint(&self, _request: CreateEndpoint) -> Result<Interface, DriverError> {
        self.not_yet()
    }

    async fn delete_endpoint(&self, _id: &EndpointId) -> Result<(), DriverError> {
        self.not_yet()
    }

    async fn join(&self, _request: Join) -> Result<Joined, DriverError> {
        self.not_yet()
    }

    async fn leave(&self, _id: &EndpointId) -> Result<(), DriverError> {
        self.not_yet()
    }
}
