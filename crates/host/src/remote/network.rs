use std::{collections::BTreeMap, fmt::Display, sync::Arc, time::Duration};

use ipnet::IpNet;
use pintle_contract::{
    DriverError, NetworkDriver, Value,
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, GatewayCheck, Interface, Join, Joined,
        NetworkCapabilities, Node, Options, PortBinding,
    },
};
use pintle_wire::network::{Method, Reply, Request};
use tokio::sync::OnceCell;

use super::{Budget, Client};

/// For calls that change something.
const LONG: Duration = Duration::from_secs(60);
/// For calls that ask.
const SHORT: Duration = Duration::from_secs(10);
/// For what only people want to know.
const BRIEF: Duration = Duration::from_secs(2);
/// How long a call waits for a plugin that is just being started again.
const PATIENCE: Duration = Duration::from_secs(2);

fn budget(method: Method) -> Budget {
    match method {
        Method::EndpointOperInfo => Budget::once(BRIEF),
        Method::GetCapabilities | Method::GwAllocCheck => Budget { total: SHORT, connect: PATIENCE },
        Method::DiscoverNew | Method::DiscoverDelete => Budget::once(SHORT),
        _ => Budget { total: LONG, connect: PATIENCE },
    }
}

/// The network contract, kept by a plugin. The inverse of `pintle_sdk`'s serving end.
///
/// Calls that a plugin may do without and does not have do nothing. An answer that cannot be believed is undone at
/// once, so that an error of this driver means what the contract says: nothing was left.
#[derive(Debug)]
pub struct Network {
    client: Arc<Client>,
    /// Asked once for each life of a plugin.
    capabilities: OnceCell<NetworkCapabilities>,
}

impl Network {
    /// The driver behind `client`.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client, capabilities: OnceCell::new() }
    }

    /// `None` if the plugin does not have the method and may do without it.
    async fn try_call(&self, request: &Request) -> Result<Option<serde_json::Value>, DriverError> {
        let method = request.method();
        let (status, body) = self.client.call(method.path(), request.encode(), budget(method)).await?;
        if method.is_optional() && pintle_wire::is_missing(status, &body) {
            return Ok(None);
        }
        Reply::accept(method, status, &body)
            .inspect_err(|error| self.client.note_failure(method.name(), &error.message))
            .map(Some)
    }

    async fn call(&self, request: &Request) -> Result<Option<Reply>, DriverError> {
        let Some(value) = self.try_call(request).await? else { return Ok(None) };
        self.read(request.method(), &value).map(Some)
    }

    fn read(&self, method: Method, value: &serde_json::Value) -> Result<Reply, DriverError> {
        Reply::read(method, value)
            .inspect_err(|error| self.client.note_failure(method.name(), &error.message))
    }

    async fn done(&self, request: Request) -> Result<(), DriverError> {
        self.call(&request).await.map(drop)
    }

    /// `error`, after what led to it was undone by `inverse`.
    async fn rolled_back(&self, error: DriverError, inverse: Request) -> DriverError {
        let outcome = match self.done(inverse).await {
            Ok(()) => "rolled back".to_owned(),
            Err(failure) => format!("failed to roll back: {failure}"),
        };
        DriverError::new(error.kind, format!("{error}; {outcome}"))
    }
}

/// [`Reply::read`] answers in the shape of the method, so this is never seen; yet it is no panic.
fn misfit(method: Method) -> DriverError {
    DriverError::internal(format!("{}: the answer belongs to another method", method.name()))
}

