//! Containers in networks, over the real bridge driver on a host that is a namespace of the test's.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use pintle_contract::network::{Protocol, label};
use pintle_engine::{
    ErrorKind,
    containers::{ContainerSpec, RemoveOptions, StopOptions},
    networks::{EndpointSpec, Filters, NetworkSpec, Port, PublishSpec, SubnetSpec},
};

use crate::house::{House, copy_image, patience, until};

fn lan(name: &str, subnet: &str) -> NetworkSpec {
    let mut spec = NetworkSpec { name: name.into(), ..NetworkSpec::default() };
    if !subnet.is_empty() {
        spec.ipam.config = vec![SubnetSpec { subnet: subnet.into(), ..SubnetSpec::default() }];
    }
    spec
}

fn on(spec: ContainerSpec, network: &str) -> ContainerSpec {
    ContainerSpec {
        networks: [(network.to_owned(), EndpointSpec::default())].into(),
        network_mode: network.into(),
        ..spec
    }
}

/// What a script in a container prints, one that sleeps for ever beside it.
async fn said(house: &House, id: &str, script: &str) -> String {
    house.exec(id, &["sh", "-c", script]).await
}

pub async fn containers_find_each_other() {
    let house = House::new().await;
    house.networks.create(lan("lan", "10.88.0.0/24")).await.unwrap();
    let mut server = on(house.spec(&["sleep", "60"]), "lan");
    server.networks.get_mut("lan").unwrap().aliases = vec!["www".into()];
    server.hostname = "srv".into();
    let server = house.containers.create(Some("server"), server).await.unwrap().id;
    house.containers.start(&server).await.unwrap();
    let script = "ping -c1 -W2 server >/dev/null && echo by name; ping -c1 -W2 www >/dev/null && echo by alias; \
                  nslookup server.lan | tail -n3; cat /etc/resolv.conf /etc/hosts; ip -4 -o addr show eth0; ip route; \
                  ping -c1 -W2 nobody 2>&1";
    let (_, output) = house.run(on(house.shell(script), "lan")).await;
    for part in [
        "by name\nby alias\n",
        "10.88.0.2",
        "nameserver 127.0.0.11\n",
        "ndots:0",
        "10.88.0.3\t",
        "default via 10.88.0.1 dev eth0",
        "bad address",
    ] {
        assert!(output.contains(part), "{part:?} in {output}");
    }
    let container = house.containers.inspect(&server).unwrap();
    let seen = house.containers.networks(&container);
    let endpoint = &seen.networks["lan"];
    assert_eq!(endpoint.address.unwrap().to_string(), "10.88.0.2/24");
    assert_eq!(endpoint.gateway.unwrap().to_string(), "10.88.0.1");
    assert_eq!(endpoint.interface, "eth0");
    assert_eq!(endpoint.dns_names, ["server", "www", &server[..12], "srv"]);
    assert!(seen.sandbox_key.ends_with(&server[..12]) && seen.sandbox_key.exists());
    let network = house.networks.get("lan").unwrap();
    assert_eq!(network.endpoints[&server].name, "server");
    assert_eq!(network.endpoints.len(), 1, "the one that ended is gone");
    let refused = house.networks.remove("lan").await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Forbidden);
    house.gone(&server).await;
    house.networks.remove("lan").await.unwrap();
    assert_eq!(house.networks.list(&Filters::default()).len(), 3);
    house.close().await;
}

pub async fn joining_and_leaving_while_running() {
    let house = House::new().await;
    house.networks.create(lan("one", "10.81.0.0/24")).await.unwrap();
    house.networks.create(lan("two", "10.82.0.0/24")).await.unwrap();
    let id = house.start(on(house.spec(&["sleep", "60"]), "one")).await;
    house.containers.connect(&id, "two", EndpointSpec::default()).await.unwrap();
    let seen = said(&house, &id, "ip -4 -o addr; ip route; cat /etc/hosts").await;
    for part in ["eth1", "10.82.0.2/24", "default via 10.81.0.1", "10.81.0.2\t", "10.82.0.2\t"] {
        assert!(seen.contains(part), "{part:?} in {seen}");
    }
    house.containers.disconnect(&id, "one", false).await.unwrap();
    let seen = said(&house, &id, "ip -4 -o addr; ip route; cat /etc/hosts").await;
    assert!(!seen.contains("10.81.0"), "{seen}");
    assert!(seen.contains("default via 10.82.0.1"), "{seen}");
    let other = house.containers.disconnect(&id, "one", false).await.unwrap_err();
    assert!(other.message.contains("is not connected to the network one"), "{other}");
    // Stopped, it is a wish that the next start grants.
    house.containers.stop(&id, StopOptions { timeout: Some(0), signal: None }).await.unwrap();
    house
        .containers
        .connect(&id, "one", EndpointSpec { gw_priority: 9, ..EndpointSpec::default() })
        .await
        .unwrap();
    house.containers.start(&id).await.unwrap();
    let seen = said(&house, &id, "ip route").await;
    assert!(seen.contains("default via 10.81.0.1"), "{seen}");
    for network in ["one", "two"] {
        house.containers.disconnect(&id, network, false).await.unwrap();
    }
    let seen = said(&house, &id, "ip -o link").await;
    assert_eq!(seen.lines().count(), 1, "{seen}");
    house.containers.restart(&id, StopOptions { timeout: Some(0), signal: None }).await.unwrap();
    let seen = said(&house, &id, "ip -o link").await;
    assert_eq!(seen.lines().count(), 1, "it wants none any more: {seen}");
    house.gone(&id).await;
    house.networks.prune(&Default::default()).await.unwrap();
    house.close().await;
}

