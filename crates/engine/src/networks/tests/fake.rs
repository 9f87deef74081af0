//! Drivers and a kernel that write down what they are asked, remember what they hold, and misbehave on demand.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use ipnet::IpNet;
use pintle_contract::{
    DriverError, ErrorKind as DriverKind, IpamDriver, NetworkDriver, Value,
    ipam::{Address, AddressRequest, AddressSpaces, IpamCapabilities, Pool, PoolRequest},
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, GatewayCheck, Interface, InterfaceName, Join, Joined,
        NetworkCapabilities, Options, PortBinding,
    },
};
use pintle_host::Arrivals;
use pintle_store::Store;

use super::super::{
    Budgets, Config, Driver, Drivers, Ipam, Kernel, Networks, NoResolver, Parts,
    kernel::{Placed, Placement, WayOut},
};
use crate::{EngineError, Journal, events::Events};

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused; nothing was done. Of what gives something back: there was nothing to take.
    Refuse,
    /// It is not answered, and was not done.
    Lose,
    /// It is not answered, but was done.
    Swallow,
    /// It never ends.
    Hang,
    /// It never ends, but was done.
    DieAfter,
}

/// What all parts write down, and how they shall misbehave.
#[derive(Default)]
pub struct World {
    pub calls: Vec<String>,
    /// The next call of that name goes wrong.
    pub faults: BTreeMap<String, Fault>,
    /// By the number of the call, whatever it is.
    pub numbered: BTreeMap<usize, Fault>,
    pub networks: BTreeSet<String>,
    pub endpoints: BTreeSet<String>,
    pub joined: BTreeSet<String>,
    pub outside: BTreeSet<String>,
    pub pools: BTreeSet<String>,
    /// Addresses that are out, by pool.
    pub addresses: BTreeSet<(String, IpAddr)>,
    pub requested: usize,
    pub released: usize,
    /// Which endpoint has which address.
    pub given: BTreeMap<String, (String, IpAddr)>,
    pub namespaces: BTreeSet<String>,
    pub interfaces: BTreeMap<String, BTreeSet<String>>,
    pub ways: Vec<(Option<WayOut>, Option<WayOut>)>,
    /// What `CreateEndpoint` was told.
    pub told: Vec<CreateEndpoint>,
    /// The plugin is not there.
    pub away: bool,
    /// What the drivers say they can do.
    pub can: NetworkCapabilities,
    pub needs: IpamCapabilities,
    /// The gateway that `Join` answers with is the pool's first address; none if this is set.
    pub no_gateway: bool,
    /// Subnets of the host.
    pub busy: Vec<IpNet>,
    /// What `CreateEndpoint` answers.
    pub answer: Interface,
    pub life: u64,
    /// A call that never ends was reached: its engine is dead.
    pub dead: bool,
}

#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call. What it does is done by the caller unless it goes wrong.
    async fn call(&self, text: impl Into<String>, act: impl FnOnce(&mut World)) -> Result<(), DriverError> {
        let text = text.into();
        let fault = {
            let mut world = self.world();
            let name = text.split(' ').next().unwrap_or_default().to_owned();
            world.calls.push(text);
            let number = world.calls.len();
            let fault = world.numbered.remove(&number).or_else(|| world.faults.remove(&name));
            let fault = if world.away { Some(Fault::Lose) } else { fault };
            let gives = ["Re", "Le", "De"].iter().any(|start| name.starts_with(start))
                && !name.starts_with("Request");
            if matches!(fault, None | Some(Fault::Swallow | Fault::DieAfter))
                || (gives && fault == Some(Fault::Refuse))
            {
                act(&mut world);
            }
            fault
        };
        match fault {
            None => Ok(()),
            Some(Fault::Refuse) => Err(DriverError::internal("refused")),
            Some(Fault::Lose | Fault::Swallow) => Err(DriverError::new(DriverKind::Timeout, "no answer")),
            Some(Fault::Hang | Fault::DieAfter) => {
                self.world().dead = true;
                std::future::pending().await
            }
        }
    }

    /// Until a call is reached that never ends.
    pub async fn death(&self) {
        while !self.world().dead {
            tokio::task::yield_now().await;
        }
    }

    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.world().calls)
    }

    pub fn fail(&self, call: &str, fault: Fault) {
        self.world().faults.insert(call.to_owned(), fault);
    }

    pub fn heal(&self) {
        let mut world = self.world();
        world.faults.clear();
        world.numbered.clear();
        world.away = false;
    }
}

fn short(id: &str) -> &str {
    id.get(..4).unwrap_or(id)
}

