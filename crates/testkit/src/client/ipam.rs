use std::net::IpAddr;

use async_trait::async_trait;
use pintle_contract::{
    DriverError, IpamDriver,
    ipam::{Address, AddressRequest, AddressSpaces, IpamCapabilities, Pool, PoolRequest},
};
use pintle_wire::ipam::{Reply, Request as Call};

use super::{PluginClient, mismatch};

impl PluginClient {
    async fn ipam(&self, call: Call) -> Result<Reply, DriverError> {
        let method = call.method();
        let (status, body) = self.post(method.path(), call.encode().unwrap_or_default()).await?;
        Reply::decode(method, status, &body)
    }
}

#[async_trait]
impl IpamDriver for PluginClient {
    async fn capabilities(&self) -> Result<IpamCapabilities, DriverError> {
        match self.ipam(Call::Capabilities).await? {
            Reply::Capabilities(capabilities) => Ok(capabilities),
            other => Err(mismatch(&other)),
        }
    }

    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        match self.ipam(Call::AddressSpaces).await? {
            Reply::AddressSpaces(spaces) => Ok(spaces),
            other => Err(mismatch(&other)),
        }
    }

    async fn request_pool(&self, request: PoolRequest) -> Result<Pool, DriverError> {
        match self.ipam(Call::RequestPool(request)).await? {
            Reply::Pool(pool) => Ok(pool),
            other => Err(mismatch(&other)),
        }
    }

    async fn release_pool(&self, pool: &str) -> Result<(), DriverError> {
        self.ipam(Call::ReleasePool(pool.to_owned())).await.map(drop)
    }

    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        match self.ipam(Call::RequestAddress(request)).await? {
            Reply::Address(address) => Ok(address),
            other => Err(mismatch(&other)),
        }
    }

    async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), DriverError> {
        self.ipam(Call::ReleaseAddress { pool: pool.to_owned(), address }).await.map(drop)
    }
}
