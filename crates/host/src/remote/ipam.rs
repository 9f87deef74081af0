use std::{net::IpAddr, sync::Arc};

use pintle_contract::{
    DriverError, ErrorKind, IpamDriver,
    ipam::{Address, AddressRequest, AddressSpaces, Pool, PoolRequest},
};

use super::Client;

/// The IPAM contract, kept by a plugin. The inverse of `pintle_sdk`'s serving end.
#[derive(Debug)]
pub struct Ipam {
    client: Arc<Client>,
}

impl Ipam {
    /// The driver behind `client`.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    fn not_yet<T>(&self) -> Result<T, DriverError> {
        let address = self.client.address();
        Err(DriverError::new(ErrorKind::Unsupported, format!("IPAM plugins are not called yet ({address})")))
    }
}

#[async_trait::async_trait]
impl IpamDriver for Ipam {
    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        self.not_yet()
    }

    async fn request_pool(&self, _request: PoolRequest) -> Result<Pool, DriverError> {
        self.not_yet()
    }

    async fn release_pool(&self, _pool: &str) -> Result<(), DriverError> {
        self.not_yet()
    }

    async fn request_address(&self, _request: AddressRequest) -> Result<Address, DriverError> {
        self.not_yet()
    }

    async fn release_address(&self, _pool: &str, _address: IpAddr) -> Result<(), DriverError> {
        self.not_yet()
    }
}
