//! The contracts' suites over the drivers that are linked in.

use std::{collections::BTreeMap, sync::Arc};

use pintle_contract::{IpamDriver, NetworkDriver};
use pintle_drivers::{Bridge, Ipam, Sublink, bridge::Config, ipam::AddressPools};
use pintle_netlink::{LinkKind, Namespace, NewLink};
use pintle_testkit::{ipam, network, report::Report};

fn on(host: &Namespace) -> network::Options<'static> {
    network::Options { host: Some(host.clone()), alone: true, ..network::Options::default() }
}

#[track_caller]
fn expect(report: &Report, skipped: &[&str]) {
    assert!(report.passed(), "{report}");
    let names = report
        .checks
        .iter()
        .filter(|check| matches!(check.outcome, pintle_testkit::report::Outcome::Skipped(_)));
    assert_eq!(names.map(|check| check.name).collect::<Vec<_>>(), skipped, "{report}");
}

#[tokio::test]
async fn the_default_ipam_driver_keeps_its_contract() {
    let new = || Ipam::new(AddressPools::standard("suite"));
    let restart = || -> ipam::Restarted {
        let successor = Arc::new(Ipam::new(AddressPools::standard("suite")));
        Box::pin(async { Ok(successor as Arc<dyn IpamDriver>) })
    };
    let options = ipam::Options { restart: Some(&restart), ..ipam::Options::default() };
    expect(&ipam::conformance(&new(), &options).await, &[]);
}

#[tokio::test]
async fn bridge_keeps_its_contract() {
    let host = Namespace::create().unwrap();
    let new = |host: Namespace| Bridge::new(Config::standard(host)).unwrap();
    let kept = host.clone();
    let restart = move || -> network::Restarted {
        let successor = Arc::new(Bridge::new(Config::standard(kept.clone())).unwrap());
        Box::pin(async { Ok(successor as Arc<dyn NetworkDriver>) })
    };
    let options = network::Options { restart: Some(&restart), told_again: true, ..on(&host) };
    expect(&network::conformance(&new(host.clone()), &options).await, &[]);
}

#[tokio::test]
async fn macvlan_keeps_its_contract() {
    let (host, outside) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    let handle = host.handle().unwrap();
    let parent = NewLink::new("parent0".parse().unwrap(), LinkKind::Peer).up();
    handle.add_veth(&parent, &NewLink::new("far0".parse().unwrap(), LinkKind::Peer).up(), &outside).unwrap();
    let create = BTreeMap::from([("parent".to_owned(), "parent0".to_owned())]);
    let options = network::Options { create, ..on(&host) };
    expect(&network::conformance(&Sublink::macvlan(host.clone(), "suite"), &options).await, &["restart"]);
}