pub async fn what_an_endpoint_may_ask_for() {
    let house = House::new().await;
    house.networks.create(lan("lan", "10.83.0.0/24")).await.unwrap();
    let mut inner = lan("inner", "10.84.0.0/24");
    inner.internal = true;
    house.networks.create(inner).await.unwrap();
    let mut six = lan("six", "10.85.0.0/24");
    six.enable_ipv6 = Some(true);
    six.ipam.config.push(SubnetSpec { subnet: "fd00:85::/64".into(), ..SubnetSpec::default() });
    house.networks.create(six).await.unwrap();
    let mut spec = on(house.spec(&["sleep", "60"]), "lan");
    {
        let wish = spec.networks.get_mut("lan").unwrap();
        wish.ipv4_address = "10.83.0.77".into();
        wish.mac_address = "02:42:0a:53:00:4d".into();
        wish.driver_opts.insert(label::IFNAME.into(), "uplink".into());
        wish.driver_opts.insert(label::SYSCTLS.into(), "net.ipv4.conf.IFNAME.log_martians=1".into());
    }
    spec.networks.insert("inner".into(), EndpointSpec::default());
    spec.networks.insert("six".into(), EndpointSpec { gw_priority: -1, ..EndpointSpec::default() });
    let id = house.start(spec.clone()).await;
    let seen = said(
        &house,
        &id,
        "ip -o addr; ip link show uplink; ip route; ip -6 route; cat /proc/sys/net/ipv4/conf/uplink/log_martians; \
         cat /proc/sys/net/ipv6/conf/uplink/disable_ipv6",
    )
    .await;
    for part in [
        "10.83.0.77/24",
        "02:42:0a:53:00:4d",
        "10.84.0.2/24",
        "10.85.0.2/24",
        "fd00:85::2/64",
        "default via 10.83.0.1 dev uplink",
        "default via fd00:85::1",
        "\n1\n1\n",
    ] {
        assert!(seen.contains(part), "{part:?} in {seen}");
    }
    let mut without = on(house.shell("ip -o addr"), "six");
    without.sysctls.insert("net.ipv6.conf.all.disable_ipv6".into(), "1".into());
    let (_, seen) = house.run(without).await;
    assert!(seen.contains("10.85.0.") && !seen.contains("inet6"), "{seen}");
    let taken = house.containers.create(None, spec).await.unwrap().id;
    let error = house.containers.start(&taken).await.unwrap_err();
    assert!(error.message.starts_with("failed to set up container networking"), "{error}");
    house.gone(&taken).await;
    let outside = EndpointSpec { ipv4_address: "10.99.0.1".into(), ..EndpointSpec::default() };
    let error = house.containers.connect(&id, "lan", outside).await.unwrap_err();
    assert!(error.message.contains("no configured subnet contains IP address 10.99.0.1"), "{error}");
    let gone = house.start_err(on(house.spec(&["true"]), "nosuch")).await;
    assert_eq!((gone.kind, gone.message.ends_with("network nosuch not found")), (ErrorKind::NotFound, true));
    house.gone(&id).await;
    house.networks.prune(&Default::default()).await.unwrap();
    house.close().await;
}

pub async fn shared_and_host_networks() {
    let house = House::new().await;
    let mut donor = house.spec(&["sleep", "60"]);
    donor.hostname = "giver".into();
    let donor = house.start(donor).await;
    let mut shares = house.shell("hostname; cat /etc/hosts; ip -4 -o addr show eth0");
    shares.network_mode = format!("container:{donor}");
    let (code, seen) = house.run(shares.clone()).await;
    let address = house.address(&donor, "bridge");
    assert_eq!(code, 0);
    assert!(seen.starts_with("giver\n") && seen.contains(&format!("{address}\tgiver")), "{seen}");
    assert_eq!(seen.matches(&address).count(), 2, "{seen}");
    house.containers.stop(&donor, StopOptions { timeout: Some(0), signal: None }).await.unwrap();
    let error = house.start_err(shares).await;
    assert!(error.message.contains("cannot join network namespace of a non running container"), "{error}");
    house.gone(&donor).await;

    let mut host = house.shell("ip -o link | wc -l; hostname");
    host.network_mode = "host".into();
    let id = house.start(host).await;
    house.wait(&id).await;
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(house.output(&id).await.ends_with(&own));
    house.gone(&id).await;
    let mut none = house.shell("ip -o link; cat /etc/resolv.conf");
    none.network_mode = "none".into();
    let (_, seen) = house.run(none).await;
    assert_eq!(seen.matches("LOOPBACK,UP").count(), 1, "{seen}");
    assert!(!seen.contains("eth0") && !seen.contains("127.0.0.11"), "{seen}");
    house.close().await;
}

