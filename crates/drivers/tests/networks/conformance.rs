//! The suites over the drivers that are linked in.

use std::sync::Arc;

use pintle_contract::{IpamDriver, NetworkDriver};
use pintle_drivers::{Bridge, Ipam, Sublink, bridge::Config, ipam::AddressPools};
use pintle_netlink::Namespace;
use pintle_testkit::{
    ipam,
    network::{Options, Restarted, conformance},
    report::Outcome,
};

fn options(host: &Namespace) -> Options<'static> {
    Options { host: Some(host.clone()), alone: true, told_again: true, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn bridge() {
    let host = Namespace::create().unwrap();
    let again = host.clone();
    let restart = move || -> Restarted {
        let host = again.clone();
        Box::pin(async move {
            Ok(Arc::new(Bridge::new(Config::standard(host)).unwrap()) as Arc<dyn NetworkDriver>)
        })
    };
    let options = Options { restart: Some(&restart), ..options(&host) };
    let report = conformance(&Bridge::new(Config::standard(host.clone())).unwrap(), &options).await;
    assert!(report.passed(), "{report}");
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Passed), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn macvlan() {
    let host = Namespace::create().unwrap();
    let again = host.clone();
    let restart = move || -> Restarted {
        let host = again.clone();
        Box::pin(async move { Ok(Arc::new(Sublink::macvlan(host, "pintle")) as Arc<dyn NetworkDriver>) })
    };
    let options = Options { restart: Some(&restart), ..options(&host) };
    let report = conformance(&Sublink::macvlan(host.clone(), "pintle"), &options).await;
    assert!(report.passed(), "{report}");
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Passed), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses() {
    let driver = || Ipam::new(AddressPools::standard("engine"));
    let restart =
        move || -> ipam::Restarted { Box::pin(async move { Ok(Arc::new(driver()) as Arc<dyn IpamDriver>) }) };
    let options = ipam::Options { restart: Some(&restart), ..ipam::Options::default() };
    let report = ipam::conformance(&driver(), &options).await;
    assert!(report.passed(), "{report}");
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Passed), "{report}");
}

/// The same on a socket, as a plugin that other engines can use.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_by_a_plugin() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("ipam.sock");
    let served = pintle_sdk::Server::ipam(Ipam::new(AddressPools::standard("engine")));
    let running = served.start(pintle_sdk::Listen::unix(&socket)).unwrap();
    let client = pintle_testkit::client::PluginClient::unix(&socket);
    client.activate().await.unwrap();
    let report = ipam::conformance(&client, &ipam::Options::default()).await;
    assert!(report.passed(), "{report}");
    running.stop().await.unwrap();
}
