// An IPAM plugin: subnets of BASES, addresses from the lowest. Everything is in memory, and the engine is asked to tell
// it again after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pintle_sdk::ipam::*;
use pintle_sdk::{DriverError, ErrorKind, IpamDriver, async_trait, ipnet::IpNet};

// Also called so in config.json, as `interface.socket`. A path to listen on in its place serves for trying it out.
const NAME: &str = "starter";
/// Where subnets come from that nobody asked for by name, and how long their prefixes are.
const BASES: [(&str, u8); 2] = [("10.224.0.0/14", 24), ("fd00:5374:6172::/48", 64)];

/// The addresses that are held, by pool.
#[derive(Default)]
struct Driver(Mutex<BTreeMap<IpNet, BTreeSet<IpAddr>>>);

#[async_trait]
impl IpamDriver for Driver {
    async fn capabilities(&self) -> Result<IpamCapabilities, DriverError> {
        Ok(IpamCapabilities { requires_mac_address: false, requires_request_replay: true })
    }

    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        Ok(AddressSpaces { local: NAME.to_owned(), global: NAME.to_owned() })
    }

    async fn request_pool(&self, request: PoolRequest) -> Result<Pool, DriverError> {
        if request.sub_pool.is_some() {
            return refuse(ErrorKind::Unsupported, "there are no ranges".to_owned());
        }
        let mut pools = self.lock();
        let overlaps = |one: &IpNet| pools.keys().any(|held| held.contains(one) || one.contains(held));
        let pool = match request.pool {
            Some(pool) if overlaps(&pool) => return refuse(ErrorKind::Conflict, format!("{pool} is in use")),
            Some(pool) => pool.trunc(),
            None => {
                let (base, length) = BASES[usize::from(request.v6)];
                let base: IpNet = base.parse().map_err(|_| DriverError::internal("BASES is wrong"))?;
                let free = base.subnets(length).ok().and_then(|mut all| all.find(|one| !overlaps(one)));
                free.ok_or_else(|| DriverError::new(ErrorKind::Unavailable, "every subnet is in use"))?
            }
        };
        pools.insert(pool, BTreeSet::new());
        Ok(Pool { id: pool.to_string(), pool, data: BTreeMap::new() })
    }

    async fn release_pool(&self, pool: &str) -> Result<(), DriverError> {
        self.lock().retain(|known, _| known.to_string() != pool);
        Ok(())
    }

    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        let mut pools = self.lock();
        let pool = pools.iter_mut().find(|(known, _)| known.to_string() == request.pool);
        let Some((subnet, held)) = pool else {
            return refuse(ErrorKind::NotFound, format!("no such pool: {}", request.pool));
        };
        let any = || subnet.hosts().take(1 << 16).find(|one| *one != subnet.network() && !held.contains(one));
        let Some(address) = request.address.or_else(any) else {
            return refuse(ErrorKind::Unavailable, format!("every address of {subnet} is in use"));
        };
        if !subnet.contains(&address) {
            return refuse(ErrorKind::InvalidArgument, format!("{address} is not in {subnet}"));
        }
        if !held.insert(address) {
            return refuse(ErrorKind::Conflict, format!("{address} is in use"));
        }
        let whole = IpNet::new(address, subnet.prefix_len());
        let address = whole.map_err(|error| DriverError::internal(error.to_string()))?;
        Ok(Address { address, data: BTreeMap::new() })
    }

    async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), DriverError> {
        if let Some((_, held)) = self.lock().iter_mut().find(|(known, _)| known.to_string() == pool) {
            held.remove(&address);
        }
        Ok(())
    }
}

impl Driver {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpNet, BTreeSet<IpAddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse<T>(kind: ErrorKind, text: String) -> Result<T, DriverError> {
    Err(DriverError::new(kind, text))
}

fn main() -> ExitCode {
    let name = env::var("PLUGIN_NAME").unwrap_or(NAME.to_owned());
    pintle_sdk::run(async move { Ok(pintle_sdk::serve_ipam(&name, Driver::default()).await?) })
}
