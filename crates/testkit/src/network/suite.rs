use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use pintle_contract::{
    DriverError, ErrorKind, NetworkDriver, Value,
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, Interface, IpamData, Join, Joined, MacAddress,
        NetworkCapabilities, label,
    },
};
use pintle_netlink::{Handle, Namespace};
use tokio::time::timeout;

use super::{
    checks::CHECKS,
    sandbox::{Entered, Sandbox},
};
use crate::{
    check::{Result, fail, judge, said},
    report::{Outcome, Report},
};

/// The driver after a restart, or why there is none.
pub type Restarted =
    Pin<Box<dyn Future<Output = std::result::Result<Arc<dyn NetworkDriver>, String>> + Send>>;

/// Ends the driver as a crash would and returns its successor, over the same storage and in the same namespace.
pub type Restart<'a> = &'a (dyn Fn() -> Restarted + Send + Sync);

/// How to run the suite.
#[derive(Clone)]
pub struct Options<'a> {
    /// The namespace that the driver works in; that of this process if not given.
    pub host: Option<Namespace>,
    /// Whether nobody else makes links there meanwhile, so that whatever is left is the driver's.
    pub alone: bool,
    /// Where sandboxes are bound, for drivers that cannot look into `/proc` of this process.
    pub sandboxes: Option<PathBuf>,
    /// Subnets of IPv4 for the suite's networks, with 64 addresses or more.
    pub pools: [IpNet; 2],
    /// A subnet of IPv6; `None` if the driver knows no IPv6.
    pub v6: Option<IpNet>,
    /// Options for every network, as a user's `-o`.
    pub create: BTreeMap<String, String>,
    /// Whether endpoints of one network reach each other.
    pub reach: bool,
    /// Whether errors arrive with their kinds, as from drivers in process or behind pintle's SDK. Otherwise
    /// an error is only expected to be an error.
    pub kinds: bool,
    /// Names of the checks to run; all of them, if there are none.
    pub only: &'a [&'a str],
    /// How long each check may take.
    pub budget: Duration,
    /// How many calls run at once where a check wants many.
    pub crowd: usize,
    /// How to restart the driver, where that can be done.
    pub restart: Option<Restart<'a>>,
    /// Whether its engine tells a driver everything again after a restart, as it does those that are linked in.
    pub told_again: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        // 198.18.0.0/15 is set apart for tests, and fd00::/8 is anybody's.
        let v4 = |third| IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(198, 19, third, 0), 24));
        let v6 = Ipv6Addr::new(0xfd50, 0x494e, 0x544c, 0x4520, 0, 0, 0, 0);
        Self {
            host: None,
            alone: false,
            sandboxes: None,
            pools: [v4(210), v4(211)],
            v6: Some(IpNet::V6(ipnet::Ipv6Net::new_assert(v6, 64))),
            create: BTreeMap::new(),
            reach: true,
            kinds: true,
            only: &[],
            budget: Duration::from_secs(30),
            crowd: 8,
            restart: None,
            told_again: false,
        }
    }
}

/// Puts every promise of the network contract to a driver.
///
/// Each check removes what it made, whatever happens. It takes the right to make network namespaces.
pub async fn conformance(driver: &dyn NetworkDriver, options: &Options<'_>) -> Report {
    let mut report = Report::default();
    let (numbers, hosts) = (AtomicU32::new(1), AtomicU32::new(0));
    let wanted = |name: &&str| options.only.is_empty() || options.only.contains(name);
    for (name, promise, check) in CHECKS.iter().filter(|(name, ..)| wanted(name)) {
        let before = links(options);
        let suite = Suite { driver, options, numbers: &numbers, hosts: &hosts, made: &Mutex::default() };
        let mut check = judge(name, promise, options.budget, check(&suite)).await;
        suite.clean_up(driver).await;
        if options.alone && check.outcome == Outcome::Passed {
            let left: Vec<String> = links(options).difference(&before).cloned().collect();
            if !left.is_empty() {
                check.outcome = Outcome::Failed(format!("these links are left: {}", left.join(", ")));
            }
        }
        report.checks.push(check);
    }
    report
}

