//! The IPAM suite over everything that is an IPAM driver here: it must pass where promises are kept, in both homes,
//! and fail where they are not.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use pintle_contract::{
    DriverError, ErrorKind, IpamDriver,
    ipam::{Address, AddressRequest, AddressSpaces, IpamCapabilities, Pool, PoolRequest},
};
use pintle_sdk::{Listen, Server};
use pintle_testkit::{
    client::PluginClient,
    faulty::{Fault, Faulty, Script},
    ipam::{Options, ReferenceDriver, Restarted, conformance},
    report::{Check, Outcome},
};
use pintle_wire::{Interface, ipam::Method};

#[tokio::test]
async fn in_process() {
    let driver = ReferenceDriver::default();
    let report = conformance(&driver, &Options::default()).await;
    assert!(report.passed(), "{report}");
    let skipped = report.checks.iter().filter(|check| matches!(check.outcome, Outcome::Skipped(_)));
    assert_eq!(skipped.map(|check| check.name).collect::<Vec<_>>(), ["restart"]);
    assert!(driver.held().is_empty(), "the suite gives everything back: {:?}", driver.held());
}

#[tokio::test]
async fn loopback() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s.sock");
    let running = Server::ipam(ReferenceDriver::default()).start(Listen::unix(&socket)).unwrap();
    let client = PluginClient::unix(&socket);
    assert_eq!(client.activate().await.unwrap().implements, [Interface::Ipam]);
    let report = conformance(&client, &Options::default()).await;
    assert!(report.passed(), "{report}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_that_forgets_is_told_again() {
    let restart = || -> Restarted {
        Box::pin(async { Ok(Arc::new(ReferenceDriver::default()) as Arc<dyn IpamDriver>) })
    };
    let options = Options { restart: Some(&restart), ..Options::default() };
    let report = conformance(&ReferenceDriver::default(), &options).await;
    assert_eq!(report.outcome("restart"), Some(&Outcome::Passed), "{report}");
    let forgetful = Liar::new(Lie::ForgetsAndSaysNot);
    let report = conformance(&forgetful, &options).await;
    assert!(matches!(report.outcome("restart"), Some(Outcome::Failed(_))), "{report}");
}

#[tokio::test]
async fn every_transport_fault_fails_the_suite() {
    let options = Options { budget: Duration::from_millis(400), crowd: 2, ..Options::default() };
    let faults = [
        Fault::Hang,
        Fault::HalfBody,
        Fault::HalfBodyHang,
        Fault::WrongJson,
        Fault::WrongShape,
        Fault::WrongContent,
        Fault::Garbage,
        Fault::Empty,
        Fault::Err500("broken".to_owned()),
        Fault::Err200("broken".to_owned()),
        Fault::Status(404),
        Fault::Status(204),
        Fault::Close,
        Fault::Lie,
    ];
    let runs = faults.iter().flat_map(|fault| Method::ALL.map(|method| (fault, method)));
    // Whoever answers every question about capabilities in the same way keeps that promise.
    let runs = runs.filter(|(fault, method)| (**fault != Fault::Lie) || changes(*method));
    let runs = runs.map(async |(fault, method)| {
        let dir = tempfile::tempdir().unwrap();
        let script = Script::new().fault(method, fault.clone());
        let drivers = Server::ipam(ReferenceDriver::default());
        let plugin = Faulty::start(dir.path().join("f.sock"), drivers, script).unwrap();
        let report = conformance(&PluginClient::unix(plugin.socket()), &options).await;
        let waits = matches!(fault, Fault::Hang | Fault::HalfBodyHang);
        let in_time = |check: &&Check| !format!("{:?}", check.outcome).contains("did not finish");
        let noticed = report.failures().filter(|check| waits || in_time(check)).count();
        assert!(noticed > 0, "{fault:?} in {method:?} goes unnoticed:\n{report}");
    });
    futures_util::future::join_all(runs).await;
}

