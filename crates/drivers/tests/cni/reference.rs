//! The reference plugins, alone and in chains.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use pintle_contract::{
    NetworkDriver, Value,
    network::{CreateEndpoint, Interface, IpamData, PortBinding, Protocol, label},
};
use serde_json::json;

use crate::house::{House, Sandbox, Wish, endpoint, join, network, settled, start, stop};

impl House {
    /// `host-local`, with its leases in the test's own folder.
    fn host_local(&self, subnet: &str) -> serde_json::Value {
        json!({
            "type": "host-local", "subnet": subnet, "dataDir": self.path("leases"),
            "routes": [{"dst": "0.0.0.0/0"}],
        })
    }

    fn leases(&self, network: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("leases").join(network)) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect();
        names.sort();
        names
    }
}

/// Answers one connection to port 80 in the sandbox with a word.
fn serve(sandbox: &Sandbox) -> std::thread::JoinHandle<()> {
    let listener = sandbox.namespace.run(|| TcpListener::bind("[::]:80").unwrap()).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
    })
}

fn ask(from: &pintle_netlink::Namespace, address: &str) -> String {
    let address = address.parse().unwrap();
    let text = from.run(|| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    text.unwrap()
}

fn published(host_port: u16) -> Vec<PortBinding> {
    vec![PortBinding { protocol: Protocol::Tcp, port: 80, host_ip: None, host_port, host_port_end: 0 }]
}

impl House {
    /// A bridge for both families, and what is chained to it.
    fn chain(&self, version: &str, disable_check: bool, more: &[serde_json::Value]) {
        let mut plugins = vec![
            json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "ipam": {
                "type": "host-local", "dataDir": self.path("leases"),
                "ranges": [[{"subnet": "10.22.0.0/24"}], [{"subnet": "fd22::/64"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            }}),
            json!({"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}}),
            json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}),
            json!({"type": "firewall", "backend": "iptables"}),
        ];
        plugins.extend_from_slice(more);
        self.config(
            "chain.conflist",
            &json!({"cniVersion": version, "name": "chain", "disableCheck": disable_check, "plugins": plugins}),
        );
    }
}

const SLOW: [(&str, &str); 1] =
    [("capability.bandwidth", r#"{"ingressRate": 8000000, "ingressBurst": 8000000}"#)];

#[test]
fn a_chain_of_five_that_publishes_a_port() {
    for version in ["0.4.0", "1.0.0"] {
        let house = House::new();
        // CHECK of portmap 1.1.1 looks for its IPv4 rules among those of IPv6: what disableCheck is for.
        house.chain(
            version,
            true,
            &[json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}})],
        );
        let (driver, sandbox) = (house.driver(), Sandbox::new());
        let wish = Wish { ports: published(18080), name: "eth0", ..Wish::default() };
        house.play(async {
            driver.create_network(network("chain", &SLOW)).await.unwrap();
            let joined = start(&driver, 'a', &sandbox, &wish).await.unwrap();
            let settled = settled(&joined);
            assert_eq!(settled.interface.address, Some("10.22.0.2/24".parse().unwrap()));
            assert_eq!(settled.interface.address_v6, Some("fd22::2/64".parse().unwrap()));
            assert!(settled.interface.mac.is_some());
            assert_eq!(joined.gateway, Some("10.22.0.1".parse().unwrap()));
            assert_eq!(joined.gateway_v6, Some("fd22::1".parse().unwrap()));
            assert_eq!(joined.published, [PortBinding { host_port_end: 18080, ..wish.ports[0].clone() }]);
        });
        let inside = sandbox.sh("ip addr show eth0; ip route; sysctl -n net.core.somaxconn");
        for part in ["inet 10.22.0.2/24", "inet6 fd22::2/64", "default via 10.22.0.1 dev eth0", "500"] {
            assert!(inside.contains(part), "{part}: {inside}");
        }
        let rules = house.sh("iptables-save; tc qdisc show");
        for part in ["18080", "CNI-FORWARD", "MASQUERADE", "tbf", "rate 8Mbit"] {
            assert!(rules.contains(part), "{part}: {rules}");
        }
        assert_eq!(house.leases("chain"), ["10.22.0.2", "fd22::2"]);
        // New IPv6 addresses are of no use until the kernel has asked whether they are somebody else's.
        house.sh("for i in $(seq 100); do ip -6 addr | grep -q tentative || break; sleep 0.1; done");
        for address in ["10.22.0.2:80", "[fd22::2]:80", "10.22.0.1:18080"] {
            let server = serve(&sandbox);
            assert_eq!(ask(&house.host, address), "hello", "{address}");
            server.join().unwrap();
        }
        house.play(async { stop(&driver, 'a').await.unwrap() });
        assert_eq!(sandbox.sh("ip -br link | grep -v ^lo || true"), "");
        assert_eq!(house.leases("chain"), Vec::<String>::new());
        let after = house.sh("ip -br link; iptables-save; ip6tables-save");
        for part in ["10.22.0.2", "fd22::2", "18080", "veth"] {
            assert!(!after.contains(part), "{part}: {after}");
        }
    }
}

#[test]
fn a_chain_is_looked_at_when_the_engine_comes_again() {
    let house = House::new();
    house.chain("1.0.0", false, &[]);
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    let wish = Wish { name: "eth0", ..Wish::default() };
    let joined = house.play(async {
        driver.create_network(network("chain", &SLOW)).await.unwrap();
        start(&driver, 'a', &sandbox, &wish).await.unwrap()
    });
    drop(driver);
    let driver = house.driver();
    let id = endpoint('a');
    house.play(async {
        driver.create_network(network("chain", &SLOW)).await.unwrap();
        driver.create_endpoint(CreateEndpoint { id: id.clone(), ..CreateEndpoint::default() }).await.unwrap();
        assert_eq!(join(&driver, 'a', &sandbox, &wish).await.unwrap(), joined);
        let info = driver.endpoint_info(&id).await.unwrap();
        assert_eq!(info.get("Trouble"), None, "everything is in order: {info:?}");
        // What somebody took away is noticed, and the container stays.
        sandbox.sh("ip route del default");
        assert_eq!(join(&driver, 'a', &sandbox, &wish).await.unwrap(), joined);
        let info = driver.endpoint_info(&id).await.unwrap();
        let trouble = format!("{:?}", info.get("Trouble"));
        assert!(trouble.contains("CNI plugin bridge (CHECK)"), "{trouble}");
        stop(&driver, 'a').await.unwrap();
        assert!(house.leases("chain").is_empty());
    });
}

#[test]
fn macvlan_with_addresses_that_the_user_chose() {
    let house = House::new();
    house.sh("ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up");
    house.list(
        "lan",
        "1.0.0",
        &json!([
            {"type": "macvlan", "master": "lan0", "mode": "bridge", "capabilities": {"ips": true},
             "ipam": {"type": "static", "routes": [{"dst": "0.0.0.0/0", "gw": "10.23.0.1"}]}},
        ]),
    );
    let (driver, sandboxes) = (house.driver(), [Sandbox::new(), Sandbox::new()]);
    let wish = |address: &str, address_v6: &str, name| Wish {
        interface: Interface {
            address: Some(address.parse().unwrap()),
            address_v6: Some(address_v6.parse().unwrap()),
            mac: None,
        },
        name,
        ..Wish::default()
    };
    house.play(async {
        driver.create_network(network("lan", &[])).await.unwrap();
        let one =
            start(&driver, 'a', &sandboxes[0], &wish("10.23.0.7/24", "fd23::7/64", "lan")).await.unwrap();
        assert_eq!(settled(&one).name, "lan");
        assert_eq!(settled(&one).interface.address, Some("10.23.0.7/24".parse().unwrap()));
        assert_eq!(settled(&one).interface.address_v6, Some("fd23::7/64".parse().unwrap()));
        assert_eq!(one.gateway, Some("10.23.0.1".parse().unwrap()));
        start(&driver, 'b', &sandboxes[1], &wish("10.23.0.8/24", "fd23::8/64", "eth0")).await.unwrap();
    });
    let server = serve(&sandboxes[1]);
    assert_eq!(ask(&sandboxes[0].namespace, "10.23.0.8:80"), "hello", "one container speaks to the other");
    server.join().unwrap();
    house.play(async {
        join(&driver, 'a', &sandboxes[0], &wish("10.23.0.7/24", "fd23::7/64", "lan")).await.unwrap();
        stop(&driver, 'a').await.unwrap();
        stop(&driver, 'b').await.unwrap();
    });
    assert_eq!(sandboxes[0].sh("ip -br link | grep -v ^lo || true"), "");
}

#[test]
fn subnets_and_addresses_that_the_user_typed() {
    let house = House::new();
    house.list(
        "typed",
        "1.0.0",
        &json!([
            {"type": "bridge", "bridge": "cni1", "isGateway": true, "capabilities": {"ipRanges": true, "ips": true},
             "ipam": {"type": "host-local", "dataDir": house.path("leases")}},
        ]),
    );
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    let mut wanted = network("typed", &[]);
    wanted.ipv4.push(IpamData {
        pool: Some("10.24.0.0/16".parse().unwrap()),
        sub_pool: Some("10.24.9.0/24".parse().unwrap()),
        gateway: Some("10.24.0.254/16".parse().unwrap()),
        ..IpamData::default()
    });
    wanted.ipv6.push(IpamData { pool: Some("fd24::/64".parse().unwrap()), ..IpamData::default() });
    house.play(async {
        driver.create_network(wanted).await.unwrap();
        let joined = start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        assert_eq!(settled(&joined).interface.address, Some("10.24.9.1/16".parse().unwrap()));
        assert_eq!(settled(&joined).interface.address_v6, Some("fd24::2/64".parse().unwrap()));
        stop(&driver, 'a').await.unwrap();
        let interface = Interface { address: Some("10.24.9.77/16".parse().unwrap()), ..Interface::default() };
        let wish = Wish { interface, ..Wish::default() };
        let joined = start(&driver, 'b', &sandbox, &wish).await.unwrap();
        assert_eq!(settled(&joined).interface.address, Some("10.24.9.77/16".parse().unwrap()));
        stop(&driver, 'b').await.unwrap();
    });
    assert!(house.leases("typed").is_empty());
}

#[test]
fn results_of_every_version_from_one_plugin() {
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
        let house = House::new();
        house.config(
            "pair.conf",
            &json!({"cniVersion": version, "name": "pair", "type": "ptp", "ipMasq": false, "ipam": house.host_local("10.25.0.0/24"),
                    "dns": {"nameservers": ["10.25.0.1"]}}),
        );
        let (driver, sandbox) = (house.driver(), Sandbox::new());
        house.play(async {
            driver.create_network(network("pair", &[])).await.unwrap();
            let joined =
                start(&driver, 'a', &sandbox, &Wish { name: "eth3", ..Wish::default() }).await.unwrap();
            let settled = settled(&joined);
            assert_eq!(settled.name, "eth3", "{version}");
            assert_eq!(settled.interface.address, Some("10.25.0.2/24".parse().unwrap()), "{version}");
            assert_eq!(joined.gateway, Some("10.25.0.1".parse().unwrap()), "{version}");
            assert_eq!(settled.dns.servers, ["10.25.0.1".parse::<std::net::IpAddr>().unwrap()], "{version}");
            assert!(sandbox.sh("ip -4 addr show eth3").contains("10.25.0.2/24"));
            stop(&driver, 'a').await.unwrap();
            assert!(house.leases("pair").is_empty(), "{version}");
        });
    }
}