#[async_trait]
impl NetworkDriver for Shared {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        Ok(self.world().can)
    }
    async fn gateway_check(&self, _: &Options) -> Result<GatewayCheck, DriverError> {
        self.call("GwAllocCheck", |_| ()).await?;
        Ok(GatewayCheck::default())
    }
    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        self.call("CreateNetwork", |world| {
            world.networks.insert(request.network);
        })
        .await
    }
    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        self.call("DeleteNetwork", |world| {
            world.networks.remove(network);
        })
        .await
    }
    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError> {
        self.call("CreateEndpoint", |world| {
            world.endpoints.insert(request.id.endpoint.clone());
            world.told.push(request);
        })
        .await?;
        Ok(self.world().answer.clone())
    }
    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.call("DeleteEndpoint", |world| {
            world.endpoints.remove(&id.endpoint);
        })
        .await
    }
    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        self.call("Join", |world| {
            world.joined.insert(request.id.endpoint.clone());
        })
        .await?;
        let no_gateway = self.world().no_gateway;
        Ok(Joined {
            interface: Some(InterfaceName {
                source: format!("veth{}", short(&request.id.endpoint)),
                prefix: "eth".to_owned(),
                ..InterfaceName::default()
            }),
            gateway: (!no_gateway).then(|| [10, 0, 0, 1].into()),
            ..Joined::default()
        })
    }
    async fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.call("Leave", |world| {
            world.joined.remove(&id.endpoint);
        })
        .await
    }
    async fn program_external_connectivity(
        &self,
        id: &EndpointId,
        options: &Options,
    ) -> Result<Vec<PortBinding>, DriverError> {
        self.call("Program", |world| {
            world.outside.insert(id.endpoint.clone());
        })
        .await?;
        Ok(pintle_contract::network::port_map(options))
    }
    async fn revoke_external_connectivity(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.call("Revoke", |world| {
            world.outside.remove(&id.endpoint);
        })
        .await
    }
    async fn endpoint_info(&self, _: &EndpointId) -> Result<BTreeMap<String, Value>, DriverError> {
        Ok(BTreeMap::new())
    }
}

#[async_trait]
impl IpamDriver for Shared {
    async fn capabilities(&self) -> Result<IpamCapabilities, DriverError> {
        Ok(self.world().needs)
    }
    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        Ok(AddressSpaces { local: "here".to_owned(), global: "there".to_owned() })
    }
    async fn request_pool(&self, request: PoolRequest) -> Result<Pool, DriverError> {
        let mut given = None;
        let called = self.call(format!("RequestPool {}", request.address_space), |world| {
            let any = || {
                let used = |number: &u8| world.pools.contains(&format!("here/10.{number}.0.0/16"));
                let free = (0..=255u8).find(|number| !used(number)).unwrap_or(255);
                format!("10.{free}.0.0/16").parse().unwrap()
            };
            let pool: IpNet = request.pool.unwrap_or_else(any);
            let id = format!("{}/{pool}", request.address_space);
            world.pools.insert(id.clone());
            given = Some(Pool { id, pool, data: BTreeMap::new() });
        });
        called.await?;
        Ok(given.unwrap())
    }
    async fn release_pool(&self, pool: &str) -> Result<(), DriverError> {
        self.call("ReleasePool", |world| {
            world.pools.remove(pool);
            let before = world.addresses.len();
            world.addresses.retain(|(of, _)| of != pool);
            world.released += before - world.addresses.len();
        })
        .await
    }
    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        let mut given = None;
        let text = match request.options.get("RequestAddressType") {
            Some(_) => "RequestAddress gateway".to_owned(),
            None => "RequestAddress".to_owned(),
        };
        let taken = |world: &World, ip: IpAddr| world.addresses.contains(&(request.pool.clone(), ip));
        if let Some(ip) = request.address.filter(|ip| taken(&self.world(), *ip)) {
            self.world().calls.push(text);
            return Err(DriverError::new(DriverKind::Conflict, format!("{ip} is taken")));
        }
        // Whoever has an address for an endpoint does not refuse to say which.
        if let Some(endpoint) = request.options.get("com.docker.network.endpoint.id") {
            let mut world = self.world();
            let next = world.calls.len() + 1;
            if world.given.contains_key(endpoint) && world.numbered.get(&next) == Some(&Fault::Refuse) {
                world.numbered.remove(&next);
            }
        }
        self.call(text, |world| {
            let subnet: IpNet = request
                .pool
                .rsplit_once('/')
                .map_or("", |_| request.pool.split_once('/').map_or("", |(_, subnet)| subnet))
                .parse()
                .unwrap();
            let endpoint = request.options.get("com.docker.network.endpoint.id");
            let again = endpoint.and_then(|endpoint| world.given.get(endpoint));
            if let Some((_, ip)) =
                again.filter(|again| world.addresses.contains(*again) && again.0 == request.pool)
            {
                given = Some(IpNet::new(*ip, subnet.prefix_len()).unwrap());
                return;
            }
            let free = |ip: &IpAddr| !world.addresses.contains(&(request.pool.clone(), *ip));
            let ip = request.address.or_else(|| subnet.hosts().find(free)).unwrap();
            world.addresses.insert((request.pool.clone(), ip));
            world.requested += 1;
            if let Some(endpoint) = endpoint {
                world.given.insert(endpoint.clone(), (request.pool.clone(), ip));
            }
            given = Some(IpNet::new(ip, subnet.prefix_len()).unwrap());
        })
        .await?;
        Ok(Address { address: given.unwrap(), data: BTreeMap::new() })
    }
    async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), DriverError> {
        self.call("ReleaseAddress", |world| {
            if world.addresses.remove(&(pool.to_owned(), address)) {
                world.released += 1;
            }
            world.given.retain(|_, given| *given != (pool.to_owned(), address));
        })
        .await
    }
}