fn changes(method: Method) -> bool {
    !matches!(method, Method::GetCapabilities | Method::GetDefaultAddressSpaces)
}

/// A driver that breaks one promise.
struct Liar {
    inner: ReferenceDriver,
    lie: Lie,
    calls: AtomicU32,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Lie {
    CapabilitiesChange,
    SpacesChange,
    AnotherSubnet,
    Overlaps,
    OneName,
    ReleaseRefusesUnknown,
    ReleaseKeepsPool,
    NetworkAddress,
    AnotherLength,
    OutsideOfPool,
    TwiceTheSame,
    AnotherThanAsked,
    GivesHeld,
    GivesForeign,
    UnknownPool,
    ReleaseKeepsAddress,
    ReleaseTakesAll,
    GatewayForgotten,
    RangeIgnored,
    SaysOtherWhenFull,
    NoV6,
    ForgetsAndSaysNot,
}

impl Liar {
    fn new(lie: Lie) -> Self {
        Self { inner: ReferenceDriver::default(), lie, calls: AtomicU32::new(0) }
    }

    fn odd(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) % 2 == 1
    }
}

#[async_trait]
impl IpamDriver for Liar {
    async fn capabilities(&self) -> Result<IpamCapabilities, DriverError> {
        let mut capabilities = self.inner.capabilities().await?;
        match self.lie {
            Lie::CapabilitiesChange => capabilities.requires_mac_address = self.odd(),
            Lie::ForgetsAndSaysNot => capabilities.requires_request_replay = false,
            _ => {}
        }
        Ok(capabilities)
    }

    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        let mut spaces = self.inner.default_address_spaces().await?;
        if self.lie == Lie::SpacesChange && self.odd() {
            spaces.local = "elsewhere".to_owned();
        }
        Ok(spaces)
    }

    async fn request_pool(&self, mut request: PoolRequest) -> Result<Pool, DriverError> {
        let asked = request.clone();
        match self.lie {
            Lie::AnotherSubnet => request.pool = None,
            Lie::RangeIgnored => request.sub_pool = None,
            Lie::NoV6 if request.v6 => return Err(DriverError::internal("what is IPv6?")),
            _ => {}
        }
        let mut answer = self.inner.request_pool(request).await;
        if self.lie == Lie::Overlaps && answer.is_err() {
            answer = asked
                .pool
                .map(|pool| Pool { id: "again".into(), pool, data: BTreeMap::new() })
                .ok_or_else(|| DriverError::internal("none"));
        }
        let mut pool = answer?;
        if self.lie == Lie::OneName {
            pool.id = "the one".to_owned();
        }
        Ok(pool)
    }

    async fn release_pool(&self, pool: &str) -> Result<(), DriverError> {
        match self.lie {
            Lie::ReleaseRefusesUnknown if !self.inner.held().contains_key(pool) => {
                Err(DriverError::not_found("no such pool"))
            }
            Lie::ReleaseKeepsPool => Ok(()),
            _ => self.inner.release_pool(pool).await,
        }
    }

    async fn request_address(&self, mut request: AddressRequest) -> Result<Address, DriverError> {
        let asked = request.address;
        match self.lie {
            Lie::AnotherThanAsked => request.address = None,
            Lie::UnknownPool if !self.inner.held().contains_key(&request.pool) => {
                let address = "198.19.200.2/24".parse().unwrap();
                return Ok(Address { address, data: BTreeMap::new() });
            }
            _ => {}
        }
        let is_gateway = request.options.len() == 1;
        let pool = request.pool.clone();
        let outcome = self.inner.request_address(request).await;
        let mut given = match (self.lie, outcome) {
            (Lie::GivesHeld, Err(error)) if error.kind == ErrorKind::Conflict => {
                Address { address: ipnet::IpNet::new(asked.unwrap(), 24).unwrap(), data: BTreeMap::new() }
            }
            (Lie::GivesForeign, Err(error)) if error.kind == ErrorKind::InvalidArgument => {
                Address { address: ipnet::IpNet::new(asked.unwrap(), 24).unwrap(), data: BTreeMap::new() }
            }
            (Lie::SaysOtherWhenFull, Err(error)) if error.kind == ErrorKind::Unavailable => {
                return Err(DriverError::internal(error.message));
            }
            (_, outcome) => outcome?,
        };
        let address = given.address;
        match self.lie {
            Lie::NetworkAddress => given.address = ipnet::IpNet::new(address.network(), 24).unwrap(),
            Lie::AnotherLength => given.address = ipnet::IpNet::new(address.addr(), 25).unwrap(),
            Lie::OutsideOfPool => given.address = "192.0.2.1/24".parse().unwrap(),
            Lie::TwiceTheSame => self.inner.release_address(&pool, address.addr()).await?,
            Lie::GatewayForgotten if is_gateway => self.inner.release_address(&pool, address.addr()).await?,
            _ => {}
        }
        Ok(given)
    }

    async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), DriverError> {
        match self.lie {
            Lie::ReleaseKeepsAddress => Ok(()),
            Lie::ReleaseTakesAll => {
                for held in self.inner.held().remove(pool).unwrap_or_default() {
                    self.inner.release_address(pool, held).await?;
                }
                Ok(())
            }
            _ => self.inner.release_address(pool, address).await,
        }
    }
}

