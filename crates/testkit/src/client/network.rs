use std::collections::BTreeMap;

use async_trait::async_trait;
use pintle_contract::{
    DriverError, NetworkDriver, Value,
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, GatewayCheck, Interface, Join, Joined,
        NetworkCapabilities, Node, Options, PortBinding,
    },
};
use pintle_wire::network::{Reply, Request as Call};

use super::{PluginClient, mismatch};

impl PluginClient {
    /// `None` if the plugin does not have the method and may do without it.
    async fn network(&self, call: Call) -> Result<Option<Reply>, DriverError> {
        let method = call.method();
        let (status, body) = self.post(method.path(), call.encode().unwrap_or_default()).await?;
        if method.is_optional() && pintle_wire::is_missing(status, &body) {
            return Ok(None);
        }
        Reply::decode(method, status, &body).map(Some)
    }
}

#[async_trait]
impl NetworkDriver for PluginClient {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        match self.network(Call::Capabilities).await? {
            Some(Reply::Capabilities(capabilities)) => Ok(capabilities),
            other => Err(mismatch(&other)),
        }
    }

    async fn gateway_check(&self, options: &Options) -> Result<GatewayCheck, DriverError> {
        match self.network(Call::GatewayCheck(options.clone())).await? {
            Some(Reply::GatewayCheck(check)) => Ok(check),
            None => Ok(GatewayCheck::default()),
            other => Err(mismatch(&other)),
        }
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        self.network(Call::CreateNetwork(request)).await.map(drop)
    }

    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        self.network(Call::DeleteNetwork(network.to_owned())).await.map(drop)
    }

    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError> {
        match self.network(Call::CreateEndpoint(request)).await? {
            Some(Reply::Interface(interface)) => Ok(interface),
            other => Err(mismatch(&other)),
        }
    }

    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.network(Call::DeleteEndpoint(id.clone())).await.map(drop)
    }

    async fn endpoint_info(&self, id: &EndpointId) -> Result<BTreeMap<String, Value>, DriverError> {
        match self.network(Call::EndpointInfo(id.clone())).await? {
            Some(Reply::Info(info)) => Ok(info),
            None => Ok(BTreeMap::new()),
            other => Err(mismatch(&other)),
        }
    }

    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        match self.network(Call::Join(request)).await? {
            Some(Reply::Joined(joined)) => Ok(joined),
            other => Err(mismatch(&other)),
        }
    }

    async fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.network(Call::Leave(id.clone())).await.map(drop)
    }

    async fn program_external_connectivity(
        &self,
        id: &EndpointId,
        options: &Options,
    ) -> Result<Vec<PortBinding>, DriverError> {
        let call = Call::ProgramExternalConnectivity { id: id.clone(), options: options.clone() };
        match self.network(call).await? {
            Some(Reply::Published(ports)) => Ok(ports),
            None => Ok(Vec::new()),
            other => Err(mismatch(&other)),
        }
    }

    async fn revoke_external_connectivity(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.network(Call::RevokeExternalConnectivity(id.clone())).await.map(drop)
    }

    async fn discover_new(&self, node: &Node) -> Result<(), DriverError> {
        self.network(Call::DiscoverNew(Some(node.clone()))).await.map(drop)
    }

    async fn discover_delete(&self, node: &Node) -> Result<(), DriverError> {
        self.network(Call::DiscoverDelete(Some(node.clone()))).await.map(drop)
    }
}
