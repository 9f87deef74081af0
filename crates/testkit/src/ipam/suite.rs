use std::{
    collections::BTreeMap,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use pintle_contract::{
    DriverError, ErrorKind, IpamDriver,
    ipam::{Address, AddressRequest, AddressSpaces, Pool, PoolRequest, label},
    network::MacAddress,
};
use tokio::time::timeout;

use super::checks::CHECKS;
use crate::{
    check::{Result, fail, judge, said, skip},
    report::Report,
};

/// The driver after a restart, or why there is none.
pub type Restarted = Pin<Box<dyn Future<Output = std::result::Result<Arc<dyn IpamDriver>, String>> + Send>>;

/// Ends the driver as a crash would and returns its successor, over the same storage.
pub type Restart<'a> = &'a (dyn Fn() -> Restarted + Send + Sync);

/// How to run the suite.
#[derive(Clone)]
pub struct Options<'a> {
    /// Subnets that the suite asks for by name: two of IPv4 with 64 addresses or more that nobody holds.
    pub pools: [IpNet; 2],
    /// A subnet with few addresses, to use up; the beginning of the first pool if not given.
    pub small: Option<IpNet>,
    /// A subnet of IPv6 that nobody holds; `None` if the driver knows no IPv6.
    pub v6: Option<IpNet>,
    /// Options for every pool, as a user's `--ipam-opt`.
    pub pool_options: BTreeMap<String, String>,
    /// Whether errors arrive with their kinds, as from drivers in process or behind pintle's SDK. Otherwise
    /// an error is only expected to be an error.
    pub kinds: bool,
    /// How long each check may take.
    pub budget: Duration,
    /// How many calls run at once where a check wants many; no more than fit into a pool.
    pub crowd: usize,
    /// How to restart the driver, where that can be done.
    pub restart: Option<Restart<'a>>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        // 198.18.0.0/15 is set apart for tests, and fd00::/8 is anybody's.
        let v4 = |third| IpNet::V4(ipnet::Ipv4Net::new_assert([198, 19, third, 0].into(), 24));
        let v6 = [0xfd50, 0x494e, 0x544c, 0x4521, 0, 0, 0, 0];
        Self {
            pools: [v4(200), v4(202)],
            small: None,
            v6: Some(IpNet::V6(ipnet::Ipv6Net::new_assert(v6.into(), 64))),
            pool_options: BTreeMap::new(),
            kinds: true,
            budget: Duration::from_secs(30),
            crowd: 16,
            restart: None,
        }
    }
}

/// Puts every promise of the IPAM contract to a driver.
///
/// Each check gives back what it took, whatever happens.
pub async fn conformance(driver: &dyn IpamDriver, options: &Options<'_>) -> Report {
    let mut report = Report::default();
    let numbers = AtomicU32::new(0);
    for (name, promise, check) in CHECKS {
        let suite = Suite { driver, options, numbers: &numbers, taken: &Mutex::default() };
        let check = judge(name, promise, options.budget, check(&suite)).await;
        suite.clean_up(driver).await;
        report.checks.push(check);
    }
    report
}

/// A driver under test, with the words that checks are written in.
pub(super) struct Suite<'a> {
    pub driver: &'a dyn IpamDriver,
    pub options: &'a Options<'a>,
    numbers: &'a AtomicU32,
    taken: &'a Mutex<Taken>,
}

/// What a check took and has not given back.
#[derive(Default)]
struct Taken {
    pools: Vec<String>,
    addresses: Vec<(String, IpAddr)>,
}

