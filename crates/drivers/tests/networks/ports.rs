//! Published ports.

use std::{net::TcpListener, time::Duration};

use pintle_contract::{ErrorKind, NetworkDriver};

use crate::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_published_port_is_reached_from_everywhere() {
    for bridged_is_filtered in ["0", "1"] {
        let world = World::new();
        let key = "net.bridge.bridge-nf-call-iptables".parse().unwrap();
        world.host.set_sysctl(&key, bridged_is_filtered).unwrap();
        world.network(1, &["10.1.0.0/24", "fd01::/64"], &[]).await;
        let one = world.container(1, 0xa1, &["10.1.0.2/24", "fd01::2/64"]).await;
        let two = world.container(1, 0xa2, &["10.1.0.3/24", "fd01::3/64"]).await;
        serve(&one.sandbox, "0.0.0.0:80");
        serve(&one.sandbox, "[fd01::2]:80");
        let list = [port("tcp :8080", 80), port("udp :8080", 80)];
        let published = one.publish(&world.driver, &list).await.unwrap();
        let expected =
            ["0.0.0.0:8080->80/tcp", "[::]:8080->80/tcp", "0.0.0.0:8080->80/udp", "[::]:8080->80/udp"];
        assert_eq!(published, expected);
        let (host, outside) = (&world.host, &world.outside);
        for (from, at, seen) in [
            (outside, "192.0.2.1:8080", "192.0.2.2"),
            (outside, "[2001:db8::1]:8080", "2001:db8::2"),
            (host, "192.0.2.1:8080", "192.0.2.1"),
            (host, "127.0.0.1:8080", "10.1.0.1"),
            (host, "127.0.0.9:8080", "10.1.0.1"),
            (host, "10.1.0.1:8080", "10.1.0.1"),
            (host, "[2001:db8::1]:8080", "2001:db8::1"),
            // The kernel does not route from there; the engine itself carries it.
            (host, "[::1]:8080", "fd01::1"),
            // A neighbour, and the container itself.
            (&two.sandbox, "10.1.0.1:8080", "10.1.0.1"),
            (&two.sandbox, "192.0.2.1:8080", "10.1.0.1"),
            (&two.sandbox, "[fd01::1]:8080", "fd01::1"),
            (&one.sandbox, "192.0.2.1:8080", "10.1.0.1"),
            (&one.sandbox, "[2001:db8::1]:8080", "fd01::1"),
        ] {
            assert_eq!(ask(from, at), seen, "tcp to {at}, bridged {bridged_is_filtered}");
            assert_eq!(ask_udp(from, at), seen, "udp to {at}, bridged {bridged_is_filtered}");
        }
        world.driver.revoke_external_connectivity(&one.id).await.unwrap();
        for at in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
            assert!(silent(&world.outside, at), "{at}");
        }
        assert!(silent(&world.host, "127.0.0.1:8080") && silent(&world.host, "[::1]:8080"));
        assert!(!world.rules().contains("8080"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_may_be_one_address_s_only() {
    let world = World::new();
    world.network(1, &["10.1.0.0/24"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    serve(&one.sandbox, "10.1.0.2:80");
    serve(&one.sandbox, "10.1.0.2:81");
    world.handle().add_address(&link("uplink"), net("192.0.2.7/24")).unwrap();
    let list =
        [port("tcp 192.0.2.7:8080", 80), port("tcp 192.0.2.1:8080", 81), port("tcp 127.0.0.1:9090", 80)];
    let published = one.publish(&world.driver, &list).await.unwrap();
    assert_eq!(published, ["192.0.2.7:8080->80/tcp", "192.0.2.1:8080->81/tcp", "127.0.0.1:9090->80/tcp"]);
    assert_eq!(ask(&world.outside, "192.0.2.7:8080"), "192.0.2.2");
    assert_eq!(ask(&world.outside, "192.0.2.1:8080"), "192.0.2.2");
    assert_eq!(ask(&world.host, "127.0.0.1:9090"), "10.1.0.1");
    assert!(silent(&world.outside, "192.0.2.1:9090"));
    assert!(silent(&world.host, "127.0.0.1:8080"));
    let error = one.publish(&world.driver, &[port("tcp 203.0.113.9:80", 80)]).await.unwrap_err();
    assert_eq!(error.message, "failed to bind host port 203.0.113.9:80/tcp: cannot assign requested address");
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_clients_of_a_container_without_ipv6() {
    let world = World::new();
    world.network(1, &["10.1.0.0/24"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    serve(&one.sandbox, "10.1.0.2:80");
    let list = [port("tcp :8080", 80), port("udp :8080", 80)];
    one.publish(&world.driver, &list).await.unwrap();
    for (from, at) in [(&world.outside, "[2001:db8::1]:8080"), (&world.host, "[::1]:8080")] {
        assert_eq!(ask(from, at), "10.1.0.1");
        assert_eq!(ask_udp(from, at), "10.1.0.1");
    }
    // Without the proxy there is nothing for them.
    let world = World::with(|config| config.userland_proxy = false);
    world.network(1, &["10.1.0.0/24"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    serve(&one.sandbox, "10.1.0.2:80");
    assert_eq!(
        one.publish(&world.driver, &list).await.unwrap(),
        ["0.0.0.0:8080->80/tcp", "0.0.0.0:8080->80/udp"]
    );
    assert_eq!(ask(&world.outside, "192.0.2.1:8080"), "192.0.2.2");
    assert!(silent(&world.outside, "[2001:db8::1]:8080"));
    let error = one.publish(&world.driver, &[port("tcp [::1]:80", 80)]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_read_as_docker_s() {
    let world = World::new();
    world.network(1, &["10.1.0.0/24"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    let two = world.container(1, 0xa2, &["10.1.0.3/24"]).await;
    one.publish(&world.driver, &[port("tcp :80", 80), port("udp 127.0.0.1:53", 53)]).await.unwrap();
    for (wanted, text) in [
        ("tcp :80", "Bind for 0.0.0.0:80 failed: port is already allocated"),
        ("tcp 127.0.0.1:80", "Bind for 127.0.0.1:80 failed: port is already allocated"),
        ("tcp [::]:80", "Bind for [::]:80 failed: port is already allocated"),
        ("udp :53", "Bind for 0.0.0.0:53 failed: port is already allocated"),
    ] {
        let error = two.publish(&world.driver, &[port("tcp :7777", 80), port(wanted, 80)]).await.unwrap_err();
        assert_eq!((error.message.as_str(), error.kind), (text, ErrorKind::Conflict));
        assert!(!world.rules().contains("7777"));
    }
    // What was taken for the attempt is free again, and other protocols and addresses are other ports.
    two.publish(&world.driver, &[port("tcp :7777", 80), port("udp :80", 80), port("udp 127.0.0.2:53", 53)])
        .await
        .unwrap();
    // A process of the host has it.
    let held = world.host.run(|| TcpListener::bind("192.0.2.1:9000")).unwrap().unwrap();
    for wanted in ["tcp 192.0.2.1:9000", "tcp 0.0.0.0:9000"] {
        let error = two.publish(&world.driver, &[port(wanted, 80)]).await.unwrap_err();
        let (_, address) = wanted.split_once(' ').unwrap();
        let text = format!("failed to bind host port {address}/tcp: address already in use");
        assert_eq!((error.message, error.kind), (text, ErrorKind::Conflict));
    }
    drop(held);
    two.publish(&world.driver, &[port("tcp 192.0.2.1:9000", 80)]).await.unwrap();
    // And the other way round, whether or not the process allows the reuse of addresses.
    assert!(world.host.run(|| TcpListener::bind("192.0.2.1:9000")).unwrap().is_err());
    assert!(world.host.run(|| TcpListener::bind("0.0.0.0:80")).unwrap().is_err());
    assert!(world.host.run(|| std::net::UdpSocket::bind("127.0.0.1:53")).unwrap().is_err());
    world.driver.delete_endpoint(&one.id).await.unwrap();
    two.publish(&world.driver, &[port("tcp :80", 80)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_ports_that_may_be_any() {
    let world = World::new();
    let range = "net.ipv4.ip_local_port_range".parse().unwrap();
    world.host.set_sysctl(&range, "40000 40003").unwrap();
    world.network(1, &["10.1.0.0/24"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    let two = world.container(1, 0xa2, &["10.1.0.3/24"]).await;
    serve(&one.sandbox, "10.1.0.2:80");
    let v4 = |list: Vec<String>| list.into_iter().filter(|text| !text.starts_with('[')).collect::<Vec<_>>();
    let list = [port("tcp :8000-8002", 80), port("tcp :8000-8002", 81)];
    let published = v4(one.publish(&world.driver, &list).await.unwrap());
    assert_eq!(published, ["0.0.0.0:8000->80/tcp", "0.0.0.0:8001->81/tcp"]);
    assert_eq!(ask(&world.outside, "192.0.2.1:8000"), "192.0.2.2");
    let published = v4(two.publish(&world.driver, &list[..1]).await.unwrap());
    assert_eq!(published, ["0.0.0.0:8002->80/tcp"]);
    let error = two.publish(&world.driver, &list).await.unwrap_err();
    assert_eq!(error.message, "all ports are allocated");

    let any = [port("tcp :0", 80), port("udp :0", 80), port("tcp :0", 81)];
    let published = one.publish(&world.driver, &any).await.unwrap();
    let expected = [
        "0.0.0.0:40000->80/tcp",
        "[::]:40000->80/tcp",
        "0.0.0.0:40000->80/udp",
        "[::]:40000->80/udp",
        "0.0.0.0:40001->81/tcp",
        "[::]:40001->81/tcp",
    ];
    assert_eq!(published, expected);
    // A port that came back is not the next one given.
    world.driver.revoke_external_connectivity(&one.id).await.unwrap();
    let again = v4(one.publish(&world.driver, &any[..1]).await.unwrap());
    assert_eq!(again, ["0.0.0.0:40002->80/tcp"]);
    let again =
        v4(two.publish(&world.driver, &[any[0].clone(), any[2].clone(), any[0].clone()]).await.unwrap());
    assert_eq!(again, ["0.0.0.0:40003->80/tcp", "0.0.0.0:40000->81/tcp", "0.0.0.0:40001->80/tcp"]);
    let error = one.publish(&world.driver, &[any[0].clone(), any[0].clone()]).await.unwrap_err();
    assert_eq!(error.message, "all ports are allocated");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_ports_are_published_can_be_the_network_s_choice() {
    let world = World::new();
    let options = [("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1")];
    world.network(1, &["10.1.0.0/24"], &options).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    serve(&one.sandbox, "10.1.0.2:80");
    assert_eq!(
        one.publish(&world.driver, &[port("tcp :8080", 80)]).await.unwrap(),
        ["127.0.0.1:8080->80/tcp"]
    );
    assert_eq!(ask(&world.host, "127.0.0.1:8080"), "10.1.0.1");
    assert!(silent(&world.outside, "192.0.2.1:8080"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sctp_is_passed_on_even_where_the_kernel_has_no_such_sockets() {
    let world = World::new();
    world.network(1, &["10.1.0.0/24"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    let two = world.container(1, 0xa2, &["10.1.0.3/24"]).await;
    assert_eq!(
        one.publish(&world.driver, &[port("sctp 0.0.0.0:3868", 3868)]).await.unwrap(),
        ["0.0.0.0:3868->3868/sctp"]
    );
    assert!(world.rules().contains("sctp . 3868 : 10.1.0.2 . 3868"), "{}", world.rules());
    let error = two.publish(&world.driver, &[port("sctp 0.0.0.0:3868", 3868)]).await.unwrap_err();
    assert_eq!(error.message, "Bind for 0.0.0.0:3868 failed: port is already allocated");
}

/// A sender that never stops would keep reaching whoever had the port first.
#[tokio::test(flavor = "multi_thread")]
async fn datagrams_follow_the_port() {
    let world = World::new();
    world.network(1, &["10.1.0.0/24"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    let two = world.container(1, 0xa2, &["10.1.0.3/24"]).await;
    let receive = |container: &Container, address: &str| {
        container.sandbox.run(|| std::net::UdpSocket::bind(address)).unwrap().unwrap()
    };
    let (first, second) = (receive(&one, "10.1.0.2:80"), receive(&two, "10.1.0.3:80"));
    let sender = world.outside.run(|| std::net::UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    sender.connect("192.0.2.1:8080").unwrap();
    let heard = |socket: &std::net::UdpSocket| {
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        // A sender is told that nobody listened by the next call.
        let _ = sender.send(b"x").or_else(|_| sender.send(b"x"));
        socket.recv(&mut [0; 8]).is_ok()
    };
    assert!(!heard(&first));
    let list = [port("udp :8080", 80)];
    one.publish(&world.driver, &list).await.unwrap();
    assert!(heard(&first));
    world.driver.revoke_external_connectivity(&one.id).await.unwrap();
    two.publish(&world.driver, &list).await.unwrap();
    assert!(heard(&second));
    assert!(!heard(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_filter_is_its_administrator_s_own() {
    let world = World::with(|config| (config.iptables, config.ip6tables) = (false, false));
    world.network(1, &["10.1.0.0/24", "fd01::/64"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24", "fd01::2/64"]).await;
    serve(&one.sandbox, "10.1.0.2:80");
    serve(&one.sandbox, "[fd01::2]:80");
    let list = [port("tcp :8080", 80), port("udp :8080", 80)];
    one.publish(&world.driver, &list).await.unwrap();
    // Everything by way of the engine itself.
    assert_eq!(ask(&world.outside, "192.0.2.1:8080"), "10.1.0.1");
    assert_eq!(ask(&world.host, "127.0.0.1:8080"), "10.1.0.1");
    assert_eq!(ask(&world.outside, "[2001:db8::1]:8080"), "fd01::1");
    assert_eq!(ask_udp(&world.outside, "192.0.2.1:8080"), "10.1.0.1");
    let world_is = world.nft().tables(pintle_netlink::nft::Family::Inet).unwrap();
    assert!(world_is.is_empty(), "{world_is:?}");
    world.driver.retain(&[id(1)], std::slice::from_ref(&one.id)).await.unwrap();
    assert_eq!(world.sysctl("net.ipv4.conf.br-010101010101.route_localnet"), "0");
}
