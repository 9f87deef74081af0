use std::{collections::BTreeMap, net::IpAddr};

use async_trait::async_trait;
use pintle_contract::{
    DriverError, IpamDriver, NetworkDriver, Value,
    ipam::{Address, AddressRequest, AddressSpaces, IpamCapabilities, Pool, PoolRequest},
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, GatewayCheck, Interface, Join, Joined,
        NetworkCapabilities, Node, Options, PortBinding,
    },
};
use pintle_wire::{
    ipam::{Reply as Given, Request as Wish},
    network::{Reply, Request},
};

use super::{Journal, journal};

/// A driver in front of another that does the work.
#[derive(Debug, Clone)]
pub struct Recorder<D> {
    driver: D,
    journal: Journal,
}

impl<D> Recorder<D> {
    /// Writes down in this journal what `driver` is asked.
    pub fn new(driver: D, journal: Journal) -> Self {
        Self { driver, journal }
    }

    async fn network<T: Clone>(
        &self,
        request: Request,
        asked: impl Future<Output = Result<T, DriverError>>,
        reply: impl FnOnce(T) -> Reply,
    ) -> Result<T, DriverError> {
        let encode = |answer: &T| reply(answer.clone()).encode();
        self.journal.note(journal::Request::Network(request), asked, encode).await
    }

    async fn ipam<T: Clone>(
        &self,
        request: Wish,
        asked: impl Future<Output = Result<T, DriverError>>,
        reply: impl FnOnce(T) -> Given,
    ) -> Result<T, DriverError> {
        let encode = |answer: &T| reply(answer.clone()).encode();
        self.journal.note(journal::Request::Ipam(request), asked, encode).await
    }
}

fn done(_: ()) -> Reply {
    Reply::Done
}

#[async_trait]
impl<D: NetworkDriver> NetworkDriver for Recorder<D> {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        self.network(Request::Capabilities, self.driver.capabilities(), Reply::Capabilities).await
    }

    async fn gateway_check(&self, options: &Options) -> Result<GatewayCheck, DriverError> {
        let request = Request::GatewayCheck(options.clone());
        self.network(request, self.driver.gateway_check(options), Reply::GatewayCheck).await
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        let asked = self.driver.create_network(request.clone());
        self.network(Request::CreateNetwork(request), asked, done).await
    }

    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        let request = Request::DeleteNetwork(network.to_owned());
        self.network(request, self.driver.delete_network(network), done).await
    }

    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError> {
        let asked = self.driver.create_endpoint(request.clone());
        self.network(Request::CreateEndpoint(request), asked, Reply::Interface).await
    }

    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        let request = Request::DeleteEndpoint(id.clone());
        self.network(request, self.driver.delete_endpoint(id), done).await
    }

    async fn endpoint_info(&self, id: &EndpointId) -> Result<BTreeMap<String, Value>, DriverError> {
        let request = Request::EndpointInfo(id.clone());
        self.network(request, self.driver.endpoint_info(id), Reply::Info).await
    }

    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        let asked = self.driver.join(request.clone());
        self.network(Request::Join(request), asked, Reply::Joined).await
    }

    async fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.network(Request::Leave(id.clone()), self.driver.leave(id), done).await
    }

    /// On the wire it is a leave like any other, so it is one here.
    async fn leave_ending(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.network(Request::Leave(id.clone()), self.driver.leave_ending(id), done).await
    }

    async fn program_external_connectivity(
        &self,
        id: &EndpointId,
        options: &Options,
    ) -> Result<Vec<PortBinding>, DriverError> {
        let request = Request::ProgramExternalConnectivity { id: id.clone(), options: options.clone() };
        let asked = self.driver.program_external_connectivity(id, options);
        self.network(request, asked, Reply::Published).await
    }

    async fn revoke_external_connectivity(&self, id: &EndpointId) -> Result<(), DriverError> {
        let request = Request::RevokeExternalConnectivity(id.clone());
        self.network(request, self.driver.revoke_external_connectivity(id), done).await
    }

    /// No plugin is told, so it is not written down.
    async fn retain(&self, networks: &[String], endpoints: &[EndpointId]) -> Result<(), DriverError> {
        self.driver.retain(networks, endpoints).await
    }

    async fn discover_new(&self, node: &Node) -> Result<(), DriverError> {
        let request = Request::DiscoverNew(Some(node.clone()));
        self.network(request, self.driver.discover_new(node), done).await
    }

    async fn discover_delete(&self, node: &Node) -> Result<(), DriverError> {
        let request = Request::DiscoverDelete(Some(node.clone()));
        self.network(request, self.driver.discover_delete(node), done).await
    }
}

#[async_trait]
impl<D: IpamDriver> IpamDriver for Recorder<D> {
    async fn capabilities(&self) -> Result<IpamCapabilities, DriverError> {
        self.ipam(Wish::Capabilities, self.driver.capabilities(), Given::Capabilities).await
    }

    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        self.ipam(Wish::AddressSpaces, self.driver.default_address_spaces(), Given::AddressSpaces).await
    }

    async fn request_pool(&self, request: PoolRequest) -> Result<Pool, DriverError> {
        let asked = self.driver.request_pool(request.clone());
        self.ipam(Wish::RequestPool(request), asked, Given::Pool).await
    }

    async fn release_pool(&self, pool: &str) -> Result<(), DriverError> {
        let request = Wish::ReleasePool(pool.to_owned());
        self.ipam(request, self.driver.release_pool(pool), |()| Given::Done).await
    }

    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        let asked = self.driver.request_address(request.clone());
        self.ipam(Wish::RequestAddress(request), asked, Given::Address).await
    }

    async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), DriverError> {
        let request = Wish::ReleaseAddress { pool: pool.to_owned(), address };
        self.ipam(request, self.driver.release_address(pool, address), |()| Given::Done).await
    }
}
