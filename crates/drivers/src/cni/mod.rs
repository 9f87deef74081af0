//! The network driver `cni`: containers are attached by the plugins of the Container Network Interface, versions 0.1.0
//! to 1.1.0, as Calico, Cilium, Flannel, Weave and the reference plugins are.
//!
//! `docker network create -d cni -o config=NAME` names a network configuration of this host. The plugins do all of it:
//! the interface, its addresses, routes and names come from their result ([`Settled`](pintle_contract::network::Settled)),
//! and no IPAM driver is asked.
//!
//! | call | what plugins are asked |
//! |---|---|
//! | create_network | VERSION, so that what cannot work is said then |
//! | join | STATUS, ADD; again for an attachment that is there: CHECK |
//! | leave, delete_endpoint | DEL |
//! | retain | DEL for each attachment that a crash left, then GC |
//!
//! An attachment is written down before ADD and forgotten after DEL, in the format of CNI's own library; so a crash in
//! between is undone. Its `CNI_CONTAINERID` is the endpoint's id: unlike a container's it is never used again, and a DEL
//! that comes late hits nobody else.

mod attach;
mod chain;
mod directory;
mod network;
mod options;
mod ports;
mod program;
mod records;
mod settle;
mod trust;
mod turns;
mod versions;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use pintle_contract::{
    DriverError, NetworkDriver, Value,
    network::{CreateEndpoint, CreateNetwork, EndpointId, Interface, Join, Joined, NetworkCapabilities},
};
use pintle_wire::cni::{CacheRecord, NetworkConfig};

use crate::blocking;

use self::{
    chain::Chain, directory::Directory, network::Network, ports::Ports, program::Programs, records::Records,
    turns::Turns, versions::Versions,
};

/// Where the driver finds things, and how long it waits for them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of network configurations.
    pub config_path: PathBuf,
    /// The folders of plugins, in the order in which they are looked through.
    pub binary_path: Vec<PathBuf>,
    /// A folder of the driver's own, which survives a boot.
    pub state: PathBuf,
    /// Where other runtimes on this host keep their records, so that GC spares what is theirs.
    pub foreign: PathBuf,
    /// What one call of a plugin may take before it is killed.
    pub budget: Duration,
}

impl Settings {
    /// The places that the rest of the world uses, with the driver's own folder.
    pub fn new(state: PathBuf) -> Self {
        Self {
            config_path: "/etc/cni/net.d".into(),
            binary_path: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            state,
            foreign: "/var/lib/cni/results".into(),
            budget: Duration::from_secs(60),
        }
    }
}

/// The driver.
#[derive(Debug)]
pub struct Cni {
    directory: Directory,
    programs: Programs,
    foreign: PathBuf,
    records: Arc<Records>,
    versions: Versions,
    turns: Turns,
    ports: Ports,
    known: Mutex<Known>,
}

/// What the engine has told.
#[derive(Debug, Default)]
struct Known {
    networks: BTreeMap<String, Network>,
    endpoints: BTreeMap<EndpointId, CreateEndpoint>,
}

impl Cni {
    /// Opens the driver's folder; calls nobody.
    pub fn open(settings: Settings) -> io::Result<Self> {
        Ok(Self {
            records: Arc::new(Records::open(&settings.state)?),
            directory: Directory { path: settings.config_path },
            programs: Programs { folders: settings.binary_path, budget: settings.budget },
            foreign: settings.foreign,
            versions: Versions::default(),
            turns: Turns::default(),
            ports: Ports::default(),
            known: Mutex::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration as it is now, and the chain that it means.
    async fn config(&self, name: &str) -> Result<NetworkConfig, DriverError> {
        let (directory, name) = (self.directory.clone(), name.to_owned());
        blocking(move || directory.find(&name)).await
    }

    async fn chain<'a>(&'a self, config: &'a NetworkConfig) -> Result<Chain<'a>, DriverError> {
        let version = self.versions.agree(&self.programs, config).await?;
        Ok(Chain { programs: &self.programs, config, version })
    }

    async fn record(&self, id: &EndpointId) -> Result<Option<CacheRecord>, DriverError> {
        let (records, id) = (Arc::clone(&self.records), id.clone());
        blocking(move || records.of(&id)).await
    }

    async fn save(&self, record: &CacheRecord) -> Result<(), DriverError> {
        let (records, record) = (Arc::clone(&self.records), record.clone());
        blocking(move || records.save(&record)).await
    }
}

#[async_trait]
impl NetworkDriver for Cni {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        Ok(NetworkCapabilities { own_addresses: true, ..NetworkCapabilities::default() })
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        let network = Network::read(&request)?;
        let config = self.config(&network.config).await?;
        network.suits(&config)?;
        self.chain(&config).await?;
        self.known().networks.insert(request.network, network);
        Ok(())
    }

    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        self.known().networks.remove(network);
        Ok(())
    }

    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError> {
        options::Words::parse(&options::texts(&request.options))?;
        let mut known = self.known();
        if !known.networks.contains_key(&request.id.network) {
            return Err(no_network(&request.id));
        }
        known.endpoints.insert(request.id.clone(), request);
        Ok(Interface::default())
    }

    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.detach(id).await?;
        self.known().endpoints.remove(id);
        Ok(())
    }

    async fn endpoint_info(&self, id: &EndpointId) -> Result<BTreeMap<String, Value>, DriverError> {
        let Some(record) = self.record(id).await? else { return Ok(BTreeMap::new()) };
        let mut info = BTreeMap::from([
            ("CNINetwork".to_owned(), Value::from(record.network.as_str())),
            ("CNIContainerID".to_owned(), Value::from(record.container.as_str())),
            ("CNIIfName".to_owned(), Value::from(record.interface.as_str())),
        ]);
        if let Some(result) = &record.result {
            info.insert("CNIResult".to_owned(), network::value(result));
        }
        if let Some(home) = record.home.filter(|home| !home.trouble.is_empty()) {
            info.insert("Trouble".to_owned(), Value::String(home.trouble));
        }
        Ok(info)
    }

    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        self.attach(request).await
    }

    async fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.detach(id).await
    }

    async fn retain(&self, networks: &[String], endpoints: &[EndpointId]) -> Result<(), DriverError> {
        {
            let mut known = self.known();
            known.networks.retain(|id, _| networks.contains(id));
            known.endpoints.retain(|id, _| endpoints.contains(id));
        }
        self.collect(endpoints).await
    }
}

fn no_network(id: &EndpointId) -> DriverError {
    DriverError::not_found(format!("network {} does not exist", id.network))
}
