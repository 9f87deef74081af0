//! macvlan and ipvlan.

use pintle_contract::{DriverError, ErrorKind, NetworkDriver, network::MacAddress};
use pintle_drivers::Sublink;
use pintle_netlink::Namespace;

use crate::world::*;

fn macvlan(world: &World) -> Sublink {
    Sublink::macvlan(world.host.clone(), "pintle")
}

async fn network(
    driver: &Sublink,
    number: u8,
    subnets: &[&str],
    options: &[(&str, &str)],
) -> Result<(), DriverError> {
    driver.create_network(request(number, subnets, options)).await
}

fn names(world: &World) -> Vec<String> {
    world.handle().links().unwrap().into_iter().map(|link| link.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_neighbours_of_what_is_outside() {
    let world = World::new();
    let driver = macvlan(&world);
    let options = [("parent", "uplink"), ("com.docker.network.driver.mtu", "1400")];
    network(&driver, 1, &["192.0.2.0/24", "2001:db8::/64"], &options).await.unwrap();
    let one = container(&driver, 1, 0xa1, &["192.0.2.10/24", "2001:db8::10/64"]).await.unwrap();
    let two = container(&driver, 1, 0xa2, &["192.0.2.11/24", "2001:db8::11/64"]).await.unwrap();
    assert_eq!(one.joined.gateway, Some("192.0.2.1".parse().unwrap()));
    let inside = one.sandbox.handle().unwrap().link(&link("eth0")).unwrap().unwrap();
    assert_eq!((inside.mac, inside.mtu), (Some(MacAddress([2, 0x42, 192, 0, 2, 10])), 1400));
    serve(&world.outside, "192.0.2.2:80");
    serve(&world.outside, "[2001:db8::2]:80");
    serve(&two.sandbox, "192.0.2.11:80");
    assert_eq!(ask(&one.sandbox, "192.0.2.2:80"), "192.0.2.10");
    assert_eq!(ask(&one.sandbox, "[2001:db8::2]:80"), "2001:db8::10");
    assert_eq!(ask(&world.outside, "192.0.2.11:80"), "192.0.2.2");
    assert_eq!(ask(&one.sandbox, "192.0.2.11:80"), "192.0.2.10");

    // Told again it is the same link; taken out, it is gone.
    let mut one = one;
    one.join(&driver).await.unwrap();
    assert_eq!(one.sandbox.handle().unwrap().link(&link("eth0")).unwrap().unwrap(), inside);
    let next = macvlan(&world);
    network(&next, 1, &["192.0.2.0/24", "2001:db8::/64"], &options).await.unwrap();
    next.create_endpoint(endpoint(1, 0xa1, &["192.0.2.10/24", "2001:db8::10/64"])).await.unwrap();
    one.join(&next).await.unwrap();
    assert_eq!(one.sandbox.handle().unwrap().link(&link("eth0")).unwrap().unwrap(), inside);
    assert_eq!(next.delete_network(&id(1)).await.unwrap_err().kind, ErrorKind::InUse);
    for _ in 0..2 {
        next.leave(&one.id).await.unwrap();
        next.delete_endpoint(&one.id).await.unwrap();
        next.delete_network(&id(1)).await.unwrap();
    }
    assert!(one.sandbox.handle().unwrap().link(&link("eth0")).unwrap().is_none());
    assert_eq!(names(&world), ["lo", "uplink"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn siblings_see_each_other_as_the_mode_says() {
    for (mode, see) in [("bridge", true), ("private", false), ("vepa", false)] {
        let world = World::new();
        let driver = macvlan(&world);
        let options = [("parent", "uplink"), ("macvlan_mode", mode)];
        network(&driver, 1, &["192.0.2.0/24"], &options).await.unwrap();
        let one = container(&driver, 1, 0xa1, &["192.0.2.10/24"]).await.unwrap();
        let two = container(&driver, 1, 0xa2, &["192.0.2.11/24"]).await.unwrap();
        serve(&two.sandbox, "192.0.2.11:80");
        assert_eq!(!silent(&one.sandbox, "192.0.2.11:80"), see, "{mode}");
        assert_eq!(ask(&world.outside, "192.0.2.11:80"), "192.0.2.2", "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_takes_the_parent_over() {
    let world = World::new();
    let driver = macvlan(&world);
    let options = [("parent", "uplink"), ("macvlan_mode", "passthru")];
    network(&driver, 1, &["192.0.2.0/24"], &options).await.unwrap();
    let one = container(&driver, 1, 0xa1, &["192.0.2.10/24"]).await.unwrap();
    serve(&world.outside, "192.0.2.2:80");
    assert_eq!(ask(&one.sandbox, "192.0.2.2:80"), "192.0.2.10");
    assert!(container(&driver, 1, 0xa2, &["192.0.2.11/24"]).await.is_err());
    let error = network(&driver, 2, &["10.2.0.0/24"], &[("parent", "uplink")]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PermissionDenied);
    assert!(error.message.contains("already using parent interface uplink"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_parent_there_is_no_outside() {
    let world = World::new();
    let driver = macvlan(&world);
    network(&driver, 1, &["10.1.0.0/24"], &[]).await.unwrap();
    assert_eq!(names(&world), ["lo", "uplink", "dm-010101010101"]);
    let one = container(&driver, 1, 0xa1, &["10.1.0.2/24"]).await.unwrap();
    let two = container(&driver, 1, 0xa2, &["10.1.0.3/24"]).await.unwrap();
    assert_eq!(one.joined.gateway, None);
    serve(&two.sandbox, "10.1.0.3:80");
    assert_eq!(ask(&one.sandbox, "10.1.0.3:80"), "10.1.0.2");
    // A crash leaves the parent; the next engine keeps it as long as somebody tells of the network.
    let next = macvlan(&world);
    network(&next, 1, &["10.1.0.0/24"], &[]).await.unwrap();
    next.retain(&[id(1)], &[]).await.unwrap();
    assert_eq!(names(&world).len(), 3);
    macvlan(&world).retain(&[], &[]).await.unwrap();
    assert_eq!(names(&world), ["lo", "uplink"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_that_cannot_be_are_refused() {
    let world = World::new();
    let driver = macvlan(&world);
    for (parent, text) in [
        ("lo", "loopback interface is not a valid macvlan parent link"),
        ("eth9", "-o parent interface does not exist on the host: eth9"),
        ("eth9.10", "-o parent interface does not exist on the host: eth9.10"),
        ("uplink.0", "vlan id must be between 1-4094, received: 0"),
        ("uplink.5000", "vlan id must be between 1-4094"),
        ("uplink/../x", "interface name"),
        ("a b", "interface name"),
    ] {
        let error = network(&driver, 1, &["10.1.0.0/24"], &[("parent", parent)]).await.unwrap_err();
        assert!(error.message.contains(text), "{parent}: {error}");
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
    }
    for (key, value) in [
        ("macvlan_mode", "x"),
        ("com.docker.network.driver.mtu", "9"),
        ("com.docker.network.container_iface_prefix", "a/"),
    ] {
        let options = [("parent", "uplink"), (key, value)];
        assert_eq!(
            network(&driver, 1, &["10.1.0.0/24"], &options).await.unwrap_err().kind,
            ErrorKind::InvalidArgument
        );
    }
    assert_eq!(names(&world), ["lo", "uplink"]);
}

/// Both on kernels with VLANs and on those without: what holds is asked of the kernel, as the driver does.
#[tokio::test(flavor = "multi_thread")]
async fn a_tagged_parent_is_made_or_refused_with_the_reason() {
    let world = World::new();
    let driver = macvlan(&world);
    let made = network(&driver, 1, &["10.1.0.0/24"], &[("parent", "uplink.10")]).await;
    let tagged = pintle_netlink::LinkKind::Vlan { parent: link("below"), id: 7 };
    let scratch = Namespace::create().unwrap().handle().unwrap();
    scratch.add_link(&pintle_netlink::NewLink::new(link("below"), pintle_netlink::LinkKind::Bridge)).unwrap();
    let known = scratch.add_link(&pintle_netlink::NewLink::new(link("below.7"), tagged));
    match known {
        Err(error) if error.kind() == pintle_netlink::ErrorKind::Unsupported => {
            let error = made.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unsupported);
            assert!(error.message.contains("uplink.10: there is no support for VLANs"), "{error}");
            assert_eq!(names(&world), ["lo", "uplink"]);
        }
        _ => {
            made.unwrap();
            assert_eq!(names(&world), ["lo", "uplink", "uplink.10"]);
            driver.delete_network(&id(1)).await.unwrap();
            assert_eq!(names(&world), ["lo", "uplink"]);
        }
    }
}

/// The same for ipvlan.
#[tokio::test(flavor = "multi_thread")]
async fn ipvlan_works_or_is_refused_with_the_reason() {
    let world = World::new();
    let driver = Sublink::ipvlan(world.host.clone(), "pintle");
    let made = network(&driver, 1, &["192.0.2.0/24"], &[("parent", "uplink")]).await;
    let scratch = Namespace::create().unwrap().handle().unwrap();
    scratch.add_link(&pintle_netlink::NewLink::new(link("below"), pintle_netlink::LinkKind::Bridge)).unwrap();
    let kind = pintle_netlink::LinkKind::Ipvlan {
        parent: link("below"),
        mode: pintle_netlink::IpvlanMode::L2,
        flag: pintle_netlink::IpvlanFlag::Bridge,
    };
    match scratch.add_link(&pintle_netlink::NewLink::new(link("above"), kind)) {
        Err(error) => {
            assert_eq!(error.kind(), pintle_netlink::ErrorKind::Unsupported);
            let error = made.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unsupported);
            assert!(error.message.starts_with("this kernel has no ipvlan (add link"), "{error}");
        }
        Ok(()) => {
            made.unwrap();
            let one = container(&driver, 1, 0xa1, &["192.0.2.10/24"]).await.unwrap();
            serve(&world.outside, "192.0.2.2:80");
            assert_eq!(ask(&one.sandbox, "192.0.2.2:80"), "192.0.2.10");
        }
    }
    for (key, value) in [("ipvlan_mode", "l4"), ("ipvlan_flag", "x")] {
        let error =
            network(&driver, 2, &["10.2.0.0/24"], &[("parent", "uplink"), (key, value)]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
    }
}
