//! The `default` IPAM driver: pools and addresses of this host, kept in memory.
//!
//! The engine's records are the truth: after a restart it asks again for every pool and address that it has written
//! down ([`IpamCapabilities::requires_request_replay`]), and so nothing here can be leaked by a crash. Addresses are
//! given lowest first, as Docker gives them; with the option [`SERIAL`] one that came back is given again last.

mod bases;
mod ranges;
mod space;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use ipnet::IpNet;
use pintle_contract::{
    DriverError, ErrorKind, IpamDriver,
    ipam::{Address, AddressRequest, AddressSpaces, IpamCapabilities, Pool, PoolRequest},
};

pub use bases::{AddressPools, PoolBase};
use space::Space;

/// The option of an address request that asks for the address after the last one given.
pub const SERIAL: &str = "com.docker.network.ipam.serial";

const LOCAL: &str = "LocalDefault";
const GLOBAL: &str = "GlobalDefault";

/// The driver.
#[derive(Debug)]
pub struct Ipam {
    spaces: Mutex<HashMap<&'static str, Space>>,
}

impl Ipam {
    /// A driver that chooses from these pools where a request names none.
    pub fn new(pools: AddressPools) -> Self {
        let spaces = HashMap::from([(LOCAL, Space::new(pools.local)), (GLOBAL, Space::new(pools.global))]);
        Self { spaces: Mutex::new(spaces) }
    }

    fn spaces(&self) -> MutexGuard<'_, HashMap<&'static str, Space>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `SPACE/SUBNET` or `SPACE/SUBNET/RANGE`, as Docker names pools.
fn name_of(space: &str, pool: IpNet, range: Option<IpNet>) -> String {
    match range {
        Some(range) => format!("{space}/{pool}/{range}"),
        None => format!("{space}/{pool}"),
    }
}

fn read_name(name: &str) -> Option<(&str, IpNet, Option<IpNet>)> {
    let mut parts = name.split('/');
    let space = parts.next()?;
    let mut net = || Some(format!("{}/{}", parts.next()?, parts.next()?));
    let pool = net()?.parse().ok()?;
    let range = match net() {
        Some(range) => Some(range.parse().ok()?),
        None => None,
    };
    Some((space, pool, range))
}

#[async_trait]
impl IpamDriver for Ipam {
    async fn capabilities(&self) -> Result<IpamCapabilities, DriverError> {
        Ok(IpamCapabilities { requires_mac_address: false, requires_request_replay: true })
    }

    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        Ok(AddressSpaces { local: LOCAL.to_owned(), global: GLOBAL.to_owned() })
    }

    async fn request_pool(&self, request: PoolRequest) -> Result<Pool, DriverError> {
        let mut spaces = self.spaces();
        let (name, space) = match request.address_space.as_str() {
            "" => spaces.get_mut(LOCAL).map(|space| (LOCAL, space)),
            GLOBAL => spaces.get_mut(GLOBAL).map(|space| (GLOBAL, space)),
            LOCAL => spaces.get_mut(LOCAL).map(|space| (LOCAL, space)),
            _ => None,
        }
        .ok_or_else(|| DriverError::invalid("invalid address space"))?;
        let pool = match request.pool {
            // Any that is free, of this size.
            Some(pool) if pool.addr().is_unspecified() && pool.prefix_len() > 0 => {
                let v6 = pool.addr().is_ipv6();
                space.choose(v6, Some(pool.prefix_len()), &request.avoid)?
            }
            Some(pool) => {
                let (pool, range) = (pool.trunc(), request.sub_pool.map(|range| range.trunc()));
                space.take(pool, range)?;
                pool
            }
            None if request.sub_pool.is_some() => {
                return Err(DriverError::invalid("invalid sub-pool: the pool that it is part of is missing"));
            }
            None => space.choose(request.v6, None, &request.avoid)?,
        };
        let id = name_of(name, pool, request.sub_pool.map(|range| range.trunc()));
        Ok(Pool { id, pool, data: Default::default() })
    }

    async fn release_pool(&self, pool: &str) -> Result<(), DriverError> {
        if let Some((space, subnet, range)) = read_name(pool)
            && let Some(space) = self.spaces().get_mut(space)
        {
            space.give_back(subnet, range);
        }
        Ok(())
    }

    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        let unknown =
            || DriverError::not_found(format!("cannot find address pool for poolID:{:.128}", request.pool));
        let (space, subnet, range) = read_name(&request.pool).ok_or_else(unknown)?;
        let mut spaces = self.spaces();
        let pool = spaces.get_mut(space).and_then(|space| space.pool(subnet, range)).ok_or_else(unknown)?;
        let address = match request.address {
            Some(address) => pool.take(address)?,
            None => {
                let serial = request.options.get(SERIAL).is_some_and(|text| text == "true");
                pool.next(range, serial).ok_or_else(|| exhausted(subnet))?
            }
        };
        let address = IpNet::new(address, subnet.prefix_len())
            .map_err(|error| DriverError::internal(error.to_string()))?;
        Ok(Address { address, data: Default::default() })
    }

    async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), DriverError> {
        if let Some((space, subnet, range)) = read_name(pool)
            && let Some(pool) = self.spaces().get_mut(space).and_then(|space| space.pool(subnet, range))
        {
            pool.release(address);
        }
        Ok(())
    }
}

fn exhausted(subnet: IpNet) -> DriverError {
    let family = if subnet.addr().is_ipv4() { "IPv4" } else { "IPv6" };
    let text = format!("no available {family} addresses on this network's address pools");
    DriverError::new(ErrorKind::Unavailable, text)
}

#[cfg(test)]
mod tests;