pub async fn published_ports() {
    let house = House::new().await;
    let publish = |port: &str, host: &str| PublishSpec {
        port: port.into(),
        host_port: host.into(),
        ..PublishSpec::default()
    };
    let mut spec = house.shell("while true; do echo hello | nc -l -p 80; done");
    spec.publish = vec![publish("80/tcp", "18080"), publish("81/udp", "")];
    spec.exposed_ports = vec!["90/tcp".into()];
    let id = house.start(spec.clone()).await;
    let container = house.containers.inspect(&id).unwrap();
    let ports = house.containers.networks(&container).ports;
    let tcp = |port| Port { port, protocol: Protocol::Tcp };
    assert!(ports[&tcp(80)].iter().all(|host| host.port == 18080) && !ports[&tcp(80)].is_empty());
    assert_ne!(ports[&Port { port: 81, protocol: Protocol::Udp }][0].port, 0);
    assert_eq!(ports[&tcp(90)], []);
    let gateway = house.networks.get("bridge").unwrap().subnets[0].gateway.unwrap();
    let host = house.host.clone();
    let answer = move || {
        let to = SocketAddr::new(gateway, 18080);
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let _ = stream.write_all(b"x");
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    };
    until("it answers", || host.run(answer).unwrap().is_some_and(|text| text == "hello\n")).await;
    let error = house.start_err(spec.clone()).await;
    assert!(
        error.message.contains("driver failed programming external connectivity")
            && error.message.contains("port is already allocated"),
        "{error}"
    );
    // Given back with the end of the run, and taken again by the next.
    house.containers.restart(&id, StopOptions { timeout: Some(0), signal: None }).await.unwrap();
    until("it answers", || host.run(answer).unwrap().is_some_and(|text| text == "hello\n")).await;
    house.gone(&id).await;
    let other = house.start(spec).await;
    house.gone(&other).await;
    house.close().await;
}

pub async fn links_on_the_default_bridge() {
    let house = House::new().await;
    let mut spec = house.spec(&["sleep", "60"]);
    spec.hostname = "dbhost".into();
    let db = house.containers.create(Some("db"), spec).await.unwrap().id;
    let mut spec = house.shell("cat /etc/hosts; ping -c1 -W2 data >/dev/null && echo reached");
    spec.links = vec!["db:data".into()];
    spec.extra_hosts = vec!["out:host-gateway".into()];
    let error = house.start_err(spec.clone()).await;
    assert!(error.message.contains("Cannot link to a non running container: /db AS"), "{error}");
    house.containers.start(&db).await.unwrap();
    let (_, seen) = house.run(spec).await;
    let address = house.address(&db, "bridge");
    let gateway = house.networks.get("bridge").unwrap().subnets[0].gateway.unwrap();
    assert!(seen.contains(&format!("{address}\tdata dbhost db\n")), "{seen}");
    assert!(seen.contains(&format!("{gateway}\tout\n")) && seen.ends_with("reached\n"), "{seen}");
    house.gone(&db).await;
    house.close().await;
}

pub async fn another_engine_keeps_the_networks() {
    let owned = tempfile::Builder::new().prefix("pintle-engine-").tempdir().unwrap();
    copy_image(owned.path()).await;
    let house = House::open(owned.path()).await;
    house.containers.restore().await.unwrap();
    house.networks.reconcile();
    house.networks.create(lan("lan", "")).await.unwrap();
    let mut server = on(house.shell("while true; do echo hello | nc -l -p 80; done"), "lan");
    server.publish = vec![PublishSpec { port: "80".into(), ..PublishSpec::default() }];
    let server = house.containers.create(Some("server"), server).await.unwrap().id;
    house.containers.start(&server).await.unwrap();
    let ends = house.start(on(house.shell("sleep 0.3"), "lan")).await;
    let before = house.containers.networks(&house.containers.inspect(&server).unwrap());
    house.containers.shutdown().await;
    house.networks.shutdown().await;
    house.volumes.shutdown().await;
    drop(house);
    tokio::time::sleep(Duration::from_millis(600)).await;

    let house = House::open(owned.path()).await;
    house.containers.restore().await.unwrap();
    house.networks.reconcile();
    let after = house.containers.networks(&house.containers.inspect(&server).unwrap());
    assert_eq!(before, after);
    assert_eq!(house.networks.get("lan").unwrap().endpoints.len(), 1, "the one that ended is gone");
    let links = house.host.handle().unwrap().links().unwrap();
    assert_eq!(links.iter().filter(|link| link.kind == "veth").count(), 1);
    // A new one gets another address, and finds the old one by name.
    let (_, seen) = house.run(on(house.shell("ping -c1 -W2 server >/dev/null && echo found"), "lan")).await;
    assert_eq!(seen, "found\n");
    house.containers.remove(&ends, RemoveOptions::default()).await.unwrap();
    patience(house.containers.stop(&server, StopOptions { timeout: Some(0), signal: None })).await.unwrap();
    house.gone(&server).await;
    house.networks.remove("lan").await.unwrap();
    house.close().await;
}