/// The links where the driver works.
fn links(options: &Options<'_>) -> BTreeSet<String> {
    let host = options.host.clone().map_or_else(Namespace::current, Ok);
    let links = host.and_then(|host| host.handle()?.links()).unwrap_or_default();
    links.into_iter().map(|link| link.name).collect()
}

/// A driver under test, with the words that checks are written in.
pub(super) struct Suite<'a> {
    pub driver: &'a dyn NetworkDriver,
    pub options: &'a Options<'a>,
    numbers: &'a AtomicU32,
    hosts: &'a AtomicU32,
    made: &'a Mutex<Made>,
}

/// What a check made and has not unmade.
#[derive(Default)]
struct Made {
    networks: Vec<String>,
    endpoints: Vec<EndpointId>,
}

/// A network of the suite's.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub request: CreateNetwork,
    subnets: Vec<IpNet>,
}

/// An endpoint in its sandbox.
pub(super) struct Container {
    pub id: EndpointId,
    pub interface: Interface,
    pub entered: Option<Entered>,
    pub sandbox: Sandbox,
}

impl Suite<'_> {
    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// 64 hexadecimal digits that nobody used before: drivers make names of the first ones.
    pub fn id(&self) -> String {
        let (process, number) = (std::process::id() & 0xffff, self.number() & 0xffff);
        format!("{process:04x}{number:04x}{:056x}", 0x9175_u32)
    }

    pub fn host(&self) -> Result<Namespace> {
        self.options
            .host
            .clone()
            .map_or_else(Namespace::current, Ok)
            .or_else(|error| fail(format!("the driver's namespace cannot be opened: {error}")))
    }

    pub fn host_handle(&self) -> Result<Handle> {
        self.host()?
            .handle()
            .or_else(|error| fail(format!("the driver's namespace cannot be opened: {error}")))
    }

    pub async fn capabilities(&self) -> Result<NetworkCapabilities> {
        said("the question for capabilities", self.driver.capabilities().await)
    }

    /// A request for a network on these subnets, as the engine makes one.
    pub async fn request(&self, subnets: &[IpNet]) -> Result<Network> {
        let capabilities = self.capabilities().await?;
        let v6 = subnets.iter().any(|subnet| matches!(subnet, IpNet::V6(_)));
        let v4 = subnets.iter().any(|subnet| matches!(subnet, IpNet::V4(_)));
        let generic = self.options.create.iter().map(|(key, text)| (key.clone(), Value::from(text.as_str())));
        let id = self.id();
        let options = BTreeMap::from([
            (label::ENABLE_IPV4.to_owned(), Value::Bool(v4)),
            (label::ENABLE_IPV6.to_owned(), Value::Bool(v6)),
            (label::GENERIC.to_owned(), Value::Map(generic.collect())),
            (label::NETWORK_NAME.to_owned(), Value::from(format!("pintle-suite-{:.8}", id))),
        ]);
        let check = match capabilities.gateway_check {
            true => said("the question for gateways", self.driver.gateway_check(&options).await)?,
            false => Default::default(),
        };
        let mut request = CreateNetwork { network: id, options, ..CreateNetwork::default() };
        let mut used = subnets.to_vec();
        if capabilities.own_addresses {
            used.clear();
        }
        for subnet in &used {
            let skip = if matches!(subnet, IpNet::V4(_)) { check.skip_ipv4 } else { check.skip_ipv6 };
            let data = IpamData {
                address_space: "pintle-suite".to_owned(),
                pool: Some(*subnet),
                gateway: (!skip).then(|| nth(*subnet, 1)),
                ..IpamData::default()
            };
            match subnet {
                IpNet::V4(_) => request.ipv4.push(data),
                IpNet::V6(_) => request.ipv6.push(data),
            }
        }
        Ok(Network { request, subnets: used })
    }

    pub async fn create(&self, network: &Network) -> Result {
        self.made().networks.push(network.request.network.clone());
        said("the creation of a network", self.driver.create_network(network.request.clone()).await)
    }

    /// A new network on the first pool.
    pub async fn network(&self) -> Result<Network> {
        let network = self.request(&self.options.pools[..1]).await?;
        self.create(&network).await?;
        Ok(network)
    }

    pub async fn delete_network(&self, id: &str) -> Result {
        self.made().networks.retain(|known| known != id);
        said("the deletion of a network", self.driver.delete_network(id).await)
    }

    /// A request for an endpoint with an address of each of the network's subnets.
    pub fn endpoint_request(&self, network: &Network) -> CreateEndpoint {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed);
        let id = EndpointId { network: network.request.network.clone(), endpoint: self.id() };
        let mut interface = Interface::default();
        for subnet in &network.subnets {
            let address = Some(nth(*subnet, 2 + number % 60));
            match subnet {
                IpNet::V4(_) => interface.address = address,
                IpNet::V6(_) => interface.address_v6 = address,
            }
        }
        let options = BTreeMap::from([
            (label::EXPOSED_PORTS.to_owned(), Value::List(Vec::new())),
            (label::PORT_MAP.to_owned(), Value::List(Vec::new())),
        ]);
        CreateEndpoint { id, interface, options }
    }

    /// Makes an endpoint; what is settled of its interface then.
    pub async fn create_endpoint(&self, request: &CreateEndpoint) -> Result<Interface> {
        self.made().endpoints.push(request.id.clone());
        let answered =
            said("the creation of an endpoint", self.driver.create_endpoint(request.clone()).await)?;
        let given = &request.interface;
        let again = |what: &str, is_given: bool, is_answered: bool| match is_given && is_answered {
            true => fail(format!("the driver answers with {what} though it was given one")),
            false => Ok(()),
        };
        again("a MAC address", given.mac.is_some(), answered.mac.is_some())?;
        again("an IPv4 address", given.address.is_some(), answered.address.is_some())?;
        again("an IPv6 address", given.address_v6.is_some(), answered.address_v6.is_some())?;
        Ok(Interface {
            mac: given.mac.or(answered.mac),
            address: given.address.or(answered.address),
            address_v6: given.address_v6.or(answered.address_v6),
        })
    }

    pub async fn delete_endpoint(&self, id: &EndpointId) -> Result {
        self.made().endpoints.retain(|known| known != id);
        said("the deletion of an endpoint", self.driver.delete_endpoint(id).await)
    }

    pub fn sandbox(&self) -> Result<Sandbox> {
        Sandbox::new(self.options.sandboxes.as_deref(), &self.id()[..12])
    }

    pub fn join_request(id: &EndpointId, sandbox: &Sandbox) -> Join {
        let empty = || Value::List(Vec::new());
        let options = [(label::EXPOSED_PORTS, empty()), (label::PORT_MAP, empty())];
        let options = options.map(|(key, value)| (key.to_owned(), value)).into();
        Join { id: id.clone(), sandbox_key: sandbox.key.clone(), name: "eth0".to_owned(), options }
    }

    pub async fn join(&self, id: &EndpointId, sandbox: &Sandbox) -> Result<Joined> {
        said("the join", self.driver.join(Self::join_request(id, sandbox)).await)
    }

    pub async fn leave(&self, id: &EndpointId) -> Result {
        said("the leave", self.driver.leave(id).await)
    }

    /// A container on the network: an endpoint, joined, its interface in the sandbox and as it should be.
    pub async fn start(&self, network: &Network) -> Result<Container> {
        self.start_with(self.endpoint_request(network)).await
    }

    pub async fn start_with(&self, request: CreateEndpoint) -> Result<Container> {
        let (id, interface) = (request.id.clone(), self.create_endpoint(&request).await?);
        let sandbox = self.sandbox()?;
        let joined = self.join(&id, &sandbox).await?;
        let entered = sandbox.enter(&self.host_handle()?, &interface, &joined)?;
        if let Some(entered) = &entered {
            sandbox.look(entered)?;
        }
        let options = Self::join_request(&id, &sandbox).options;
        said(
            "opening the endpoint to the outside",
            self.driver.program_external_connectivity(&id, &options).await,
        )?;
        Ok(Container { id, interface, entered, sandbox })
    }

    /// The container's end, as `docker network disconnect` does it to one that goes on.
    pub async fn disconnect(&self, container: &Container) -> Result {
        let id = &container.id;
        said("closing the endpoint to the outside", self.driver.revoke_external_connectivity(id).await)?;
        self.leave(id).await?;
        if let Some(entered) = &container.entered {
            container.sandbox.give_back(&self.host()?, entered)?;
        }
        self.delete_endpoint(id).await
    }

    /// One container's packets must arrive at another, and the answer must come back.
    pub async fn expect_reach(&self, from: Container, to: Container) -> Result<(Container, Container)> {
        let addresses = |container: &Container| {
            let interface =
                container.entered.as_ref().map_or(&container.interface, |entered| &entered.interface);
            let addresses = [interface.address, interface.address_v6];
            addresses.map(|address| address.map(|address| address.addr()))
        };
        let pairs: Vec<(IpAddr, IpAddr)> = addresses(&from)
            .into_iter()
            .zip(addresses(&to))
            .filter_map(|(from, to)| Some((from?, to?)))
            .collect();
        let patience = Duration::from_secs(8).min(self.options.budget / 2);
        let work = tokio::task::spawn_blocking(move || {
            for (own, address) in pairs {
                from.sandbox.reaches(&to.sandbox, own, address, patience)?;
            }
            Ok((from, to))
        });
        work.await.unwrap_or_else(|error| fail(format!("the packets' task failed: {error}")))
    }

    /// The call must fail, because something does not exist.
    pub fn expect_not_found<T: std::fmt::Debug>(
        &self,
        call: &str,
        result: std::result::Result<T, DriverError>,
    ) -> Result {
        match result {
            Ok(answer) => fail(format!("{call} succeeds with {answer:?}")),
            Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => {
                fail(format!("{call} breaks the driver: {error}"))
            }
            Err(error) if self.options.kinds && error.kind != ErrorKind::NotFound => {
                fail(format!("{call} fails with {error:?}, not with NotFound"))
            }
            Err(_) => Ok(()),
        }
    }

    pub fn mac(&self) -> MacAddress {
        let [_, _, high, low] = self.number().to_be_bytes();
        MacAddress([0x02, 0x42, 0x70, 0x69, high, low])
    }

    /// The same words about the driver's successor.
    pub fn after<'b>(&'b self, successor: &'b dyn NetworkDriver) -> Suite<'b> {
        Suite {
            driver: successor,
            options: self.options,
            numbers: self.numbers,
            hosts: self.hosts,
            made: self.made,
        }
    }

    async fn clean_up(&self, driver: &dyn NetworkDriver) {
        let Made { networks, endpoints } = std::mem::take(&mut *self.made());
        let budget = Duration::from_secs(5).min(self.options.budget);
        let _ = timeout(budget, async {
            for id in endpoints {
                let _ = driver.leave(&id).await;
                let _ = driver.delete_endpoint(&id).await;
            }
            for network in networks {
                let _ = driver.delete_network(&network).await;
            }
        })
        .await;
    }
}

/// An address of a subnet, with its length.
pub(super) fn nth(subnet: IpNet, number: u32) -> IpNet {
    let address: IpAddr = match subnet {
        IpNet::V4(net) => Ipv4Addr::from(u32::from(net.network()).wrapping_add(number)).into(),
        IpNet::V6(net) => Ipv6Addr::from(u128::from(net.network()).wrapping_add(number.into())).into(),
    };
    IpNet::new(address, subnet.prefix_len()).unwrap_or(subnet)
}