#[tokio::test]
async fn every_lie_fails_the_suite_where_it_is_told() {
    let lies = [
        (Lie::CapabilitiesChange, "capabilities"),
        (Lie::SpacesChange, "address_spaces"),
        (Lie::AnotherSubnet, "pool_named"),
        (Lie::Overlaps, "pool_overlap"),
        (Lie::OneName, "pool_named"),
        (Lie::ReleaseRefusesUnknown, "pool_release_unknown"),
        (Lie::ReleaseKeepsPool, "pool_freed"),
        (Lie::NetworkAddress, "address_any"),
        (Lie::AnotherLength, "address_any"),
        (Lie::OutsideOfPool, "address_any"),
        (Lie::TwiceTheSame, "address_any"),
        (Lie::AnotherThanAsked, "address_named"),
        (Lie::GivesHeld, "address_named"),
        (Lie::GivesForeign, "address_outside"),
        (Lie::UnknownPool, "address_unknown_pool"),
        (Lie::ReleaseKeepsAddress, "address_freed"),
        (Lie::ReleaseTakesAll, "address_release_unknown"),
        (Lie::GatewayForgotten, "gateway"),
        (Lie::RangeIgnored, "sub_pool"),
        (Lie::SaysOtherWhenFull, "exhaustion"),
        (Lie::NoV6, "ipv6"),
    ];
    for (lie, check) in lies {
        let report = conformance(&Liar::new(lie), &Options::default()).await;
        assert!(
            matches!(report.outcome(check), Some(Outcome::Failed(_))),
            "{lie:?} passes {check}:\n{report}"
        );
    }
}

/// As plugins in other languages look through a socket.
struct Kindless(ReferenceDriver);

fn kindless(error: DriverError) -> DriverError {
    DriverError::internal(error.message)
}

#[async_trait]
impl IpamDriver for Kindless {
    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        self.0.default_address_spaces().await
    }
    async fn request_pool(&self, request: PoolRequest) -> Result<Pool, DriverError> {
        self.0.request_pool(request).await.map_err(kindless)
    }
    async fn release_pool(&self, pool: &str) -> Result<(), DriverError> {
        self.0.release_pool(pool).await
    }
    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        self.0.request_address(request).await.map_err(kindless)
    }
    async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), DriverError> {
        self.0.release_address(pool, address).await
    }
}

#[tokio::test]
async fn kinds_are_asked_only_of_those_who_send_them() {
    let driver = Kindless(ReferenceDriver::default());
    let report = conformance(&driver, &Options { kinds: false, ..Options::default() }).await;
    assert!(report.passed(), "{report}");
    assert!(!conformance(&driver, &Options::default()).await.passed());
}
