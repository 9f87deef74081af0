//! The network suite over a driver that keeps every promise, in both homes, and over ones that do not. Each test has a
//! namespace of its own for a host, which ends with it, whatever was left in it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use pintle_contract::{
    DriverError, NetworkDriver, Scope, Value,
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, Interface, Join, Joined, MacAddress, NetworkCapabilities,
        Options as Labels, PortBinding, StaticRoute,
    },
};
use pintle_netlink::{LinkKind, Namespace, NewLink};
use pintle_sdk::{Listen, Server};
use pintle_testkit::{
    client::PluginClient,
    faulty::{Fault, Faulty, Script},
    network::{Options, ReferenceDriver, Restarted, conformance},
    report::{Outcome, Report},
};
use pintle_wire::{Interface as Kind, network::Method};

fn host() -> Namespace {
    Namespace::create().unwrap()
}

fn options(host: &Namespace) -> Options<'static> {
    Options { host: Some(host.clone()), alone: true, ..Options::default() }
}

fn skipped(report: &Report) -> Vec<&'static str> {
    let skipped = report.checks.iter().filter(|check| matches!(check.outcome, Outcome::Skipped(_)));
    skipped.map(|check| check.name).collect()
}

#[tokio::test]
async fn in_process() {
    let host = host();
    let driver = ReferenceDriver::new(host.clone());
    let report = conformance(&driver, &options(&host)).await;
    assert!(report.passed(), "{report}");
    assert_eq!(skipped(&report), ["restart"], "{report}");
    assert!(driver.held().is_empty(), "the suite leaves nothing behind: {:?}", driver.held());
}

