//! Networks at their limits: a host without `nft`, pools that are used up, names that collide, words that mean harm.

use std::{collections::BTreeMap, time::Duration};

use pintle_netlink::nft::{Family, Nft};
use serde_json::{Value, json};

use crate::{
    harness::{Kind, eventually},
    host::Hosted,
};

fn ready(flags: &[&str]) -> (Hosted, BTreeMap<String, String>) {
    let engine = Hosted::start(Kind::Pintle, flags);
    engine.busybox("alpine");
    engine.sh("docker run --rm alpine true").ok();
    let before = engine.world_at_rest();
    (engine, before)
}

#[track_caller]
fn nothing_is_left(engine: &Hosted, before: &BTreeMap<String, String>) {
    let limit = Duration::from_secs(10);
    eventually("links and tables to be as before", limit, || engine.world() == *before);
    eventually("nothing to be left", limit, || engine.leftovers().is_empty());
}

/// Hides `nft` from the daemon alone: in a mount namespace of its own, where the directory lacks it.
const WITHOUT_NFT: &str = r#"set -e
    mkdir -p "$1/all" "$1/some"
    mount --bind /usr/sbin "$1/all"
    for program in "$1"/all/*; do
        [ "${program##*/}" = nft ] || ln -sf "$program" "$1/some/${program##*/}"
    done
    mount --bind "$1/some" /usr/sbin
    shift
    exec "$@""#;

#[test]
fn a_host_without_nft() {
    let mut engine = Hosted::prepared(Kind::Pintle, &[]);
    let before = engine.world_at_rest();
    let place = engine.dir.join("sbin").display().to_string();
    engine.go_by(&["unshare", "--mount", "bash", "-c", WITHOUT_NFT, "-", &place]);
    engine.boot(&[]);
    engine.busybox("alpine");
    for command in ["docker run --rm alpine true", "docker network create net"] {
        let refused = engine.sh(command).fails();
        assert!(refused.contains("nftables"), "{command}: {refused}");
    }
    assert_eq!(
        engine.sh("docker network ls --format '{{.Name}}' | sort | tr '\\n' ' '").ok(),
        "bridge host none"
    );
    engine
        .sh("docker run --rm --network none alpine true && docker run --rm --network host alpine true")
        .ok();
    assert_eq!(engine.world(), before, "what could not be made whole is not there");
    engine.stop();
    // Rules that nobody asks for need no program.
    let file = engine.dir.join("daemon.json");
    std::fs::write(&file, r#"{"iptables": false, "ip6tables": false}"#).unwrap();
    engine.also(&["--config-file", file.to_str().unwrap()]);
    engine.boot(&[]);
    engine.sh("docker network create net && docker run --rm --network net alpine ip addr show eth0").ok();
    engine.sh("docker network rm net").ok();
    engine.stop();
    // And with it all is well, without a further word.
    engine.go_by(&[]);
    std::fs::write(&file, "{}").unwrap();
    engine.boot(&[]);
    engine.sh("docker run --rm alpine ip addr show eth0").ok();
}

#[test]
fn addresses_and_pools_that_are_used_up() {
    let (engine, before) = ready(&["--default-address-pool", "base=198.18.0.0/24,size=26"]);
    engine.sh("docker network create --subnet 198.51.100.0/30 small").ok();
    engine.sh("docker run -d --name one --network small alpine sleep 1000").ok();
    for _ in 0..3 {
        let refused = engine.sh("docker run -d --name two --network small alpine sleep 1000").fails();
        assert!(
            refused.contains("no available IPv4 addresses on this network's address pools: small"),
            "{refused}"
        );
        engine.sh("docker rm two").ok();
    }
    engine.sh("docker run -d --name three alpine sleep 1000").ok();
    let refused = engine.sh("docker network connect small three").fails();
    assert!(refused.contains("no available IPv4 addresses"), "{refused}");
    assert_eq!(engine.sh("docker exec three ls /sys/class/net | tr '\\n' ' '").ok(), "eth0 lo");
    engine.sh("docker rm -f one && docker network connect small three").ok();
    engine.sh("docker rm -f three && docker network rm small").ok();
    // Four subnets in all, of which the default bridge has one.
    engine.sh("for i in 1 2 3; do docker network create net$i; done").ok();
    for _ in 0..3 {
        let refused = engine.sh("docker network create net4").fails();
        assert!(refused.contains("all predefined address pools have been fully subnetted"), "{refused}");
    }
    engine
        .sh("docker network rm net2 && docker network create net4 && docker network rm net1 net3 net4")
        .ok();
    nothing_is_left(&engine, &before);
}

#[test]
fn names_that_collide() {
    let (engine, before) = ready(&[]);
    engine.sh("docker network create net").ok();
    let id = engine.sh("docker network inspect -f '{{.Id}}' net").ok();
    // A name that is another's id is found as a name first, and the other by the rest of its id.
    engine.sh(&format!("docker network create {}", &id[..12])).ok();
    assert_eq!(
        engine.sh(&format!("docker network inspect -f '{{{{.Name}}}}' {}", &id[..12])).ok(),
        &id[..12]
    );
    assert_eq!(engine.sh(&format!("docker network inspect -f '{{{{.Name}}}}' {id}")).ok(), "net");
    engine.sh(&format!("docker network rm {}", &id[..12])).ok();
    // Bridges: one that is there and no bridge, one of another network.
    let refused = engine.sh("docker network create -o com.docker.network.bridge.name=uplink x").fails();
    assert!(refused.contains("uplink"), "{refused}");
    assert_eq!(engine.world()["uplink"], "veth", "somebody else's link is left alone");
    engine.sh("docker network create -o com.docker.network.bridge.name=mybr y").ok();
    let refused = engine.sh("docker network create -o com.docker.network.bridge.name=mybr x").fails();
    assert!(refused.contains("networks have same bridge name"), "{refused}");
    engine.sh("docker network rm y").ok();
    // Interfaces: the name is taken in the container already.
    engine.sh("docker run -d --name box --network net alpine sleep 1000 && docker network create two").ok();
    for name in ["eth0", "lo"] {
        let refused = engine
            .sh(&format!(
                "docker network connect --driver-opt com.docker.network.endpoint.ifname={name} two box"
            ))
            .fails();
        assert!(refused.contains(name), "{refused}");
        assert_eq!(engine.sh("docker exec box ls /sys/class/net | tr '\\n' ' '").ok(), "eth0 lo");
    }
    engine.sh("docker network connect two box && docker exec box ip addr show eth1").ok();
    // Many at once for one name: one gets it.
    engine.sh("for i in 1 2 3 4 5 6; do docker network create same >>made 2>>refused & done; wait").ok();
    assert_eq!(engine.sh("wc -l < made").ok(), "1", "{}", engine.sh("cat made refused").ok());
    assert_eq!(engine.sh("grep -c 'network with name same already exists' refused").ok(), "5");
    engine.sh("docker rm -f box && docker network rm net two same").ok();
    nothing_is_left(&engine, &before);
}

/// Words that would mean something to a shell, a filter, a path or a file of lines.
const HARM: [&str; 12] = [
    "",
    "../../../../tmp/pintle-harm",
    "a\nb 192.0.2.66 evil",
    "a;reboot",
    "$(reboot)",
    "}; flush ruleset; {",
    "\" accept comment \"",
    "-h",
    "%s%n",
    "\u{202e}\u{feff}ü",
    "a\u{0}b",
    "LONG",
];

fn harm() -> Vec<String> {
    let long = "x".repeat(1 << 16);
    HARM.iter().map(|word| if *word == "LONG" { long.clone() } else { (*word).to_owned() }).collect()
}

#[test]
fn words_that_mean_harm() {
    let (engine, before) = ready(&[]);
    let ruleset = || Nft::new(Some(engine.host.clone())).tables(Family::Inet).unwrap();
    let tables = ruleset();
    let label = "com.docker.network";
    for word in harm() {
        let mut requests = vec![
            json!({"Name": word}),
            json!({"Name": "h", "Driver": word}),
            json!({"Name": "h", "Scope": word}),
            json!({"Name": "h", "IPAM": {"Driver": word}}),
            json!({"Name": "h", "IPAM": {"Options": {word.as_str(): word}}}),
            json!({"Name": "h", "IPAM": {"Config": [{"Subnet": word}]}}),
            json!({"Name": "h", "IPAM": {"Config": [{"Subnet": "198.51.100.0/24", "Gateway": word}]}}),
            json!({"Name": "h", "IPAM": {"Config": [{"Subnet": "198.51.100.0/24", "AuxiliaryAddresses": {word.as_str(): word}}]}}),
            json!({"Name": "h", "Labels": {word.as_str(): word}}),
            json!({"Name": "h", "ConfigFrom": {"Network": word}, "ConfigOnly": true}),
        ];
        for option in [
            "bridge.name",
            "driver.mtu",
            "bridge.host_binding_ipv4",
            "container_iface_prefix",
            "bridge.trusted_host_interfaces",
            "bridge.gateway_mode_ipv4",
        ] {
            requests.push(json!({"Name": "h", "Options": {format!("{label}.{option}"): word}}));
        }
        for request in requests {
            let (status, reply) = engine.http("POST", "/networks/create", Some(&request));
            let brief = request.to_string().chars().take(200).collect::<String>();
            assert!(status == 201 || (400..500).contains(&status), "{brief}: {status} {reply}");
            if status == 201 {
                // What is taken is kept to the letter, and works.
                let path = format!("/networks/{}", reply["Id"].as_str().unwrap());
                let (_, seen) = engine.http("GET", &path, None);
                assert_eq!(seen["Name"], request["Name"], "{brief}");
                assert_eq!(engine.http("DELETE", &path, None).0, 204, "{brief}");
            }
        }
        one_container(&engine, &word);
    }
    for bad in ["99999999999999999999", "-1", "0", "67", "70000", "0x500"] {
        let options = json!({"Name": "h", "Options": {format!("{label}.driver.mtu"): bad}});
        let (status, reply) = engine.http("POST", "/networks/create", Some(&options));
        if status == 201 {
            assert_eq!(bad, "0", "{reply}");
            engine.http("DELETE", "/networks/h", None);
        }
    }
    let huge = json!({"Name": "h", "Labels": {"x": "y".repeat(3 << 20)}});
    let (status, _) = engine.http("POST", "/networks/create", Some(&huge));
    assert!(status == 201 || (400..500).contains(&status), "{status}");
    engine.http("DELETE", "/networks/h", None);
    assert!(!std::path::Path::new("/tmp/pintle-harm").exists());
    assert_eq!(ruleset(), tables);
    engine.sh("docker run --rm alpine ip addr show eth0").ok();
    nothing_is_left(&engine, &before);
}

/// The same words wherever a container speaks of networks.
fn one_container(engine: &Hosted, word: &str) {
    let (status, reply) = engine.http("POST", "/networks/create", Some(&json!({"Name": "lan"})));
    assert_eq!(status, 201, "{reply}");
    let endpoint = |endpoint: Value| json!({"HostConfig": {"NetworkMode": "lan"}, "NetworkingConfig": {"EndpointsConfig": {"lan": endpoint}}});
    let host = |mut host: Value| {
        host["NetworkMode"] = json!("lan");
        json!({"HostConfig": host})
    };
    let wishes = [
        json!({"HostConfig": {"NetworkMode": word}}),
        endpoint(json!({"Aliases": [word]})),
        endpoint(json!({"Links": [word]})),
        endpoint(json!({"MacAddress": word})),
        endpoint(json!({"IPAMConfig": {"IPv4Address": word}})),
        endpoint(json!({"DriverOpts": {word: word}})),
        endpoint(json!({"DriverOpts": {"com.docker.network.endpoint.ifname": word}})),
        endpoint(
            json!({"DriverOpts": {"com.docker.network.endpoint.sysctls": format!("net.ipv4.conf.IFNAME.{word}=1")}}),
        ),
        endpoint(
            json!({"DriverOpts": {"com.docker.network.endpoint.sysctls": format!("net.ipv4.conf.IFNAME.forwarding={word}")}}),
        ),
        host(json!({"PortBindings": {"80/tcp": [{"HostIp": word}]}})),
        host(json!({"PortBindings": {"80/tcp": [{"HostPort": word}]}})),
        host(json!({"PortBindings": {word: [{"HostPort": "8080"}]}})),
        host(json!({"Dns": [word]})),
        host(json!({"DnsSearch": [word]})),
        host(json!({"DnsOptions": [word]})),
        host(json!({"ExtraHosts": [word]})),
        host(json!({"ExtraHosts": [format!("{word}:192.0.2.9")]})),
        host(json!({"Sysctls": {format!("net.ipv4.{word}"): word}})),
        json!({"HostConfig": {"NetworkMode": "lan"}, "Hostname": word}),
        json!({"HostConfig": {"NetworkMode": "lan"}, "Domainname": word}),
        json!({"HostConfig": {"NetworkMode": "lan"}, "ExposedPorts": {word: {}}}),
    ];
    for mut wish in wishes {
        wish["Image"] = json!("alpine");
        wish["Cmd"] = json!(["sleep", "1000"]);
        let brief = wish.to_string().chars().take(300).collect::<String>();
        let (status, reply) = engine.http("POST", "/containers/create?name=harm", Some(&wish));
        assert!(status == 201 || (400..500).contains(&status), "{brief}: {status} {reply}");
        if status != 201 {
            continue;
        }
        let (status, reply) = engine.http("POST", "/containers/harm/start", None);
        assert!(status == 204 || reply["message"].is_string(), "{brief}: {status} {reply}");
        if status == 204 {
            let files = engine.sh("docker exec harm cat /etc/hosts /etc/resolv.conf /etc/hostname").stdout;
            assert!(!files.contains("\nb 192.0.2.66"), "{brief}: a line was slipped in:\n{files}");
        }
        assert_eq!(engine.http("DELETE", "/containers/harm?force=1", None).0, 204, "{brief}");
    }
    assert_eq!(engine.http("DELETE", "/networks/lan", None).0, 204);
}