/// A kernel of one's own.
#[derive(Clone)]
pub struct Paper(pub Shared);

fn name_of(at: &Path) -> String {
    at.file_name().unwrap().to_string_lossy().into_owned()
}

#[async_trait]
impl Kernel for Paper {
    async fn make(&self, at: &Path) -> Result<(), EngineError> {
        self.0.world().namespaces.insert(name_of(at));
        Ok(())
    }
    async fn set(&self, _: &Path, _: Vec<(String, String)>) -> Result<(), EngineError> {
        Ok(())
    }
    async fn remove(&self, at: &Path) -> Result<(), EngineError> {
        let mut world = self.0.world();
        world.namespaces.remove(&name_of(at));
        world.interfaces.remove(&name_of(at));
        Ok(())
    }
    async fn bound(&self, _: &Path) -> Vec<String> {
        self.0.world().namespaces.iter().cloned().collect()
    }
    async fn free_name(&self, _: &Path, prefix: &str) -> Result<String, EngineError> {
        Ok(format!("{prefix}0"))
    }
    async fn place(&self, at: &Path, placement: Placement) -> Result<Placed, EngineError> {
        self.0.call("place", |_| ()).await?;
        let mut world = self.0.world();
        let there = world.interfaces.entry(name_of(at)).or_default();
        let free = || (0..).map(|number| format!("eth{number}")).find(|name| !there.contains(name)).unwrap();
        let name = if placement.name.is_empty() { free() } else { placement.name };
        there.insert(name.clone());
        Ok(Placed { name, mac: "02:00:00:00:00:01".to_owned(), without_v6: false })
    }
    async fn withdraw(&self, at: &Path, name: &str, _: &str, _: bool) -> Result<(), EngineError> {
        let mut world = self.0.world();
        world.calls.push("withdraw".to_owned());
        if let Some(there) = world.interfaces.get_mut(&name_of(at)) {
            there.remove(name);
        }
        Ok(())
    }
    async fn way_out(
        &self,
        _: &Path,
        v4: Option<WayOut>,
        v6: Option<WayOut>,
        _: Vec<WayOut>,
    ) -> Result<(), EngineError> {
        self.0.world().ways.push((v4, v6));
        Ok(())
    }
    async fn subnets(&self) -> Vec<IpNet> {
        self.0.world().busy.clone()
    }
}

/// `plug` is a plugin of both kinds; so is what is called `bridge` and `default`, but linked in.
pub struct Known(pub Shared);

#[async_trait]
impl Drivers for Known {
    async fn network(&self, name: &str) -> Result<Driver, EngineError> {
        let (driver, builtin) = (Arc::new(self.0.clone()), name == "bridge");
        let (away, life) = {
            let world = self.0.world();
            (world.away, world.life)
        };
        match name {
            "plug" if away => {
                Err(EngineError::new(crate::ErrorKind::Unavailable, "plugin \"plug\" is not running"))
            }
            "plug" | "bridge" => {
                Ok(Driver { name: name.to_owned(), driver, builtin, life: if builtin { 0 } else { life } })
            }
            _ => Err(EngineError::not_found(format!("plugin \"{name}\" not found"))),
        }
    }
    async fn ipam(&self, name: &str) -> Result<Ipam, EngineError> {
        let (driver, builtin) = (Arc::new(self.0.clone()), name == "default");
        let life = self.0.world().life;
        match name {
            "plug" | "default" => {
                Ok(Ipam { name: name.to_owned(), driver, builtin, life: if builtin { 0 } else { life } })
            }
            _ => Err(EngineError::not_found(format!("plugin \"{name}\" not found"))),
        }
    }
    fn builtin(&self, name: &str) -> bool {
        name == "bridge"
    }
    fn builtin_ipam(&self, name: &str) -> bool {
        name == "default"
    }
    fn builtins(&self) -> Vec<Driver> {
        Vec::new()
    }
    fn arrivals(&self) -> Option<Arrivals> {
        None
    }
    fn hold(&self, _: &str, _: &str) {}
    fn release(&self, _: &str, _: &str) {}
}

pub fn budgets() -> Budgets {
    Budgets {
        lookup: Duration::from_secs(5),
        make: Duration::from_secs(5),
        give: Duration::from_secs(5),
        end: Duration::from_secs(5),
        ask: Duration::from_secs(5),
        retries: [5, 5, 20].map(Duration::from_millis).to_vec(),
    }
}

/// An engine's networks over what is in a store, with the drivers of a world.
pub fn open(shared: &Shared, store: &Store) -> (Networks, Events) {
    let events = Events::new();
    let parts = Parts {
        drivers: Arc::new(Known(shared.clone())),
        resolver: Arc::new(NoResolver),
        kernel: Arc::new(Paper(shared.clone())),
        budgets: budgets(),
    };
    let config = Config { exec_root: "/nowhere".into(), ..Config::default() };
    let journal = Journal::open(store.clone()).unwrap();
    (Networks::with(config, journal, parts, events.clone()).unwrap(), events)
}
