use std::collections::BTreeMap;

use pintle_contract::NetworkDriver;
use pintle_wire::network::{Method, Reply, Request};

use super::Answer;

pub(super) async fn call(driver: &dyn NetworkDriver, method: Method, body: &[u8]) -> Answer {
    let request = match Request::decode(method, body) {
        Ok(request) => request,
        Err(error) => return Answer::unreadable(&error),
    };
    let done = |()| Reply::Done;
    let reply = match request {
        Request::Capabilities => driver.capabilities().await.map(Reply::Capabilities),
        Request::GatewayCheck(options) => driver.gateway_check(&options).await.map(Reply::GatewayCheck),
        // Swarm managers ask drivers of global scope; whatever there is to do is done in `create_network`.
        Request::AllocateNetwork(_) => Ok(Reply::Allocated(BTreeMap::new())),
        Request::FreeNetwork(_) => Ok(Reply::Done),
        Request::CreateNetwork(request) => driver.create_network(request).await.map(done),
        Request::DeleteNetwork(network) => driver.delete_network(&network).await.map(done),
        Request::CreateEndpoint(request) => driver.create_endpoint(request).await.map(Reply::Interface),
        Request::DeleteEndpoint(id) => driver.delete_endpoint(&id).await.map(done),
        Request::EndpointInfo(id) => driver.endpoint_info(&id).await.map(Reply::Info),
        Request::Join(request) => driver.join(request).await.map(Reply::Joined),
        Request::Leave(id) => driver.leave(&id).await.map(done),
        Request::ProgramExternalConnectivity { id, options } => {
            driver.program_external_connectivity(&id, &options).await.map(Reply::Published)
        }
        Request::RevokeExternalConnectivity(id) => driver.revoke_external_connectivity(&id).await.map(done),
        Request::DiscoverNew(Some(node)) => driver.discover_new(&node).await.map(done),
        Request::DiscoverDelete(Some(node)) => driver.discover_delete(&node).await.map(done),
        Request::DiscoverNew(None) | Request::DiscoverDelete(None) => Ok(Reply::Done),
    };
    Answer::of(reply, Reply::encode)
}
