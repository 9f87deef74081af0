use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use ipnet::IpNet;
use pintle_contract::{
    DriverError, ErrorKind, IpamDriver,
    ipam::{Address, AddressRequest, AddressSpaces, IpamCapabilities, Pool, PoolRequest, label},
};

/// The smallest driver that keeps every promise: one space, everything in memory, rebuilt by its engine's telling.
#[derive(Debug, Clone, Default)]
pub struct ReferenceDriver {
    pools: Arc<Mutex<BTreeMap<String, Held>>>,
}

#[derive(Debug)]
struct Held {
    subnet: IpNet,
    range: Option<IpNet>,
    addresses: BTreeSet<IpAddr>,
    /// The addresses of its own choice, by endpoint: whoever asks twice hears the same.
    given: BTreeMap<String, IpAddr>,
}

impl ReferenceDriver {
    /// Every address that is held, by pool.
    pub fn held(&self) -> BTreeMap<String, BTreeSet<IpAddr>> {
        self.lock().iter().map(|(id, held)| (id.clone(), held.addresses.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it can be a host's.
fn is_usable(subnet: IpNet, address: IpAddr) -> bool {
    let edge = match subnet {
        IpNet::V4(net) => {
            net.prefix_len() < 31 && [net.network().into(), net.broadcast().into()].contains(&address)
        }
        IpNet::V6(net) => net.prefix_len() < 127 && address == IpAddr::from(net.network()),
    };
    subnet.contains(&address) && !edge
}

#[async_trait]
impl IpamDriver for ReferenceDriver {
    async fn capabilities(&self) -> Result<IpamCapabilities, DriverError> {
        Ok(IpamCapabilities { requires_mac_address: false, requires_request_replay: true })
    }

    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        Ok(AddressSpaces { local: "local".to_owned(), global: "global".to_owned() })
    }

    async fn request_pool(&self, request: PoolRequest) -> Result<Pool, DriverError> {
        let mut pools = self.lock();
        let overlaps = |subnet: IpNet| {
            pools.values().any(|held| held.subnet.contains(&subnet) || subnet.contains(&held.subnet))
        };
        let subnet = match request.pool {
            Some(subnet) if overlaps(subnet) => {
                return Err(DriverError::new(ErrorKind::Conflict, format!("{subnet} overlaps a pool")));
            }
            Some(subnet) => subnet,
            None => {
                let base: IpNet = if request.v6 { "fd7e:57::/48" } else { "198.18.0.0/16" }
                    .parse()
                    .map_err(|_| DriverError::internal("no base"))?;
                let length = if request.v6 { 64 } else { 24 };
                let mut subnets =
                    base.subnets(length).map_err(|error| DriverError::internal(error.to_string()))?;
                let free = |subnet: &IpNet| {
                    let used = |used: &IpNet| used.contains(subnet) || subnet.contains(used);
                    !overlaps(*subnet) && !request.avoid.iter().any(used)
                };
                subnets
                    .find(free)
                    .ok_or_else(|| DriverError::new(ErrorKind::Unavailable, "every pool is in use"))?
            }
        };
        let id = subnet.to_string();
        let (addresses, given) = (BTreeSet::new(), BTreeMap::new());
        pools.insert(id.clone(), Held { subnet, range: request.sub_pool, addresses, given });
        Ok(Pool { id, pool: subnet, data: BTreeMap::new() })
    }

    async fn release_pool(&self, pool: &str) -> Result<(), DriverError> {
        self.lock().remove(pool);
        Ok(())
    }

    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        let mut pools = self.lock();
        let pool = pools
            .get_mut(&request.pool)
            .ok_or_else(|| DriverError::not_found(format!("no such pool: {}", request.pool)))?;
        let endpoint = request.options.get(label::ENDPOINT_ID);
        let again = endpoint.and_then(|endpoint| pool.given.get(endpoint)).copied();
        let address = match request.address.or(again) {
            Some(address) if request.address.is_none() => address,
            Some(address) if !is_usable(pool.subnet, address) => {
                return Err(DriverError::invalid(format!("{address} is none of {}", pool.subnet)));
            }
            Some(address) if pool.addresses.contains(&address) => {
                return Err(DriverError::new(ErrorKind::Conflict, format!("{address} is in use")));
            }
            Some(address) => address,
            None => {
                let mut hosts = pool.range.unwrap_or(pool.subnet).hosts();
                let free =
                    |address: &IpAddr| is_usable(pool.subnet, *address) && !pool.addresses.contains(address);
                hosts
                    .find(free)
                    .ok_or_else(|| DriverError::new(ErrorKind::Unavailable, "no available addresses"))?
            }
        };
        pool.addresses.insert(address);
        if let (Some(endpoint), None) = (endpoint, request.address) {
            pool.given.insert(endpoint.clone(), address);
        }
        let address = IpNet::new(address, pool.subnet.prefix_len())
            .map_err(|error| DriverError::internal(error.to_string()))?;
        Ok(Address { address, data: BTreeMap::new() })
    }

    async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), DriverError> {
        if let Some(pool) = self.lock().get_mut(pool) {
            pool.addresses.remove(&address);
            pool.given.retain(|_, given| *given != address);
        }
        Ok(())
    }
}