impl Suite<'_> {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn spaces(&self) -> Result<AddressSpaces> {
        said("the question for address spaces", self.driver.default_address_spaces().await)
    }

    /// A request for a subnet in the local space.
    pub async fn request(&self, pool: Option<IpNet>) -> Result<PoolRequest> {
        let address_space = self.spaces().await?.local;
        let options = self.options.pool_options.clone();
        let v6 = matches!(pool, Some(IpNet::V6(_)));
        Ok(PoolRequest { address_space, pool, options, v6, ..PoolRequest::default() })
    }

    pub async fn try_pool(&self, request: PoolRequest) -> std::result::Result<Pool, DriverError> {
        let outcome = self.driver.request_pool(request).await;
        if let Ok(pool) = &outcome {
            self.taken().pools.push(pool.id.clone());
        }
        outcome
    }

    /// A pool of this subnet.
    pub async fn pool(&self, subnet: IpNet) -> Result<Pool> {
        let request = self.request(Some(subnet)).await?;
        let pool = said(format!("the request for {subnet}"), self.try_pool(request).await)?;
        if pool.pool != subnet {
            return fail(format!("a request for {subnet} is answered with {}", pool.pool));
        }
        Ok(pool)
    }

    /// The same, where a driver may say that it does not do such a thing.
    pub async fn pool_if_any(&self, what: &str, request: PoolRequest) -> Result<Pool> {
        match self.try_pool(request).await {
            Err(error) if self.refuses(&error) => skip(format!("the driver gives no {what}: {error}")),
            other => said(format!("the request for {what}"), other),
        }
    }

    /// Whether the driver says that it does not do what was asked.
    pub fn refuses(&self, error: &DriverError) -> bool {
        let broken = matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout);
        let said_so =
            matches!(error.kind, ErrorKind::Unsupported | ErrorKind::InvalidArgument | ErrorKind::NotFound);
        if self.options.kinds { said_so } else { !broken }
    }

    pub async fn release_pool(&self, id: &str) -> Result {
        self.taken().pools.retain(|known| known != id);
        said(format!("the release of pool {id:?}"), self.driver.release_pool(id).await)
    }

    /// A request as the engine makes one for a container.
    pub fn address_request(&self, pool: &Pool, address: Option<IpAddr>) -> AddressRequest {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let [_, _, high, low] = number.to_be_bytes();
        let mac = MacAddress([0x02, 0x42, 0x70, 0x69, high, low]);
        let options = BTreeMap::from([
            (label::MAC_ADDRESS.to_owned(), mac.to_string()),
            (label::ENDPOINT_NAME.to_owned(), format!("pintle-suite-{number}")),
        ]);
        AddressRequest { pool: pool.id.clone(), address, options }
    }

    pub async fn try_address(&self, request: AddressRequest) -> std::result::Result<Address, DriverError> {
        let pool = request.pool.clone();
        let outcome = self.driver.request_address(request).await;
        if let Ok(address) = &outcome {
            self.taken().addresses.push((pool, address.address.addr()));
        }
        outcome
    }

    /// An address of the driver's choice, which must be one that a host can have.
    pub async fn address(&self, pool: &Pool) -> Result<IpAddr> {
        let request = self.address_request(pool, None);
        let given =
            said(format!("the request for an address of {}", pool.pool), self.try_address(request).await)?;
        self.fits(pool, &given)?;
        Ok(given.address.addr())
    }

    pub fn fits(&self, pool: &Pool, given: &Address) -> Result {
        let (subnet, address) = (pool.pool, given.address.addr());
        if !subnet.contains(&address) {
            return fail(format!("{address} is not in {subnet}"));
        }
        if given.address.prefix_len() != subnet.prefix_len() {
            return fail(format!("{} does not have the prefix length of {subnet}", given.address));
        }
        let edge = match subnet {
            IpNet::V4(subnet) if subnet.prefix_len() < 31 => {
                [subnet.network().into(), subnet.broadcast().into()].contains(&address)
            }
            IpNet::V4(_) => false,
            IpNet::V6(subnet) => subnet.prefix_len() < 127 && address == IpAddr::from(subnet.network()),
        };
        if edge { fail(format!("{address} names the subnet {subnet} and no host in it")) } else { Ok(()) }
    }

    /// This address, which must be free.
    pub async fn named(&self, pool: &Pool, address: IpAddr) -> Result {
        let request = self.address_request(pool, Some(address));
        let given = said(format!("the request for {address}"), self.try_address(request).await)?;
        self.fits(pool, &given)?;
        if given.address.addr() != address {
            return fail(format!("a request for {address} is answered with {}", given.address));
        }
        Ok(())
    }

    pub async fn release(&self, pool: &str, address: IpAddr) -> Result {
        self.taken().addresses.retain(|known| known.0 != pool || known.1 != address);
        said(format!("the release of {address}"), self.driver.release_address(pool, address).await)
    }

    /// The call must fail, and for this reason.
    pub fn expect_error<T: std::fmt::Debug>(
        &self,
        call: &str,
        kinds: &[ErrorKind],
        result: std::result::Result<T, DriverError>,
    ) -> Result {
        match result {
            Ok(answer) => fail(format!("{call} succeeds with {answer:?}")),
            Err(error) if kinds.contains(&error.kind) => Ok(()),
            Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => {
                fail(format!("{call} breaks the driver: {error}"))
            }
            Err(error) if self.options.kinds => {
                fail(format!("{call} fails with {error:?}, not with {kinds:?}"))
            }
            Err(_) => Ok(()),
        }
    }

    /// The subnet to use up.
    pub fn small(&self) -> IpNet {
        let [first, _] = self.options.pools;
        self.options.small.unwrap_or_else(|| IpNet::new(first.network(), 29).unwrap_or(first))
    }

    /// The same words about the driver's successor.
    pub fn after<'b>(&'b self, successor: &'b dyn IpamDriver) -> Suite<'b> {
        Suite { driver: successor, options: self.options, numbers: self.numbers, taken: self.taken }
    }

    async fn clean_up(&self, driver: &dyn IpamDriver) {
        let Taken { pools, addresses } = std::mem::take(&mut *self.taken());
        let budget = Duration::from_secs(5).min(self.options.budget);
        let _ = timeout(budget, async {
            for (pool, address) in addresses {
                let _ = driver.release_address(&pool, address).await;
            }
            for pool in pools {
                let _ = driver.release_pool(&pool).await;
            }
        })
        .await;
    }
}
