// A network plugin: each network is a bridge, each endpoint a pair of links, of which one end is a port of the bridge.
// Their names are made of the ids, so the kernel remembers everything, and a plugin that was killed goes on.

use std::env;
use std::process::ExitCode;

use pintle_netlink::{Error, Handle, LinkKind, LinkName, Namespace, NewLink};
use pintle_sdk::network::*;
use pintle_sdk::{DriverError, NetworkDriver, async_trait, ipnet::IpNet};

// Also called so in config.json, as `interface.socket`. A path to listen on in its place serves for trying it out.
const NAME: &str = "starter";

/// The host's namespace.
struct Driver(Namespace);

#[async_trait]
impl NetworkDriver for Driver {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        Ok(NetworkCapabilities::default())
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        if let Some(option) = request.generic().keys().next() {
            return Err(DriverError::invalid(format!("there is no option {option:?}")));
        }
        let (links, bridge) = (self.links()?, name("nb", &request.network)?);
        if !exists(&links, &bridge)? {
            links.add_link(&NewLink::new(bridge.clone(), LinkKind::Bridge).up()).map_err(failed)?;
        }
        for gateway in request.ipv4.iter().chain(&request.ipv6).filter_map(|pool| pool.gateway) {
            let undo = |_: &Error| drop(links.remove_link(&bridge));
            links.add_address(&bridge, gateway).inspect_err(undo).map_err(failed)?;
        }
        Ok(())
    }

    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        self.links()?.remove_link(&name("nb", network)?).map(drop).map_err(failed)
    }

    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError> {
        if !exists(&self.links()?, &name("nb", &request.id.network)?)? {
            return Err(DriverError::not_found("no such network"));
        }
        if !exists(&self.links()?, &name("np", &request.id.endpoint)?)? {
            self.plug(&request.id)?;
        }
        Ok(Interface::default()) // the engine has chosen the addresses
    }

    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.links()?.remove_link(&name("np", &id.endpoint)?).map(drop).map_err(failed)
    }

    async fn join(&self, Join { id, .. }: Join) -> Result<Joined, DriverError> {
        let (links, outer, inner) = (self.links()?, name("np", &id.endpoint)?, name("nc", &id.endpoint)?);
        if !exists(&links, &outer)? {
            return Err(DriverError::not_found("no such endpoint"));
        }
        if !exists(&links, &inner)? {
            links.remove_link(&outer).map_err(failed)?; // its other end stayed in a sandbox
            self.plug(&id)?;
        }
        let mut joined = Joined {
            interface: Some(InterfaceName { source: inner.to_string(), prefix: "eth".into(), ..Default::default() }),
            ..Joined::default()
        };
        for address in links.addresses(&name("nb", &id.network)?).map_err(failed)? {
            match address {
                IpNet::V4(address) => joined.gateway = Some(address.addr()),
                IpNet::V6(address) if address.addr().is_unicast_link_local() => {}
                IpNet::V6(address) => joined.gateway_v6 = Some(address.addr()),
            }
        }
        Ok(joined)
    }

    async fn leave(&self, _id: &EndpointId) -> Result<(), DriverError> {
        Ok(()) // the engine takes the interface out of the sandbox
    }
}

impl Driver {
    fn links(&self) -> Result<Handle, DriverError> {
        self.0.handle().map_err(failed)
    }

    fn plug(&self, id: &EndpointId) -> Result<(), DriverError> {
        let (bridge, outer) = (name("nb", &id.network)?, name("np", &id.endpoint)?);
        let (outer, inner) = (NewLink::new(outer, LinkKind::Peer).master(bridge).up(), name("nc", &id.endpoint)?);
        self.links()?.add_veth(&outer, &NewLink::new(inner, LinkKind::Peer), &self.0).map_err(failed)
    }
}

fn exists(links: &Handle, name: &LinkName) -> Result<bool, DriverError> {
    Ok(links.link(name).map_err(failed)?.is_some())
}

/// A link's name has 15 bytes at most.
fn name(prefix: &str, id: &str) -> Result<LinkName, DriverError> {
    format!("{prefix}{id:.12}").parse().map_err(|_| DriverError::invalid(format!("{id:?} is no id")))
}

fn failed(error: Error) -> DriverError {
    DriverError::internal(error.to_string())
}

fn main() -> ExitCode {
    let name = env::var("PLUGIN_NAME").unwrap_or(NAME.to_owned());
    pintle_sdk::run(async move {
        Ok(pintle_sdk::serve_network(&name, Driver(Namespace::current()?)).await?)
    })
}