#[test]
fn exhausted_addresses_and_sandboxes_that_are_gone() {
    let house = House::new();
    house.list(
        "small",
        "1.0.0",
        &json!([{"type": "bridge", "bridge": "cni2", "ipam": house.host_local("10.26.0.0/30")}]),
    );
    let driver = house.driver();
    let (first, second) = (Sandbox::new(), Sandbox::new());
    house.play(async {
        driver.create_network(network("small", &[])).await.unwrap();
        start(&driver, 'a', &first, &Wish::default()).await.unwrap();
        let error = start(&driver, 'b', &second, &Wish::default()).await.unwrap_err();
        assert!(error.message.contains("CNI plugin bridge (ADD)"), "{error}");
        assert!(error.message.contains("no IP addresses available"), "{error}");
        assert_eq!(house.records().len(), 1);
        assert_eq!(second.sh("ip -br link | grep -v ^lo || true"), "");
        // The container and its namespace died with the host's power; DEL frees the address all the same.
        drop(first);
        stop(&driver, 'a').await.unwrap();
        assert!(house.leases("small").is_empty());
        start(&driver, 'b', &second, &Wish::default()).await.unwrap();
        // A second endpoint under a name that is taken is refused, and does not harm the first.
        let error = start(&driver, 'c', &second, &Wish::default()).await.unwrap_err();
        assert!(error.message.contains("CNI plugin bridge (ADD)"), "{error}");
        stop(&driver, 'b').await.unwrap();
        assert!(house.leases("small").is_empty());
    });
}

#[test]
fn aliases_and_options_of_the_engine_disturb_nobody() {
    let house = House::new();
    house.list(
        "plain",
        "1.0.0",
        &json!([{"type": "bridge", "bridge": "cni3", "ipam": house.host_local("10.27.0.0/24")}]),
    );
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    let wish = Wish {
        options: vec![
            (label::ALIASES, Value::List(vec![Value::from("web")])),
            (label::IFNAME, Value::from("front0")),
            ("args.IgnoreUnknown", Value::from("1")),
            ("args.K8S_POD_NAME", Value::from("web-0")),
        ],
        ports: published(18081),
        interface: Interface { mac: "02:00:00:00:22:01".parse().ok(), ..Interface::default() },
        ..Wish::default()
    };
    house.play(async {
        driver.create_network(network("plain", &[])).await.unwrap();
        let joined = start(&driver, 'a', &sandbox, &wish).await.unwrap();
        assert_eq!(settled(&joined).name, "front0");
        assert_eq!(settled(&joined).interface.mac, wish.interface.mac);
        assert!(sandbox.sh("ip link show front0").contains("02:00:00:00:22:01"));
        assert!(joined.published.is_empty(), "nobody publishes here");
        stop(&driver, 'a').await.unwrap();
    });
}
