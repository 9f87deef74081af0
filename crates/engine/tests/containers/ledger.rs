//! An IPAM plugin that keeps its books on disk, so that they can be compared with the engine's after a crash.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Mutex,
};

use async_trait::async_trait;
use pintle_contract::{
    DriverError, IpamDriver,
    ipam::{Address, AddressRequest, AddressSpaces, Pool, PoolRequest, label},
};
use pintle_netlink::IpNet;

/// The subnet of every pool.
const SUBNET: &str = "10.77.0.0/24";

/// One directory: a file for each address that is out, which holds the endpoint that it is for.
pub struct Ledger {
    dir: PathBuf,
    turn: Mutex<()>,
}

impl Ledger {
    pub fn open(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        Self { dir: dir.to_owned(), turn: Mutex::default() }
    }

    /// The addresses that are out, and for whom.
    pub fn out(&self) -> BTreeMap<IpAddr, String> {
        let entries = std::fs::read_dir(&self.dir).unwrap().flatten();
        entries
            .filter_map(|entry| {
                let address = entry.file_name().to_str()?.parse().ok()?;
                Some((address, std::fs::read_to_string(entry.path()).unwrap()))
            })
            .collect()
    }
}

#[async_trait]
impl IpamDriver for Ledger {
    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        Ok(AddressSpaces { local: "local".to_owned(), global: "global".to_owned() })
    }
    async fn request_pool(&self, _: PoolRequest) -> Result<Pool, DriverError> {
        Ok(Pool { id: "pool".to_owned(), pool: SUBNET.parse().unwrap(), data: BTreeMap::new() })
    }
    async fn release_pool(&self, _: &str) -> Result<(), DriverError> {
        for address in self.out().keys() {
            std::fs::remove_file(self.dir.join(address.to_string()))?;
        }
        Ok(())
    }
    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        let _turn = self.turn.lock().unwrap();
        let subnet: IpNet = SUBNET.parse().unwrap();
        let out = self.out();
        let endpoint = request.options.get(label::ENDPOINT_ID).cloned().unwrap_or_default();
        let again = out.iter().find(|(_, holder)| !endpoint.is_empty() && **holder == endpoint);
        let free = || subnet.hosts().find(|address| !out.contains_key(address)).unwrap();
        let address = request.address.or(again.map(|(address, _)| *address)).unwrap_or_else(free);
        // By a rename, so that a kill finds it whole or not at all.
        let fresh = self.dir.join(format!("fresh-{}", std::process::id()));
        std::fs::write(&fresh, endpoint)?;
        std::fs::rename(fresh, self.dir.join(address.to_string()))?;
        Ok(Address { address: IpNet::new(address, subnet.prefix_len()).unwrap(), data: BTreeMap::new() })
    }
    async fn release_address(&self, _: &str, address: IpAddr) -> Result<(), DriverError> {
        match std::fs::remove_file(self.dir.join(address.to_string())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
