//! Networks across hosts: namespaces that play hosts on one switch, a real etcd in the middle, real tunnels.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod cluster;

use std::time::Duration;

use cluster::{Cluster, eventually};
use pintle_contract::{
    ErrorKind, IpamDriver as _, NetworkDriver as _,
    ipam::PoolRequest,
    network::{CreateNetwork, IpamData},
};

const TTL: Duration = Duration::from_secs(3);

#[test]
fn containers_on_three_hosts_reach_each_other_and_nobody_else_hears_it() {
    let cluster = Cluster::new(TTL);
    let stranger = cluster.stranger();
    let hosts: Vec<_> = (1..=3).map(|number| cluster.host(number)).collect();
    let containers: Vec<_> = hosts.iter().map(|host| host.network("10.20.0.0/16").container(2)).collect();
    for from in &containers {
        assert_eq!(from.mtu(), 1450, "1500 less what a tunnel's headers take");
        for to in containers.iter().filter(|to| to.address != from.address) {
            // The first answer may have to wait until every host knows every other.
            eventually("an answer", || from.ask(to.address).is_some());
            assert_eq!(
                from.ask(to.address),
                Some(from.address.to_string()),
                "addresses are nobody's but theirs"
            );
            assert_eq!(from.echo(to.address, 60_000), 60_000, "in pieces, and whole again");
            assert_eq!(from.bulk(to.address, 32 << 20), 32 << 20);
        }
    }
    assert_eq!(stranger.heard(), 0, "no frame is flooded");
}

#[test]
fn a_host_that_loses_etcd_goes_on_and_learns_the_rest_later() {
    let mut cluster = Cluster::new(Duration::from_secs(600));
    let (one, two) = (cluster.host(1), cluster.host(2));
    let a = one.network("10.20.0.0/16").container(2);
    let b = two.network("10.20.0.0/16").container(2);
    eventually("an answer", || a.ask(b.address).is_some());
    cluster.stop_etcd();
    std::thread::sleep(Duration::from_secs(2));
    assert!(a.ask(b.address).is_some() && b.ask(a.address).is_some(), "what forwarded goes on forwarding");
    let three = cluster.host(3);
    let error = three.try_network("10.20.0.0/16").unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout), "{error:?}");
    assert!(error.message.contains("etcd at http://10.99.0.254:2379 cannot be reached"), "{error}");
    // An engine that starts meanwhile finds everything as it was.
    let one = one.restarted();
    let a_again = one.network_again("10.20.0.0/16");
    assert_eq!(a_again, one.subnet());
    assert!(a.ask(b.address).is_some());
    cluster.start_etcd();
    let c = three.network("10.20.0.0/16").container(2);
    eventually("the third host to be known", || a.ask(c.address).is_some() && b.ask(c.address).is_some());
}

#[test]
fn a_dead_hosts_part_is_somebody_elses_only_after_its_lease() {
    let cluster = Cluster::new(TTL);
    let (one, two, three) = (cluster.host(1), cluster.host(2), cluster.host(3));
    // There are two parts.
    let join = |host: &cluster::Host| host.try_network_with("10.20.0.0/23", "24");
    join(&one).unwrap();
    join(&two).unwrap();
    let (a, b) = (one.container(2), two.container(2));
    eventually("an answer", || a.ask(b.address).is_some());
    let error = join(&three).unwrap_err();
    assert_eq!(error.message, "every part of 10.20.0.0/23 is taken, by 2 hosts");
    let part = two.subnet();
    two.dies();
    assert!(join(&three).is_err(), "its lease still lives");
    eventually("the lease to end", || join(&three).is_ok());
    assert_eq!(three.subnet(), part);
    let c = three.container(2);
    eventually("the new owner to be found", || a.ask(c.address).is_some());
    // A host that says good-bye gives its part back at once.
    three.removes();
    assert!(join(&three).is_ok());
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let cluster = Cluster::new(TTL);
    let host = cluster.host(1);
    let overlay = host.driver();
    let refused = host.on(async move {
        let pool = |text: Option<&str>| PoolRequest {
            pool: text.map(|t| t.parse().unwrap()),
            ..PoolRequest::default()
        };
        let mut said = Vec::new();
        said.push(overlay.request_pool(pool(None)).await.unwrap_err().message);
        said.push(overlay.request_pool(pool(Some("fd00::/48"))).await.unwrap_err().message);
        let mut long = pool(Some("10.20.0.0/16"));
        long.options.insert("subnet-length".to_owned(), "16".to_owned());
        said.push(overlay.request_pool(long).await.unwrap_err().message);
        said.push(overlay.create_network(CreateNetwork::default()).await.unwrap_err().message);
        let given = overlay.request_pool(pool(Some("10.20.0.0/16"))).await.unwrap();
        let data = IpamData { pool: Some(given.pool), ..IpamData::default() };
        let mut secret =
            CreateNetwork { network: "ab".repeat(32), ipv4: vec![data], ..CreateNetwork::default() };
        let generic = [("encrypted".to_owned(), pintle_contract::Value::from("true"))].into();
        let label = pintle_contract::network::label::GENERIC.to_owned();
        secret.options.insert(label, pintle_contract::Value::Map(generic));
        said.push(overlay.create_network(secret).await.unwrap_err().message);
        said
    });
    for (text, part) in
        refused.iter().zip(["--subnet", "IPv4", "longer than the pool's 16", "--ipam-driver", "WireGuard"])
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    // On this host WireGuard is what it says it is, or it is not used.
    let plain = cluster.host_with(2, |config| config.wireguard = Some("uplink".parse().unwrap()));
    let error = plain.try_network("10.20.0.0/16").unwrap_err();
    assert!(error.message.contains("not WireGuard"), "{error}");
    // Another opinion on how large the parts are.
    let other = cluster.host(3);
    let error = other.try_network_with("10.20.0.0/16", "26").unwrap_err();
    assert!(error.message.contains("subnet-length 24"), "{error}");
}
