//! How networks and endpoints come, stay and go.

use pintle_contract::{ErrorKind, NetworkDriver, network::MacAddress};
use pintle_netlink::{LinkKind, NewLink, nft::Script};

use crate::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays() {
    let world = World::new();
    let before: Vec<String> = world.handle().links().unwrap().into_iter().map(|link| link.name).collect();
    world.network(1, &["10.1.0.0/24", "fd01::/64"], &[]).await;
    world.network(2, &["10.2.0.0/24"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24", "fd01::2/64"]).await;
    one.publish(&world.driver, &[port("tcp :8080", 80), port("udp 127.0.0.1:53", 53)]).await.unwrap();
    let error = world.driver.delete_network(&id(1)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InUse);
    for _ in 0..2 {
        world.driver.revoke_external_connectivity(&one.id).await.unwrap();
        world.driver.leave(&one.id).await.unwrap();
        world.driver.delete_endpoint(&one.id).await.unwrap();
        world.driver.delete_network(&id(1)).await.unwrap();
        world.driver.delete_network(&id(2)).await.unwrap();
    }
    let after: Vec<String> = world.handle().links().unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(before, after);
    assert_eq!(world.rules(), "");
    world.driver.retain(&[], &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_is_as_the_network_says() {
    let world = World::new();
    let options = [
        ("com.docker.network.bridge.name", "lab0"),
        ("com.docker.network.driver.mtu", "1400"),
        ("com.docker.network.container_iface_prefix", "lab"),
    ];
    world.network(1, &["10.1.0.0/24"], &options).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    let interface = one.joined.interface.clone().unwrap();
    assert_eq!((interface.name.as_str(), interface.prefix.as_str()), ("lab0", "lab"));
    let inside = one.sandbox.handle().unwrap().link(&link("lab0")).unwrap().unwrap();
    assert_eq!((inside.mtu, inside.mac), (1400, Some(MacAddress([2, 0x42, 10, 1, 0, 2]))));
    let bridge = world.handle().link(&link("lab0")).unwrap().unwrap();
    assert_eq!((bridge.mtu, bridge.kind.as_str()), (1400, "bridge"));
    let outer = world.handle().link(&link("vethpa1a1a1a1a1")).unwrap().unwrap();
    assert_eq!((outer.mtu, outer.master, outer.up), (1400, Some(bridge.index), true));

    world.network(2, &["10.2.0.0/24"], &[("com.docker.network.bridge.default_bridge", "true")]).await;
    assert!(world.handle().link(&link("pintle0")).unwrap().is_some());
    world.network(3, &["10.3.0.0/24"], &[("com.docker.network.bridge.inhibit_ipv4", "true")]).await;
    assert!(world.handle().addresses(&link("br-030303030303")).unwrap().is_empty());
    assert_eq!(world.sysctl("net.ipv6.conf.pintle0.disable_ipv6"), "1");
    assert_eq!(world.sysctl("net.ipv4.ip_forward"), "1");
    // A second network of the same container.
    let second = endpoint(2, 0xa2, &["10.2.0.2/24"]);
    let mut second = Container {
        sandbox: one.sandbox.clone(),
        id: second.id.clone(),
        addresses: {
            world.driver.create_endpoint(second.clone()).await.unwrap();
            second.interface
        },
        joined: Default::default(),
    };
    second.join(&world.driver).await.unwrap();
    assert_eq!(second.joined.interface.unwrap().name, "eth0");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_options_are_refused_and_leave_nothing() {
    let world = World::new();
    let long = "x".repeat(300);
    for (key, value) in [
        ("com.docker.network.bridge.name", "a/b"),
        ("com.docker.network.bridge.name", "../../etc"),
        ("com.docker.network.bridge.name", "x; flush ruleset"),
        ("com.docker.network.bridge.name", "0123456789abcdef"),
        ("com.docker.network.bridge.name", "uplink"),
        ("com.docker.network.bridge.enable_icc", "maybe"),
        ("com.docker.network.bridge.enable_ip_masquerade", "2"),
        ("com.docker.network.bridge.gateway_mode_ipv4", "tunnel"),
        ("com.docker.network.bridge.gateway_mode_ipv4", "isolated"),
        ("com.docker.network.bridge.host_binding_ipv4", "here"),
        ("com.docker.network.bridge.trusted_host_interfaces", "eth0:\"} drop"),
        ("com.docker.network.container_iface_prefix", "eth/"),
        ("com.docker.network.container_iface_prefix", "averylongprefix"),
        ("com.docker.network.driver.mtu", "big"),
        ("com.docker.network.driver.mtu", "-1"),
        ("com.docker.network.driver.mtu", "70000"),
        ("com.docker.network.host_ipv4", "fd00::1"),
        ("com.docker.network.bridge.enable_icc", &long),
    ] {
        let error =
            world.driver.create_network(request(1, &["10.1.0.0/24"], &[(key, value)])).await.unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::InvalidArgument | ErrorKind::PermissionDenied),
            "{key}={value}: {error}"
        );
        assert!(error.message.len() < 300, "{error}");
    }
    assert_eq!(world.handle().links().unwrap().len(), 2);
    assert_eq!(world.rules(), "");
    let error =
        world.driver.create_network(request(1, &["10.1.0.0/24", "10.2.0.0/24"], &[])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PermissionDenied);
    let mut nameless = request(1, &["10.1.0.0/24"], &[]);
    nameless.network = "../../../../x".into();
    assert_eq!(world.driver.create_network(nameless).await.unwrap_err().kind, ErrorKind::InvalidArgument);

    world.network(1, &["10.1.0.0/24"], &[("com.docker.network.bridge.name", "lab0")]).await;
    for (subnet, name, why) in [
        ("10.2.0.0/24", "lab0", "networks have same bridge name"),
        ("10.1.0.128/25", "lab1", "networks have overlapping IPv4"),
    ] {
        let options = [("com.docker.network.bridge.name", name)];
        let error = world.driver.create_network(request(2, &[subnet], &options)).await.unwrap_err();
        assert!(error.message.ends_with(why), "{error}");
    }
    for wrong in
        [endpoint(9, 0xa1, &["10.1.0.2/24"]), endpoint(1, 0xa1, &["fd00::2/64"]), endpoint(1, 0xa1, &[])]
    {
        assert!(world.driver.create_endpoint(wrong).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_of_the_administrator_is_used_and_kept() {
    let world = World::new();
    let handle = world.handle();
    handle.add_link(&NewLink::new(link("lan0"), LinkKind::Bridge).up()).unwrap();
    handle.add_address(&link("lan0"), net("10.77.0.1/24")).unwrap();
    let end = |text: &str| NewLink::new(link(text), LinkKind::Peer);
    handle.add_veth(&end("vethp0000000000"), &end("far"), &world.outside).unwrap();
    handle.add_veth(&end("machine").master(link("lan0")), &end("far2"), &world.outside).unwrap();
    world.network(1, &["10.1.0.0/24"], &[("com.docker.network.bridge.name", "lan0")]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    serve(&world.outside, "192.0.2.2:80");
    assert_eq!(ask(&one.sandbox, "192.0.2.2:80"), "192.0.2.1");
    world.driver.retain(&[id(1)], std::slice::from_ref(&one.id)).await.unwrap();
    assert_eq!(ask(&one.sandbox, "192.0.2.2:80"), "192.0.2.1");
    world.driver.delete_endpoint(&one.id).await.unwrap();
    world.driver.delete_network(&id(1)).await.unwrap();
    let addresses = handle.addresses(&link("lan0")).unwrap();
    assert!(addresses.contains(&net("10.77.0.1/24")), "{addresses:?}");
    assert!(handle.link(&link("machine")).unwrap().is_some());
    assert!(handle.link(&link("vethp0000000000")).unwrap().is_some());
}

/// An engine dies at any moment. The next one is told everything again; containers are served all the while, and what
/// nobody tells of is gone afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_engine_finds_its_way() {
    let world = World::new();
    world.network(1, &["10.1.0.0/24", "fd01::/64"], &[]).await;
    world.network(2, &["10.2.0.0/24"], &[]).await;
    world.network(3, &["10.3.0.0/24"], &[]).await;
    let mut one = world.container(1, 0xa1, &["10.1.0.2/24", "fd01::2/64"]).await;
    let lost = world.container(1, 0xa2, &["10.1.0.3/24", "fd01::3/64"]).await;
    let other = world.container(2, 0xa3, &["10.2.0.2/24"]).await;
    serve(&one.sandbox, "10.1.0.2:80");
    serve(&lost.sandbox, "10.1.0.3:80");
    one.publish(&world.driver, &[port("tcp 0.0.0.0:8080", 80)]).await.unwrap();
    lost.publish(&world.driver, &[port("tcp 0.0.0.0:8081", 80)]).await.unwrap();
    other.publish(&world.driver, &[port("tcp 0.0.0.0:8082", 80)]).await.unwrap();
    let world = world.restarted();
    assert_eq!(ask(&world.outside, "192.0.2.1:8080"), "192.0.2.2");

    let before = world.handle().link(&link("vethpa1a1a1a1a1")).unwrap().unwrap();
    world.network(1, &["10.1.0.0/24", "fd01::/64"], &[]).await;
    assert_eq!(ask(&world.outside, "192.0.2.1:8080"), "192.0.2.2");
    let created = endpoint(1, 0xa1, &["10.1.0.2/24", "fd01::2/64"]);
    world.driver.create_endpoint(created.clone()).await.unwrap();
    one.join(&world.driver).await.unwrap();
    assert_eq!(world.handle().link(&link("vethpa1a1a1a1a1")).unwrap().unwrap(), before);
    assert_eq!(ask(&world.outside, "192.0.2.1:8080"), "192.0.2.2");
    one.publish(&world.driver, &[port("tcp 0.0.0.0:8080", 80)]).await.unwrap();
    assert_eq!(ask(&world.outside, "192.0.2.1:8080"), "192.0.2.2");
    // Everything twice is as good as once.
    world.network(1, &["10.1.0.0/24", "fd01::/64"], &[]).await;
    world.driver.create_endpoint(created).await.unwrap();
    one.join(&world.driver).await.unwrap();
    one.publish(&world.driver, &[port("tcp 0.0.0.0:8080", 80)]).await.unwrap();

    world.driver.retain(&[id(1)], std::slice::from_ref(&one.id)).await.unwrap();
    assert_eq!(ask(&world.outside, "192.0.2.1:8080"), "192.0.2.2");
    assert!(silent(&world.outside, "192.0.2.1:8081"));
    let names: Vec<String> = world.handle().links().unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let rules = world.rules();
    for gone in ["8081", "8082", "020202020202", "030303030303", "10.2."] {
        assert!(!rules.contains(gone), "{gone} in {rules}");
    }
    // The sandbox died with its container, and the endpoint comes to another one.
    one.sandbox = pintle_netlink::Namespace::create().unwrap();
    one.join(&world.driver).await.unwrap();
    serve(&one.sandbox, "10.1.0.2:80");
    assert_eq!(ask(&world.outside, "192.0.2.1:8080"), "192.0.2.2");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_somebody_flushed_come_back() {
    let world = World::new();
    world.network(1, &["10.1.0.0/24"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    serve(&one.sandbox, "10.1.0.2:80");
    serve(&world.outside, "192.0.2.2:80");
    one.publish(&world.driver, &[port("tcp :8080", 80)]).await.unwrap();
    let rules = world.rules();
    let mut script = Script::new();
    script.line(format_args!("flush ruleset"));
    world.nft().apply(&script).unwrap();
    assert_eq!(world.rules(), "");
    let two = world.container(1, 0xa2, &["10.1.0.3/24"]).await;
    two.publish(&world.driver, &[port("tcp :8081", 80)]).await.unwrap();
    assert_eq!(ask(&world.outside, "192.0.2.1:8080"), "192.0.2.2");
    assert_eq!(ask(&one.sandbox, "192.0.2.2:80"), "192.0.2.1");
    world.driver.revoke_external_connectivity(&two.id).await.unwrap();
    world.nft().apply(&script).unwrap();
    world.driver.restore().unwrap();
    assert_eq!(world.rules(), rules);
}

/// A container ends, and the next one has its addresses at once, while the kernel still takes the first one's apart.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_container_is_not_taken_for_the_last() {
    let world = World::new();
    world.network(1, &["10.1.0.0/24", "fd01::/64"], &[]).await;
    let peer = world.container(1, 0xb1, &["10.1.0.9/24", "fd01::9/64"]).await;
    let addresses = ["10.1.0.2/24", "fd01::2/64"];
    let first = world.container(1, 0xa1, &addresses).await;
    serve(&first.sandbox, "10.1.0.2:80");
    serve(&first.sandbox, "[fd01::2]:80");
    assert_eq!(ask(&peer.sandbox, "10.1.0.2:80"), "10.1.0.9");
    assert_eq!(ask(&peer.sandbox, "[fd01::2]:80"), "fd01::9");
    world.driver.leave_ending(&first.id).await.unwrap();
    world.driver.delete_endpoint(&first.id).await.unwrap();
    // Its sandbox lives on, held by the servers in it; still nobody reaches it.
    assert!(world.handle().link(&link("vethpa1a1a1a1a1")).unwrap().is_some());
    assert!(silent(&peer.sandbox, "10.1.0.2:80") && silent(&world.host, "[fd01::2]:80"));
    let second = world.container(1, 0xa2, &addresses).await;
    // Nobody listens in the second one yet.
    assert!(silent(&peer.sandbox, "10.1.0.2:80") && silent(&peer.sandbox, "[fd01::2]:80"));
    serve(&second.sandbox, "10.1.0.2:80");
    serve(&second.sandbox, "[fd01::2]:80");
    assert_eq!(ask(&peer.sandbox, "10.1.0.2:80"), "10.1.0.9");
    assert_eq!(ask(&peer.sandbox, "[fd01::2]:80"), "fd01::9");
    // The same endpoint may come back to another sandbox.
    world.driver.leave_ending(&second.id).await.unwrap();
    let mut again = second;
    again.sandbox = pintle_netlink::Namespace::create().unwrap();
    again.join(&world.driver).await.unwrap();
    serve(&again.sandbox, "10.1.0.2:80");
    assert_eq!(ask(&peer.sandbox, "10.1.0.2:80"), "10.1.0.9");
    // What is left of the first goes with the network, or when nobody tells of it.
    world.driver.retain(&[id(1)], &[peer.id.clone(), again.id.clone()]).await.unwrap();
    assert!(world.handle().link(&link("vethpa1a1a1a1a1")).unwrap().is_none());
    assert!(world.handle().link(&link("vethpa2a2a2a2a2")).unwrap().is_some());
}
