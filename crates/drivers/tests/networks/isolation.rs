//! Who reaches whom.

use crate::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn containers_reach_each_other_the_host_and_the_world() {
    let world = World::new();
    world.network(1, &["10.1.0.0/24", "fd01::/64"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24", "fd01::2/64"]).await;
    let two = world.container(1, 0xa2, &["10.1.0.3/24", "fd01::3/64"]).await;
    for (place, v4, v6) in [
        (&two.sandbox, "10.1.0.3:80", "[fd01::3]:80"),
        (&world.host, "10.1.0.1:80", "[fd01::1]:80"),
        (&world.outside, "192.0.2.2:80", "[2001:db8::2]:80"),
    ] {
        serve(place, v4);
        serve(place, v6);
        // Outside it is the host that seems to ask.
        let outside = v4.starts_with("192");
        assert_eq!(ask(&one.sandbox, v4), if outside { "192.0.2.1" } else { "10.1.0.2" });
        assert_eq!(ask(&one.sandbox, v6), if outside { "2001:db8::1" } else { "fd01::2" });
        assert_eq!(ask_udp(&one.sandbox, v4), if outside { "192.0.2.1" } else { "10.1.0.2" });
    }
    serve(&one.sandbox, "10.1.0.2:80");
    serve(&one.sandbox, "[fd01::2]:80");
    assert_eq!(ask(&world.host, "10.1.0.2:80"), "10.1.0.1");
    // From outside nobody gets in, even if they know the way.
    world.route_from_outside("10.1.0.0/24");
    world.route_from_outside("fd01::/64");
    assert!(silent(&world.outside, "10.1.0.2:80"));
    assert!(silent(&world.outside, "[fd01::2]:80"));
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_are_strangers() {
    let world = World::new();
    world.network(1, &["10.1.0.0/24", "fd01::/64"], &[]).await;
    world.network(2, &["10.2.0.0/24", "fd02::/64"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24", "fd01::2/64"]).await;
    let two = world.container(2, 0xa2, &["10.2.0.2/24", "fd02::2/64"]).await;
    serve(&two.sandbox, "10.2.0.2:80");
    serve(&two.sandbox, "[fd02::2]:80");
    assert!(silent(&one.sandbox, "10.2.0.2:80"));
    assert!(silent(&one.sandbox, "[fd02::2]:80"));
    assert_eq!(ask(&world.host, "10.2.0.2:80"), "10.2.0.1");
    // What the other network published is reached, by the host's address.
    two.publish(&world.driver, &[port("tcp :8080", 80), port("udp :8080", 80)]).await.unwrap();
    assert_eq!(ask(&one.sandbox, "10.1.0.1:8080"), "10.2.0.1");
    assert_eq!(ask(&one.sandbox, "192.0.2.1:8080"), "10.2.0.1");
    assert_eq!(ask_udp(&one.sandbox, "192.0.2.1:8080"), "10.2.0.1");
    assert_eq!(ask(&one.sandbox, "[2001:db8::1]:8080"), "fd02::1");
    assert!(silent(&one.sandbox, "10.2.0.2:80"));
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_networks_stay_inside() {
    let world = World::new();
    world.network(1, &["10.1.0.0/24", "fd01::/64"], &[("internal", "")]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24", "fd01::2/64"]).await;
    let two = world.container(1, 0xa2, &["10.1.0.3/24", "fd01::3/64"]).await;
    assert_eq!((one.joined.gateway, one.joined.gateway_v6), (None, None));
    serve(&two.sandbox, "10.1.0.3:80");
    serve(&world.outside, "192.0.2.2:80");
    assert_eq!(ask(&one.sandbox, "10.1.0.3:80"), "10.1.0.2");
    // Not even with a route that somebody made.
    let route = pintle_netlink::Route::default_by(ip("10.1.0.1"));
    one.sandbox.handle().unwrap().set_route(&link("eth0"), &route).unwrap();
    assert!(silent(&one.sandbox, "192.0.2.2:80"));
    world.route_from_outside("10.1.0.0/24");
    two.sandbox.handle().unwrap().set_route(&link("eth0"), &route).unwrap();
    assert!(silent(&world.outside, "10.1.0.3:80"));
    assert!(two.publish(&world.driver, &[port("tcp :8080", 80)]).await.unwrap().is_empty());
    // Nor may another network be entered from it.
    world.network(2, &["10.2.0.0/24"], &[]).await;
    let other = world.container(2, 0xa3, &["10.2.0.2/24"]).await;
    serve(&other.sandbox, "10.2.0.2:80");
    other.publish(&world.driver, &[port("tcp 192.0.2.1:9090", 80)]).await.unwrap();
    assert_eq!(ask(&world.outside, "192.0.2.1:9090"), "192.0.2.2");
    assert!(silent(&one.sandbox, "192.0.2.1:9090"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_icc_containers_are_strangers_to_each_other() {
    for bridged_is_filtered in ["0", "1"] {
        let world = World::new();
        let key = "net.bridge.bridge-nf-call-iptables".parse().unwrap();
        world.host.set_sysctl(&key, bridged_is_filtered).unwrap();
        let options = [("com.docker.network.bridge.enable_icc", "false")];
        world.network(1, &["10.1.0.0/24", "fd01::/64"], &options).await;
        let one = world.container(1, 0xa1, &["10.1.0.2/24", "fd01::2/64"]).await;
        let two = world.container(1, 0xa2, &["10.1.0.3/24", "fd01::3/64"]).await;
        serve(&two.sandbox, "10.1.0.3:80");
        serve(&two.sandbox, "[fd01::3]:80");
        serve(&world.outside, "192.0.2.2:80");
        assert!(silent(&one.sandbox, "10.1.0.3:80"));
        assert!(silent(&one.sandbox, "[fd01::3]:80"));
        assert_eq!(ask(&one.sandbox, "192.0.2.2:80"), "192.0.2.1");
        assert_eq!(ask(&world.host, "10.1.0.3:80"), "10.1.0.1");
        two.publish(&world.driver, &[port("tcp :8080", 80)]).await.unwrap();
        assert_eq!(ask(&world.outside, "192.0.2.1:8080"), "192.0.2.2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_services_of_the_host_are_out_of_reach() {
    let world = World::new();
    world.network(1, &["10.1.0.0/24"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    serve(&world.host, "127.0.0.1:7000");
    assert_eq!(ask(&world.host, "127.0.0.1:7000"), "127.0.0.1");
    // A container that routes 127/8 to the host, which routes it on the bridge for ports published there.
    let inside = one.sandbox.handle().unwrap();
    let local = "net.ipv4.conf.eth0.route_localnet".parse().unwrap();
    one.sandbox.set_sysctl(&local, "1").unwrap();
    inside.remove_address(&link("lo"), net("127.0.0.1/8")).unwrap();
    let route = pintle_netlink::Route::new(net("127.0.0.0/8"), Some(ip("10.1.0.1")));
    inside.set_route(&link("eth0"), &route).unwrap();
    assert!(silent(&one.sandbox, "127.0.0.1:7000"));
    // The same from outside, to a port published on loopback only.
    serve(&one.sandbox, "10.1.0.2:80");
    one.publish(&world.driver, &[port("tcp 127.0.0.1:8080", 80)]).await.unwrap();
    let outside = world.outside.handle().unwrap();
    let local = "net.ipv4.conf.uplink.route_localnet".parse().unwrap();
    world.outside.set_sysctl(&local, "1").unwrap();
    outside.remove_address(&link("lo"), net("127.0.0.1/8")).unwrap();
    let route = pintle_netlink::Route::new(net("127.0.0.0/8"), Some(ip("192.0.2.1")));
    outside.set_route(&link("uplink"), &route).unwrap();
    assert!(silent(&world.outside, "127.0.0.1:8080"));
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_modes() {
    let world = World::new();
    let routed = [
        ("com.docker.network.bridge.gateway_mode_ipv4", "routed"),
        ("com.docker.network.bridge.gateway_mode_ipv6", "routed"),
    ];
    world.network(1, &["10.1.0.0/24", "fd01::/64"], &routed).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24", "fd01::2/64"]).await;
    world.route_from_outside("10.1.0.0/24");
    world.route_from_outside("fd01::/64");
    for at in ["10.1.0.2:80", "10.1.0.2:81", "[fd01::2]:80", "[fd01::2]:81"] {
        serve(&one.sandbox, at);
    }
    serve(&world.outside, "192.0.2.2:80");
    assert!(silent(&world.outside, "10.1.0.2:80"));
    let published = one.publish(&world.driver, &[port("tcp :8080", 80)]).await.unwrap();
    assert_eq!(published, ["0.0.0.0:0->80/tcp", "[::]:0->80/tcp"]);
    assert_eq!(ask(&world.outside, "10.1.0.2:80"), "192.0.2.2");
    assert_eq!(ask(&world.outside, "[fd01::2]:80"), "2001:db8::2");
    assert!(silent(&world.outside, "10.1.0.2:81"));
    assert!(silent(&world.outside, "[fd01::2]:81"));
    assert!(silent(&world.outside, "192.0.2.1:8080"));
    assert_eq!(ask(&one.sandbox, "192.0.2.2:80"), "10.1.0.2");

    let unprotected = [("com.docker.network.bridge.gateway_mode_ipv4", "nat-unprotected")];
    world.network(2, &["10.2.0.0/24"], &unprotected).await;
    let two = world.container(2, 0xa2, &["10.2.0.2/24"]).await;
    serve(&two.sandbox, "10.2.0.2:80");
    world.route_from_outside("10.2.0.0/24");
    assert_eq!(ask(&world.outside, "10.2.0.2:80"), "192.0.2.2");
    assert_eq!(ask(&two.sandbox, "192.0.2.2:80"), "192.0.2.1");

    let trusted = [("com.docker.network.bridge.trusted_host_interfaces", "lan0:uplink")];
    world.network(3, &["10.3.0.0/24"], &trusted).await;
    let three = world.container(3, 0xa3, &["10.3.0.2/24"]).await;
    serve(&three.sandbox, "10.3.0.2:80");
    world.route_from_outside("10.3.0.0/24");
    // Whom it trusts gets to what is published, directly.
    assert!(silent(&world.outside, "10.3.0.2:80"));
    three.publish(&world.driver, &[port("tcp :8083", 80)]).await.unwrap();
    assert_eq!(ask(&world.outside, "10.3.0.2:80"), "192.0.2.2");
    serve(&three.sandbox, "10.3.0.2:81");
    assert!(silent(&world.outside, "10.3.0.2:81"));

    let isolated = [("internal", ""), ("com.docker.network.bridge.gateway_mode_ipv4", "isolated")];
    world.network(4, &["10.4.0.0/24"], &isolated).await;
    assert!(world.handle().addresses(&link("br-040404040404")).unwrap().is_empty());

    let plain = [("com.docker.network.bridge.enable_ip_masquerade", "false")];
    world.network(5, &["10.5.0.0/24"], &plain).await;
    let five = world.container(5, 0xa5, &["10.5.0.2/24"]).await;
    world.route_from_outside("10.5.0.0/24");
    assert_eq!(ask(&five.sandbox, "192.0.2.2:80"), "10.5.0.2");

    world.handle().add_address(&link("uplink"), net("192.0.2.77/24")).unwrap();
    world.network(6, &["10.6.0.0/24"], &[("com.docker.network.host_ipv4", "192.0.2.77")]).await;
    let six = world.container(6, 0xa6, &["10.6.0.2/24"]).await;
    assert_eq!(ask(&six.sandbox, "192.0.2.2:80"), "192.0.2.77");
}

#[tokio::test(flavor = "multi_thread")]
async fn published_ports_at_the_containers_own_address() {
    for direct in [false, true] {
        let world = World::with(|config| config.direct_routing = direct);
        world.network(1, &["10.1.0.0/24"], &[]).await;
        let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
        world.route_from_outside("10.1.0.0/24");
        serve(&one.sandbox, "10.1.0.2:80");
        serve(&one.sandbox, "10.1.0.2:81");
        one.publish(&world.driver, &[port("tcp :8081", 80)]).await.unwrap();
        assert_eq!(ask(&world.outside, "192.0.2.1:8081"), "192.0.2.2");
        if direct {
            assert_eq!(ask(&world.outside, "10.1.0.2:80"), "192.0.2.2");
        } else {
            assert!(silent(&world.outside, "10.1.0.2:80"));
        }
        assert!(silent(&world.outside, "10.1.0.2:81"));
        one.publish(&world.driver, &[]).await.unwrap();
        assert!(silent(&world.outside, "10.1.0.2:80"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_alone() {
    let world = World::new();
    world.network(1, &["fd01::/64"], &[]).await;
    let one = world.container(1, 0xa1, &["fd01::2/64"]).await;
    assert_eq!(one.joined.gateway, None);
    serve(&world.outside, "[2001:db8::2]:80");
    serve(&one.sandbox, "[fd01::2]:80");
    assert_eq!(ask(&one.sandbox, "[2001:db8::2]:80"), "2001:db8::1");
    let published = one.publish(&world.driver, &[port("tcp :8080", 80)]).await.unwrap();
    assert_eq!(published, ["0.0.0.0:8080->80/tcp", "[::]:8080->80/tcp"]);
    assert_eq!(ask(&world.outside, "[2001:db8::1]:8080"), "2001:db8::2");
    assert_eq!(ask(&world.outside, "192.0.2.1:8080"), "fd01::1");
}
