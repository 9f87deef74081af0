//! The drivers of networks without links of their own: `host` and `null`.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use pintle_contract::{
    DriverError, ErrorKind, NetworkDriver,
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, GatewayCheck, Interface, Join, Joined,
        NetworkCapabilities, Options,
    },
};

/// The `host` and the `null` driver. Each has one network, in which nothing is made: containers there have the
/// host's interfaces, or none.
#[derive(Debug)]
pub struct Plain {
    name: &'static str,
    network: Mutex<Option<String>>,
}

impl Plain {
    /// The driver `host`.
    pub fn host() -> Self {
        Self { name: "host", network: Mutex::default() }
    }

    /// The driver `null`.
    pub fn null() -> Self {
        Self { name: "null", network: Mutex::default() }
    }
}

#[async_trait]
impl NetworkDriver for Plain {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        Ok(NetworkCapabilities { gateway_check: true, own_addresses: true, ..NetworkCapabilities::default() })
    }

    async fn gateway_check(&self, _options: &Options) -> Result<GatewayCheck, DriverError> {
        Ok(GatewayCheck { skip_ipv4: true, skip_ipv6: true })
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        if network.as_ref().is_some_and(|known| *known != request.network) {
            let text = format!("only one instance of \"{}\" network is allowed", self.name);
            return Err(DriverError::new(ErrorKind::PermissionDenied, text));
        }
        *network = Some(request.network);
        Ok(())
    }

    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        let mut known = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() == Some(network) {
            *known = None;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_one_network_of_each() {
        for driver in [Plain::host(), Plain::null()] {
            let make = |network: &str| {
                driver.create_network(CreateNetwork { network: network.into(), ..Default::default() })
            };
            make("a").await.unwrap();
            make("a").await.unwrap();
            let error = make("b").await.unwrap_err();
            assert_eq!(error.message, format!("only one instance of \"{}\" network is allowed", driver.name));
            driver.delete_network("b").await.unwrap();
            assert!(make("b").await.is_err());
            driver.delete_network("a").await.unwrap();
            make("b").await.unwrap();
            assert_eq!(
                driver.create_endpoint(CreateEndpoint::default()).await.unwrap(),
                Interface::default()
            );
            assert!(driver.join(Join::default()).await.unwrap().interface.is_none());
        }
    }
}
