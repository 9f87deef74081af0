//! The plugin over the real bridge and the real addresses, in a namespace that plays the host. Every call starts from
//! nothing but what is on disk, as a new process does. Needs root and nftables.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod house;
mod refusals;
mod sweep;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use house::{House, Sandbox};
use serde_json::{Value, json};

fn bridged(house: &House) -> Value {
    house.config(&json!({
        "driver": "bridge", "options": {"com.docker.network.bridge.name": "pcni0"},
        "ipam": {"pools": [{"subnet": "10.31.0.0/24"}, {"subnet": "fd31::/64"}]},
        "dns": {"nameservers": ["10.31.0.1"]},
    }))
}

#[test]
fn add_check_and_del_over_the_bridge() {
    let house = House::new();
    let sandbox = Sandbox::new();
    let mut config = bridged(&house);
    config["runtimeConfig"] = json!({
        "portMappings": [{"hostPort": 18080, "containerPort": 80, "protocol": "tcp"}],
        "mac": "02:00:00:00:31:01",
    });
    let made = house.ok("ADD", "one", &sandbox, &config);
    assert_eq!(
        made,
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [{
                "name": "eth0", "mac": "02:00:00:00:31:01", "mtu": 1500, "sandbox": sandbox.key.to_str().unwrap(),
            }],
            "ips": [
                {"interface": 0, "address": "10.31.0.2/24", "gateway": "10.31.0.1"},
                {"interface": 0, "address": "fd31::2/64", "gateway": "fd31::1"},
            ],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.31.0.1"}, {"dst": "::/0", "gw": "fd31::1"}],
            "dns": {"nameservers": ["10.31.0.1"]},
        })
    );
    let inside = sandbox.sh("ip addr show eth0; ip route; ip -6 route");
    for part in [
        "inet 10.31.0.2/24",
        "inet6 fd31::2/64",
        "02:00:00:00:31:01",
        "default via 10.31.0.1 dev eth0",
        "default via fd31::1 dev eth0",
    ] {
        assert!(inside.contains(part), "{part}: {inside}");
    }
    for address in ["10.31.0.2:80", "10.31.0.1:18080"] {
        let listener = sandbox.namespace.run(|| TcpListener::bind("[::]:80").unwrap()).unwrap();
        let server = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"hello").unwrap());
        let text = house.host.run(|| {
            let mut stream =
                TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(10)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        assert_eq!(text.unwrap(), "hello", "{address}");
        server.join().unwrap();
    }

    config["prevResult"] = made;
    assert_eq!(house.call("CHECK", "one", &sandbox, &config), (true, Value::Null));
    // The second of the network, in a process that knows of the first only by what is on disk.
    let other = Sandbox::new();
    let plain = bridged(&house);
    let second = house.ok("ADD", "two", &other, &plain);
    assert_eq!(second["ips"][0]["address"], "10.31.0.3/24");
    sandbox.sh("ping -c1 -W5 10.31.0.3 && ping -6 -c1 -W5 fd31::3");

    for (wound, words) in [
        ("ip route del default", "the route to 0.0.0.0/0 is gone"),
        ("ip addr del fd31::2/64 dev eth0", "the interface eth0 has lost its address fd31::2/64"),
        ("ip link set eth0 down", "the interface eth0 is down"),
        ("ip link del eth0", "the interface eth0 is gone"),
    ] {
        sandbox.sh(wound);
        let (fine, error) = house.call("CHECK", "one", &sandbox, &config);
        assert!(!fine);
        assert_eq!((error["code"].as_u64(), error["msg"].as_str()), (Some(100), Some(words)), "{error}");
    }
    for _ in 0..2 {
        assert_eq!(house.call("DEL", "one", &sandbox, &config), (true, Value::Null));
    }
    assert!(house.sh("nft list ruleset").contains("pcni0"), "the network stays for the second");
    assert!(!house.sh("nft list ruleset").contains("18080"));
    house.ok("DEL", "two", &other, &plain);
    house.assert_empty();
}

#[test]
fn an_address_that_came_back_is_given_again() {
    let house = House::new();
    let config = house.config(&json!({"ipam": {"subnet": "10.32.0.0/29"}}));
    let sandboxes: Vec<Sandbox> = (0..6).map(|_| Sandbox::new()).collect();
    for (number, sandbox) in sandboxes.iter().take(5).enumerate() {
        let made = house.ok("ADD", &format!("c{number}"), sandbox, &config);
        assert_eq!(made["ips"][0]["address"], format!("10.32.0.{}/29", number + 2));
    }
    let (fine, error) = house.call("ADD", "c5", &sandboxes[5], &config);
    assert!(!fine && error["code"] == 11, "the subnet is full: {error}");
    assert_eq!(sandboxes[5].sh("ip -br link | grep -v ^lo || true"), "");
    house.ok("DEL", "c2", &sandboxes[2], &config);
    let made = house.ok("ADD", "c5", &sandboxes[5], &config);
    assert_eq!(made["ips"][0]["address"], "10.32.0.4/29");
    // The runtime's own choice.
    house.ok("DEL", "c0", &sandboxes[0], &config);
    house.ok("DEL", "c1", &sandboxes[1], &config);
    let mut chosen = config.clone();
    chosen["runtimeConfig"] = json!({"ips": ["10.32.0.3/29"]});
    let made = house.ok("ADD", "c1", &sandboxes[1], &chosen);
    assert_eq!(made["ips"][0]["address"], "10.32.0.3/29");
    chosen["runtimeConfig"] = json!({"ips": ["192.0.2.1"]});
    let (fine, error) = house.call("ADD", "c0", &sandboxes[0], &chosen);
    assert!(!fine && error["msg"] == "no subnet of front has the address 192.0.2.1", "{error}");
    // One pod after the other disappears, with its namespace.
    drop(sandboxes);
    let gone = Sandbox::new();
    for number in 0..6 {
        house.ok("DEL", &format!("c{number}"), &gone, &config);
    }
    house.assert_empty();
}

