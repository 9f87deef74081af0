//! A network plugin: containers as hosts of the local network, on a bridge that the host has. See README.md.

use std::{env, fs, io, net::IpAddr, path::PathBuf, process::ExitCode};

use pintle_netlink::{Handle, LinkKind, LinkName, Namespace, NewLink, PortOptions};
use pintle_sdk::{DriverError, ErrorKind, NetworkDriver, async_trait, network::*};
use serde::{Deserialize, Serialize};

/// `STATE/NETWORK.json`. Endpoints are pairs of links, and the kernel knows those.
#[derive(Serialize, Deserialize, PartialEq)]
struct Record {
    bridge: String,
    isolate: bool,
    gateways: Vec<IpAddr>,
}

struct Lan {
    host: Namespace,
    state: PathBuf,
}

impl Lan {
    fn open(state: PathBuf) -> Result<Self, DriverError> {
        fs::create_dir_all(&state)?;
        Ok(Self { host: Namespace::current().map_err(failed)?, state })
    }

    fn links(&self) -> Result<Handle, DriverError> {
        self.host.handle().map_err(failed)
    }

    fn file(&self, network: &str) -> Result<PathBuf, DriverError> {
        if network.is_empty() || !network.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(DriverError::not_found(format!("no such network: {network}")));
        }
        Ok(self.state.join(format!("{network}.json")))
    }

    fn load(&self, network: &str) -> Result<Record, DriverError> {
        let missing = |_| DriverError::not_found(format!("no such network: {network}"));
        let text = fs::read(self.file(network)?).map_err(missing)?;
        Ok(serde_json::from_slice(&text).map_err(io::Error::from)?)
    }

    /// A pair of links, of which one end is a port of the bridge.
    fn plug(&self, record: &Record, id: &EndpointId) -> Result<(), DriverError> {
        let (links, outer, inner) = (self.links()?, name("lan", id)?, name("lai", id)?);
        let port = NewLink::new(outer.clone(), LinkKind::Peer).master(link_name(&record.bridge)?).up();
        links.add_veth(&port, &NewLink::new(inner, LinkKind::Peer), &self.host).map_err(failed)?;
        let options = PortOptions { isolated: Some(record.isolate), ..PortOptions::default() };
        let undo = |_: &_| drop(links.remove_link(&outer));
        links.change_port(&outer, options).inspect_err(undo).map_err(failed)
    }
}

#[async_trait]
impl NetworkDriver for Lan {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        Ok(NetworkCapabilities::default())
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        let mut options = request.generic();
        let bridge = options.remove("bridge").ok_or_else(|| DriverError::invalid("give -o bridge=NAME"))?;
        let isolate = options.remove("isolate").is_some_and(|text| text == "true");
        if let Some(odd) = options.keys().next() {
            return Err(DriverError::invalid(format!("there is no option {odd:?}: bridge, isolate")));
        }
        if request.internal() {
            return Err(DriverError::new(ErrorKind::Unsupported, "the bridge is not this plugin's to close"));
        }
        if self.links()?.link(&link_name(&bridge)?).map_err(failed)?.is_none_or(|link| link.kind != "bridge")
        {
            return Err(DriverError::invalid(format!("this host has no bridge called {bridge}")));
        }
        let pools = request.ipv4.iter().chain(&request.ipv6);
        let gateways = pools.filter_map(|pool| Some(pool.gateway?.addr())).collect();
        let record = Record { bridge, isolate, gateways };
        if self.load(&request.network).is_ok_and(|known| known != record) {
            return Err(DriverError::new(ErrorKind::Conflict, "the network exists and is another"));
        }
        let (file, draft) = (self.file(&request.network)?, self.state.join(request.network + ".new"));
        fs::write(&draft, serde_json::to_vec(&record).map_err(io::Error::from)?)?;
        fs::File::open(&draft)?.sync_all()?; // a kill leaves no file or the whole one
        Ok(fs::rename(draft, file)?)
    }

    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        match self.file(network).map(fs::remove_file) {
            Ok(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError> {
        let record = self.load(&request.id.network)?;
        if self.links()?.link(&name("lan", &request.id)?).map_err(failed)?.is_none() {
            self.plug(&record, &request.id)?;
        }
        Ok(Interface::default()) // addresses are the engine's to choose
    }

    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.links()?.remove_link(&name("lan", id)?).map(drop).map_err(failed)
    }

    async fn join(&self, Join { id, .. }: Join) -> Result<Joined, DriverError> {
        let (record, links) = (self.load(&id.network)?, self.links()?);
        let (outer, inner) = (name("lan", &id)?, name("lai", &id)?);
        if links.link(&outer).map_err(failed)?.is_none() {
            return Err(DriverError::not_found(format!("no such endpoint: {}", id.endpoint)));
        }
        if links.link(&inner).map_err(failed)?.is_none() {
            links.remove_link(&outer).map_err(failed)?; // its other end is in a sandbox that it left
            self.plug(&record, &id)?;
        }
        let name = InterfaceName { source: inner.to_string(), prefix: "eth".into(), ..Default::default() };
        let (mut gateway, mut gateway_v6) = (None, None);
        for address in record.gateways {
            match address {
                IpAddr::V4(address) => gateway = Some(address),
                IpAddr::V6(address) => gateway_v6 = Some(address),
            }
        }
        Ok(Joined { interface: Some(name), gateway, gateway_v6, ..Joined::default() })
    }

    async fn leave(&self, _id: &EndpointId) -> Result<(), DriverError> {
        Ok(())
    }
}

fn name(prefix: &str, id: &EndpointId) -> Result<LinkName, DriverError> {
    link_name(&format!("{prefix}{:.11}", id.endpoint))
}

fn link_name(text: &str) -> Result<LinkName, DriverError> {
    text.parse().map_err(|_| DriverError::invalid(format!("{text:?} is no name of a link")))
}

fn failed(error: pintle_netlink::Error) -> DriverError {
    DriverError::internal(error.to_string())
}

fn main() -> ExitCode {
    let state = env::var_os("STATE").unwrap_or("/var/lib/network-lan".into());
    let name = env::var("PLUGIN_NAME").unwrap_or("network-lan".to_owned());
    pintle_sdk::run(async move { Ok(pintle_sdk::serve_network(&name, Lan::open(state.into())?).await?) })
}