#[tokio::test]
async fn loopback() {
    let (dir, host) = (tempfile::tempdir().unwrap(), host());
    let socket = dir.path().join("s.sock");
    let running = Server::network(ReferenceDriver::new(host.clone())).start(Listen::unix(&socket)).unwrap();
    let client = PluginClient::unix(&socket);
    assert_eq!(client.activate().await.unwrap().implements, [Kind::Network]);
    let report = conformance(&client, &options(&host)).await;
    assert!(report.passed(), "{report}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn sandboxes_can_have_paths() {
    let (dir, host) = (tempfile::tempdir().unwrap(), host());
    let options = Options { sandboxes: Some(dir.path().to_owned()), ..options(&host) };
    let report = conformance(&ReferenceDriver::new(host.clone()), &options).await;
    assert!(report.passed(), "{report}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no sandbox is left");
}

#[tokio::test]
async fn a_restart_that_forgets_is_told_again_or_fails() {
    let host = host();
    let kept = host.clone();
    let restart = move || -> Restarted {
        let host = kept.clone();
        Box::pin(async { Ok(Arc::new(ReferenceDriver::new(host)) as Arc<dyn NetworkDriver>) })
    };
    for told_again in [true, false] {
        let options = Options { restart: Some(&restart), told_again, ..options(&host) };
        let report = conformance(&ReferenceDriver::new(host.clone()), &options).await;
        let passed = report.outcome("restart") == Some(&Outcome::Passed);
        assert_eq!(passed, told_again, "{report}");
    }
}

/// What an engine asks of a driver that is like the reference driver, and the check that must notice.
const ASKED: [(Method, &str); 10] = [
    (Method::GetCapabilities, "capabilities"),
    (Method::CreateNetwork, "network_again"),
    (Method::DeleteNetwork, "network_unknown"),
    (Method::CreateEndpoint, "endpoint_again"),
    (Method::DeleteEndpoint, "endpoint_again"),
    (Method::EndpointOperInfo, "info"),
    (Method::Join, "join_again"),
    (Method::Leave, "leave_again"),
    (Method::ProgramExternalConnectivity, "external_again"),
    (Method::RevokeExternalConnectivity, "endpoint_unknown"),
];

#[tokio::test]
async fn every_transport_fault_fails_the_suite() {
    let faults = [
        Fault::Hang,
        Fault::HalfBody,
        Fault::WrongShape,
        Fault::WrongContent,
        Fault::Garbage,
        Fault::Empty,
        Fault::Err500("broken".to_owned()),
        Fault::Err200("broken".to_owned()),
        Fault::Status(500),
        Fault::Close,
    ];
    let mut runs: Vec<(Fault, Method, &str)> = Vec::new();
    for (method, check) in ASKED {
        runs.extend(faults.iter().map(|fault| (fault.clone(), method, check)));
        // No such method: some may be missing.
        if !method.is_optional() {
            runs.push((Fault::Status(404), method, check));
        }
    }
    // Most calls say nothing but "done", and a lie about that shows in what is left.
    runs.extend(
        [
            (Method::CreateNetwork, "networks_apart"),
            (Method::CreateEndpoint, "endpoint_settled"),
            (Method::Join, "join_interface"),
        ]
        .map(|(method, check)| (Fault::Lie, method, check)),
    );
    runs.push((Fault::Lie, Method::DeleteNetwork, "network_again"));
    let run = async |(fault, method, check)| expect_failure(fault, method, check).await;
    stream::iter(runs).for_each_concurrent(8, run).await;
}

async fn expect_failure(fault: Fault, method: Method, check: &str) {
    let (dir, host) = (tempfile::tempdir().unwrap(), host());
    let budget = if fault == Fault::Hang { Duration::from_millis(800) } else { Duration::from_secs(20) };
    let options = Options { budget, only: &[check], ..options(&host) };
    let script = Script::new().fault(method, fault.clone());
    let drivers = Server::network(ReferenceDriver::new(host.clone()));
    let plugin = Faulty::start(dir.path().join("f.sock"), drivers, script).unwrap();
    let report = conformance(&PluginClient::unix(plugin.socket()), &options).await;
    let Some(Outcome::Failed(why)) = report.outcome(check) else {
        unreachable!("{fault:?} in {method:?} goes unnoticed:\n{report}")
    };
    let in_time = !why.contains("did not finish");
    assert!(in_time || fault == Fault::Hang, "{fault:?} in {method:?}: {why}");
}

#[tokio::test]
async fn optional_calls_may_be_missing() {
    let (dir, host) = (tempfile::tempdir().unwrap(), host());
    let missing = Method::ALL.into_iter().filter(|method| method.is_optional());
    let script = missing.fold(Script::new(), |script, method| script.fault(method, Fault::Status(404)));
    let drivers = Server::network(ReferenceDriver::new(host.clone()));
    let plugin = Faulty::start(dir.path().join("f.sock"), drivers, script).unwrap();
    let report = conformance(&PluginClient::unix(plugin.socket()), &options(&host)).await;
    assert!(report.passed(), "{report}");
}

/// A driver that breaks one promise.
struct Liar {
    inner: ReferenceDriver,
    host: Namespace,
    lie: Lie,
    calls: AtomicU32,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Lie {
    ScopeChanges,
    CreateRefusesTwice,
    DeleteRefusesUnknown,
    DeleteLeavesLink,
    EndpointRefusesTwice,
    EndpointSaysAgain,
    EndpointChanges,
    EndpointInNoNetwork,
    EndpointLeavesLink,
    DeleteEndpointRefusesUnknown,
    JoinWithNoEndpoint,
    JoinNamesNoLink,
    JoinNamesNonsense,
    JoinChanges,
    JoinOnce,
    RouteThatCannotBe,
    LeaveRefusesTwice,
    ExternalRefusesTwice,
    InfoFails,
    NobodyReached,
    NoV6,
    OptionsPanic,
}

impl Liar {
    fn first(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) == 0
    }

    fn knows(&self, network: &str) -> bool {
        self.inner.held().contains_key(network)
    }
}

fn wrong<T>() -> Result<T, DriverError> {
    Err(DriverError::internal("what?"))
}

#[async_trait]
impl NetworkDriver for Liar {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        let odd = self.lie == Lie::ScopeChanges && self.calls.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        Ok(NetworkCapabilities {
            scope: if odd { Scope::Global } else { Scope::Local },
            ..Default::default()
        })
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        match self.lie {
            Lie::CreateRefusesTwice if self.knows(&request.network) => return wrong(),
            Lie::NoV6 if !request.ipv6.is_empty() => return wrong(),
            Lie::OptionsPanic if request.options.keys().any(|key| key.contains("..")) => {
                return Err(DriverError::new(pintle_contract::ErrorKind::Unavailable, "panicked"));
            }
            _ => {}
        }
        self.inner.create_network(request).await
    }

    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        if self.lie == Lie::DeleteRefusesUnknown && !self.knows(network) {
            return wrong();
        }
        if self.lie == Lie::DeleteLeavesLink && self.first() {
            let left = NewLink::new("left0".parse().unwrap(), LinkKind::Bridge);
            self.host.handle().unwrap().add_link(&left).unwrap();
        }
        self.inner.delete_network(network).await
    }

    async fn create_endpoint(&self, mut request: CreateEndpoint) -> Result<Interface, DriverError> {
        let (network, endpoint) = (request.id.network.clone(), request.id.endpoint.clone());
        let exists = self.inner.held().get(&network).is_some_and(|all| all.contains(&endpoint));
        match self.lie {
            Lie::EndpointRefusesTwice if exists => return wrong(),
            Lie::EndpointInNoNetwork if !self.knows(&network) => return Ok(Interface::default()),
            _ => {}
        }
        let given = std::mem::take(&mut request.interface);
        let answer = self.inner.create_endpoint(request).await?;
        match self.lie {
            Lie::EndpointSaysAgain => Ok(given),
            Lie::EndpointChanges if given.mac.is_none() => {
                let number = self.calls.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                let mac = MacAddress([2, 0, number[0], number[1], number[2], number[3]]);
                Ok(Interface { mac: Some(mac), ..Interface::default() })
            }
            _ => Ok(answer),
        }
    }

    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        if self.lie == Lie::DeleteEndpointRefusesUnknown && !self.knows(&id.network) {
            return wrong();
        }
        if self.lie == Lie::EndpointLeavesLink {
            let held = self.inner.held();
            if held.get(&id.network).is_some_and(|all| all.contains(&id.endpoint)) && self.first() {
                let left = NewLink::new("left1".parse().unwrap(), LinkKind::Bridge);
                self.host.handle().unwrap().add_link(&left).unwrap();
            }
        }
        self.inner.delete_endpoint(id).await
    }

    async fn endpoint_info(&self, id: &EndpointId) -> Result<BTreeMap<String, Value>, DriverError> {
        if self.lie == Lie::InfoFails { wrong() } else { self.inner.endpoint_info(id).await }
    }

    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        let known =
            self.inner.held().get(&request.id.network).is_some_and(|all| all.contains(&request.id.endpoint));
        if self.lie == Lie::JoinWithNoEndpoint && !known {
            return Ok(Joined::default());
        }
        if self.lie == Lie::JoinOnce && known && !self.first() {
            return wrong();
        }
        let mut joined = self.inner.join(request).await?;
        let Some(names) = &mut joined.interface else { return Ok(joined) };
        match self.lie {
            Lie::JoinNamesNoLink => names.source = "nosuchlink0".to_owned(),
            Lie::JoinNamesNonsense => names.prefix = "../../../etc".to_owned(),
            Lie::JoinChanges if !self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => {
                names.prefix = "other".to_owned()
            }
            Lie::RouteThatCannotBe => {
                let destination = "10.99.0.0/16".parse().unwrap();
                joined.static_routes.push(StaticRoute { destination, next_hop: "224.0.0.1".parse().ok() });
            }
            Lie::NobodyReached => {
                let links = self.host.handle().unwrap();
                let outer = names.source.replace("tc-", "tv-").parse().unwrap();
                links
                    .change_link(
                        &outer,
                        &pintle_netlink::LinkChange { master: Some(None), ..Default::default() },
                    )
                    .unwrap();
            }
            _ => {}
        }
        Ok(joined)
    }

    async fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        if self.lie == Lie::LeaveRefusesTwice && !self.first() { wrong() } else { self.inner.leave(id).await }
    }

    async fn program_external_connectivity(
        &self,
        _: &EndpointId,
        _: &Labels,
    ) -> Result<Vec<PortBinding>, DriverError> {
        if self.lie == Lie::ExternalRefusesTwice && !self.first() { wrong() } else { Ok(Vec::new()) }
    }
}