#[test]
fn many_at_once_get_what_they_need() {
    let house = House::new();
    let config = house.config(&json!({"ipam": {"subnet": "10.33.0.0/24"}}));
    let sandboxes: Vec<Sandbox> = (0..6).map(|_| Sandbox::new()).collect();
    let mut addresses: Vec<String> = std::thread::scope(|scope| {
        let add = |(number, sandbox): (usize, &Sandbox)| {
            let made = house.ok("ADD", &format!("c{number}"), sandbox, &config);
            made["ips"][0]["address"].as_str().unwrap().to_owned()
        };
        let threads: Vec<_> = sandboxes.iter().enumerate().map(|one| scope.spawn(move || add(one))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    addresses.sort();
    let wanted: Vec<String> = (2..8).map(|number| format!("10.33.0.{number}/24")).collect();
    assert_eq!(addresses, wanted);
    sandboxes[0].sh("ping -c1 -W5 10.33.0.7 || ping -c1 -W5 10.33.0.2");
    std::thread::scope(|scope| {
        for (number, sandbox) in sandboxes.iter().enumerate() {
            let (house, config) = (&house, &config);
            scope.spawn(move || house.ok("DEL", &format!("c{number}"), sandbox, config));
        }
    });
    house.assert_empty();
}

#[test]
fn results_in_every_version() {
    let house = House::new();
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let sandbox = Sandbox::new();
        let mut config = house.config(&json!({"ipam": {"subnet": "10.34.0.0/24"}}));
        config["cniVersion"] = version.into();
        let made = house.ok("ADD", "one", &sandbox, &config);
        assert_eq!(made["cniVersion"], version);
        let address = if version < "0.3.0" { &made["ip4"]["ip"] } else { &made["ips"][0]["address"] };
        assert_eq!(address, "10.34.0.2/24", "{made}");
        assert_eq!(made["ips"][0].get("version").is_some(), ("0.3.0".."1.0.0").contains(&version));
        house.ok("DEL", "one", &sandbox, &config);
    }
    house.assert_empty();
}

#[test]
fn what_is_not_valid_any_more_is_collected() {
    let house = House::new();
    let mut config = house.config(&json!({"ipam": {"subnet": "10.35.0.0/24"}}));
    config["cniVersion"] = "1.1.0".into();
    let sandboxes = [Sandbox::new(), Sandbox::new(), Sandbox::new()];
    for (name, sandbox) in ["one", "two", "three"].iter().zip(&sandboxes) {
        let mut config = config.clone();
        if *name != "two" {
            let port = 18000 + name.len();
            config["runtimeConfig"] = json!({"portMappings": [{"hostPort": port, "containerPort": 80}]});
        }
        house.ok("ADD", name, sandbox, &config);
    }
    assert_eq!(house.call("STATUS", "", &sandboxes[0], &config), (true, Value::Null));
    let mut gc = config.clone();
    gc["cni.dev/valid-attachments"] = json!([{"containerID": "one", "ifname": "eth0"}]);
    house.ok("GC", "", &sandboxes[0], &gc);
    assert!(sandboxes[0].sh("ip -br link").contains("eth0"));
    assert!(!sandboxes[1].sh("ip -br link").contains("eth0"));
    let rules = house.sh("nft list ruleset");
    assert!(rules.contains("18003") && !rules.contains("18005"), "only what is gone is closed: {rules}");
    gc["cni.dev/valid-attachments"] = json!([]);
    house.ok("GC", "", &sandboxes[0], &gc);
    house.assert_empty();
}

#[test]
fn macvlan_on_a_parent_of_the_host() {
    let house = House::new();
    house.sh("ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up");
    let config = house.config(&json!({
        "driver": "macvlan", "options": {"parent": "lan0"},
        "ipam": {"pools": [{"subnet": "10.36.0.0/24", "ipRange": "10.36.0.128/25", "gateway": "10.36.0.254"}]},
    }));
    let sandboxes = [Sandbox::new(), Sandbox::new()];
    let first = house.ok("ADD", "one", &sandboxes[0], &config);
    assert_eq!(first["ips"][0]["address"], "10.36.0.128/24");
    assert_eq!(first["routes"], json!([{"dst": "0.0.0.0/0", "gw": "10.36.0.254"}]));
    house.ok("ADD", "two", &sandboxes[1], &config);
    sandboxes[0].sh("ping -c1 -W5 10.36.0.129");
    let mut check = config.clone();
    check["prevResult"] = first;
    house.ok("CHECK", "one", &sandboxes[0], &check);
    house.ok("DEL", "one", &sandboxes[0], &config);
    assert_eq!(sandboxes[0].sh("ip -br link | grep -v ^lo || true"), "");
    house.ok("DEL", "two", &sandboxes[1], &config);
    house.sh("ip link del lan0");
    house.assert_empty();
}