/// What the driver settled, which may only be what the engine left open. To say again what was given is allowed.
fn settled(given: &Interface, answered: Interface) -> Result<Interface, DriverError> {
    fn open<T: PartialEq + Display>(
        what: &str,
        given: Option<T>,
        answered: Option<T>,
    ) -> Result<Option<T>, DriverError> {
        match (given, answered) {
            (Some(given), Some(answered)) if given != answered => Err(DriverError::internal(format!(
                "driver modified interface {what}: {given} was given, {answered} was answered"
            ))),
            (Some(_), _) => Ok(None),
            (None, answered) => Ok(answered),
        }
    }
    for (address, is_right) in [
        (answered.address, matches!(answered.address, None | Some(IpNet::V4(_)))),
        (answered.address_v6, matches!(answered.address_v6, None | Some(IpNet::V6(_)))),
    ] {
        if let (Some(address), false) = (address, is_right) {
            return Err(DriverError::internal(format!("{address} is not of the family that it stands for")));
        }
    }
    Ok(Interface {
        mac: open("MAC address", given.mac, answered.mac)?,
        address: open("address", given.address, answered.address)?,
        address_v6: open("address", given.address_v6, answered.address_v6)?,
    })
}

#[async_trait::async_trait]
impl NetworkDriver for Network {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        let asked = self.capabilities.get_or_try_init(|| async {
            match self.call(&Request::Capabilities).await? {
                Some(Reply::Capabilities(capabilities)) => Ok(capabilities),
                _ => Err(misfit(Method::GetCapabilities)),
            }
        });
        asked.await.copied()
    }

    async fn gateway_check(&self, options: &Options) -> Result<GatewayCheck, DriverError> {
        match self.call(&Request::GatewayCheck(options.clone())).await? {
            Some(Reply::GatewayCheck(check)) => Ok(check),
            Some(_) => Err(misfit(Method::GwAllocCheck)),
            None => Ok(GatewayCheck::default()),
        }
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        self.done(Request::CreateNetwork(request)).await
    }

    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        self.done(Request::DeleteNetwork(network.to_owned())).await
    }

    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError> {
        let (id, given) = (request.id.clone(), request.interface.clone());
        let Some(value) = self.try_call(&Request::CreateEndpoint(request)).await? else {
            return Err(misfit(Method::CreateEndpoint));
        };
        let interface = match self.read(Method::CreateEndpoint, &value) {
            Ok(Reply::Interface(answered)) => settled(&given, answered),
            Ok(_) => Err(misfit(Method::CreateEndpoint)),
            Err(error) => Err(error),
        };
        match interface {
            Ok(interface) => Ok(interface),
            Err(error) => Err(self.rolled_back(error, Request::DeleteEndpoint(id)).await),
        }
    }

    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.done(Request::DeleteEndpoint(id.clone())).await
    }

    async fn endpoint_info(&self, id: &EndpointId) -> Result<BTreeMap<String, Value>, DriverError> {
        match self.call(&Request::EndpointInfo(id.clone())).await? {
            Some(Reply::Info(info)) => Ok(info),
            Some(_) => Err(misfit(Method::EndpointOperInfo)),
            None => Ok(BTreeMap::new()),
        }
    }

    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        let id = request.id.clone();
        let Some(value) = self.try_call(&Request::Join(request)).await? else {
            return Err(misfit(Method::Join));
        };
        match self.read(Method::Join, &value) {
            Ok(Reply::Joined(joined)) => Ok(joined),
            Ok(_) => Err(self.rolled_back(misfit(Method::Join), Request::Leave(id)).await),
            Err(error) => Err(self.rolled_back(error, Request::Leave(id)).await),
        }
    }

    async fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.done(Request::Leave(id.clone())).await
    }

    async fn program_external_connectivity(
        &self,
        id: &EndpointId,
        options: &Options,
    ) -> Result<Vec<PortBinding>, DriverError> {
        let request = Request::ProgramExternalConnectivity { id: id.clone(), options: options.clone() };
        match self.call(&request).await? {
            Some(Reply::Published(ports)) => Ok(ports),
            Some(_) => Err(misfit(Method::ProgramExternalConnectivity)),
            None => Ok(Vec::new()),
        }
    }

    async fn revoke_external_connectivity(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.done(Request::RevokeExternalConnectivity(id.clone())).await
    }

    async fn discover_new(&self, node: &Node) -> Result<(), DriverError> {
        self.done(Request::DiscoverNew(Some(node.clone()))).await
    }

    async fn discover_delete(&self, node: &Node) -> Result<(), DriverError> {
        self.done(Request::DiscoverDelete(Some(node.clone()))).await
    }
}
