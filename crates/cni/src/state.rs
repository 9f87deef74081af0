//! What is known across processes: one file for each network and each attachment, and locks.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use pintle_contract::network::EndpointId;
use pintle_wire::cni::code;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::failure::Failure;

const NETWORK: &str = "network.json";
/// What another process may take before this one gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of everything.
#[derive(Debug, Clone)]
pub(crate) struct State {
    root: PathBuf,
}

/// A network as it was made. Texts of addresses, so that people can read it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) driver: String,
    pub(crate) options: std::collections::BTreeMap<String, String>,
    pub(crate) labels: std::collections::BTreeMap<String, String>,
    pub(crate) internal: bool,
    pub(crate) ipam: String,
    pub(crate) ipam_options: std::collections::BTreeMap<String, String>,
    pub(crate) pools: Vec<PoolRecord>,
    /// The driver has it, or is about to.
    pub(crate) begun: bool,
    /// The driver has it.
    pub(crate) made: bool,
}

/// A pool of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolRecord {
    /// The IPAM driver's name for it; empty: nobody was asked.
    pub(crate) id: String,
    pub(crate) address_space: String,
    pub(crate) subnet: IpNet,
    pub(crate) range: Option<IpNet>,
    pub(crate) gateway: Option<IpNet>,
    /// The gateway's address is held.
    pub(crate) gateway_held: bool,
}

/// How far an attachment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    /// Nothing but addresses.
    #[default]
    Addressed,
    /// create_endpoint was, or is being, called.
    Endpoint,
    /// join.
    Joined,
    /// program_external_connectivity.
    Published,
    /// All of it, and the runtime was told.
    Done,
}

/// An attachment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointRecord {
    pub(crate) id: String,
    pub(crate) container: String,
    pub(crate) interface: String,
    pub(crate) sandbox: PathBuf,
    /// The last step that was begun.
    pub(crate) step: Step,
    pub(crate) addresses: Vec<HeldAddress>,
    pub(crate) mac: Option<String>,
    pub(crate) ports: Vec<PortRecord>,
    /// The interface's name on the host, where it goes back to.
    pub(crate) source: String,
    /// It was made in the sandbox.
    pub(crate) made_inside: bool,
}

/// An address, and the pool that it is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldAddress {
    /// Empty: nobody is to be told when it is free.
    pub(crate) pool: String,
    pub(crate) address: IpNet,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PortRecord {
    pub(crate) protocol: u8,
    pub(crate) port: u16,
    pub(crate) host_ip: Option<std::net::IpAddr>,
    pub(crate) host_port: u16,
}

/// A turn that others wait for. Ends when it is dropped, or with the process.
#[derive(Debug)]
pub(crate) struct Turn {
    _file: File,
}

impl State {
    pub(crate) fn open(root: &Path) -> Result<Self, Failure> {
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(&root.join("networks")).map_err(|error| failed(root, &error))?;
        Ok(Self { root: root.to_owned() })
    }

    fn folder(&self, network: &str) -> PathBuf {
        self.root.join("networks").join(network)
    }

    /// Waits until nobody else works on the network.
    pub(crate) async fn network_turn(&self, network: &str) -> Result<Turn, Failure> {
        self.turn(&format!("network-{network}.lock")).await
    }

    /// Waits until nobody else tells drivers that are linked in what there is.
    pub(crate) async fn common_turn(&self) -> Result<Turn, Failure> {
        self.turn("common.lock").await
    }

    async fn turn(&self, name: &str) -> Result<Turn, Failure> {
        let path = self.root.join(name);
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.map_err(|error| failed(&path, &error))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Turn { _file: file }),
                Err(fs::TryLockError::Error(error)) => return Err(failed(&path, &error)),
                Err(fs::TryLockError::WouldBlock) if Instant::now() > deadline => {
                    return Err(Failure::new(code::LATER, "another call of the plugin takes too long"));
                }
                Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Every network.
    pub(crate) fn networks(&self) -> Result<Vec<NetworkRecord>, Failure> {
        let mut networks = Vec::new();
        for name in names(&self.root.join("networks"))? {
            networks.extend(self.network(&name)?);
        }
        Ok(networks)
    }

    pub(crate) fn network(&self, name: &str) -> Result<Option<NetworkRecord>, Failure> {
        load(&self.folder(name).join(NETWORK))
    }

    pub(crate) fn save_network(&self, record: &NetworkRecord) -> Result<(), Failure> {
        self.save(&self.folder(&record.name), NETWORK, record)
    }

    pub(crate) fn forget_network(&self, name: &str) -> Result<(), Failure> {
        let folder = self.folder(name);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&folder, &error)),
            _ => Ok(()),
        }
    }

    /// The attachments of a network.
    pub(crate) fn endpoints(&self, network: &str) -> Result<Vec<EndpointRecord>, Failure> {
        let folder = self.folder(network);
        let mut endpoints = Vec::new();
        for name in names(&folder)?.into_iter().filter(|name| name != NETWORK && !name.starts_with('.')) {
            endpoints.extend(load(&folder.join(name))?);
        }
        Ok(endpoints)
    }

    pub(crate) fn endpoint(&self, network: &str, id: &str) -> Result<Option<EndpointRecord>, Failure> {
        load(&self.folder(network).join(format!("{id}.json")))
    }

    pub(crate) fn save_endpoint(&self, network: &str, record: &EndpointRecord) -> Result<(), Failure> {
        self.save(&self.folder(network), &format!("{}.json", record.id), record)
    }

    pub(crate) fn forget_endpoint(&self, network: &str, id: &str) -> Result<(), Failure> {
        let path = self.folder(network).join(format!("{id}.json"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, &error)),
            _ => Ok(()),
        }
    }

    /// Writes a record so that it survives a power cut. Whoever writes has the network's turn.
    fn save(&self, folder: &Path, name: &str, record: &impl Serialize) -> Result<(), Failure> {
        let write = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let new = folder.join(format!(".{name}"));
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec_pretty(record)?)?;
            file.sync_all()?;
            fs::rename(&new, folder.join(name))?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|error| failed(&folder.join(name), &error))
    }
}

fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder, &error)),
    };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn load<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, Failure> {
    match fs::read(file) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Some(record)),
            Err(error) => Err(Failure::new(code::IO, format!("{}: {error}", file.display()))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(file, &error)),
    }
}

fn failed(place: &Path, error: &io::Error) -> Failure {
    Failure::new(code::IO, format!("{}: {error}", place.display()))
}

/// The id of a network: the same for the same name, so that a call whose predecessor was killed finds what that made.
pub(crate) fn network_id(name: &str) -> String {
    hex::encode(Sha256::digest(format!("pintle-cni network {name}")))
}

/// The id of an attachment's endpoint.
pub(crate) fn endpoint_id(network: &str, container: &str, interface: &str) -> EndpointId {
    let text = format!("pintle-cni endpoint {network} {container} {interface}");
    EndpointId { network: network_id(network), endpoint: hex::encode(Sha256::digest(text)) }
}