#[tokio::test]
async fn every_lie_fails_the_suite_where_it_is_told() {
    let lies = [
        (Lie::ScopeChanges, "capabilities"),
        (Lie::CreateRefusesTwice, "network_again"),
        (Lie::DeleteRefusesUnknown, "network_unknown"),
        (Lie::DeleteLeavesLink, "network_again"),
        (Lie::EndpointRefusesTwice, "endpoint_again"),
        (Lie::EndpointSaysAgain, "endpoint_settled"),
        (Lie::EndpointChanges, "endpoint_again"),
        (Lie::EndpointInNoNetwork, "endpoint_no_network"),
        (Lie::EndpointLeavesLink, "network_again"),
        (Lie::DeleteEndpointRefusesUnknown, "endpoint_unknown"),
        (Lie::JoinWithNoEndpoint, "join_no_endpoint"),
        (Lie::JoinNamesNoLink, "join_interface"),
        (Lie::JoinNamesNonsense, "join_interface"),
        (Lie::JoinChanges, "join_again"),
        (Lie::JoinOnce, "join_anew"),
        (Lie::RouteThatCannotBe, "join_interface"),
        (Lie::LeaveRefusesTwice, "leave_again"),
        (Lie::ExternalRefusesTwice, "external_again"),
        (Lie::InfoFails, "info"),
        (Lie::NobodyReached, "reach"),
        (Lie::NoV6, "ipv6"),
        (Lie::OptionsPanic, "options_unknown"),
    ];
    let runs = stream::iter(lies).for_each_concurrent(6, async |(lie, check)| {
        let host = host();
        let driver = Liar {
            inner: ReferenceDriver::new(host.clone()),
            host: host.clone(),
            lie,
            calls: AtomicU32::new(0),
        };
        let options = Options { only: &[check], ..options(&host) };
        let report = conformance(&driver, &options).await;
        assert!(
            matches!(report.outcome(check), Some(Outcome::Failed(_))),
            "{lie:?} passes {check}:\n{report}"
        );
    });
    runs.await;
}
