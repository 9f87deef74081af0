//! What plugins are told, to the letter, and in which order.

use std::fs;

use pintle_contract::{
    ErrorKind, NetworkDriver, Value,
    network::{Interface, IpamData, PortBinding, Protocol, label},
};
use serde_json::{Value as Json, json};

use crate::house::{House, Sandbox, Wish, endpoint, join, network, settled, start, stop};

const RESULT: &str = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"veth1"},{"name":"eth0","mac":"02:00:00:00:00:07","sandbox":"/x"}],
  "ips":[{"address":"10.7.0.2/16","gateway":"10.7.0.1","interface":1},{"address":"fd07::2/64","gateway":"fd07::1","interface":1},
         {"address":"10.8.0.2/24","interface":1},{"address":"192.0.2.1/32","interface":0}],
  "routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"},{"dst":"10.9.0.0/16","gw":"10.7.0.9"}],
  "dns":{"nameservers":["10.7.0.1","bad"],"domain":"lan"}}"#;

/// A plugin that makes nothing, and one that changes a MAC address.
fn pair(house: &House, versions: &[&str]) {
    let first = format!("case $CNI_COMMAND in ADD) cat <<'X'\n{RESULT}\nX\n;; esac");
    house.plugin("first", versions, &first);
    house.plugin(
        "second",
        versions,
        r#"case $CNI_COMMAND in ADD) printf '%s' "$stdin" | python3 -c '
import json, sys
result = json.load(sys.stdin)["prevResult"]
for link in result["interfaces"]:
    if link.get("sandbox"): link["mac"] = "02:00:00:00:00:08"
print(json.dumps(result))' ;; esac"#,
    );
}

#[test]
fn a_chain_is_called_to_the_letter() {
    let house = House::new();
    pair(&house, &["0.4.0", "1.0.0"]);
    house.list(
        "letters",
        "1.0.0",
        &json!([
            {"type": "first", "keep": {"me": [1, null]}, "capabilities": {"ips": true, "aliases": true, "dns": true}},
            {"type": "second", "capabilities": {"portMappings": true, "bandwidth": true, "mac": false}},
        ]),
    );
    let driver = house.driver();
    let sandbox = Sandbox::new();
    house.play(async {
        let options = [
            ("args.A", "network"),
            ("args.B", "b"),
            ("capability.bandwidth.ingressRate", "1000"),
            ("capability.bandwidth.ingressBurst", "1"),
        ];
        driver.create_network(network("letters", &options)).await.unwrap();
        let texts = |list: &[&str]| Value::List(list.iter().map(|text| Value::from(*text)).collect());
        let wish = Wish {
            interface: Interface { address: Some("10.7.0.2/16".parse().unwrap()), ..Interface::default() },
            options: vec![
                ("args.A", Value::from("endpoint")),
                ("capability.bandwidth.ingressBurst", Value::from("2000")),
                (label::ALIASES, texts(&["db", "primary"])),
                (label::DNS_SERVERS, texts(&["192.0.2.53"])),
                (label::ENDPOINT_NAME, Value::from("box")),
                (label::EXPOSED_PORTS, Value::List(Vec::new())),
            ],
            ports: vec![PortBinding {
                protocol: Protocol::Udp,
                port: 53,
                host_ip: Some("127.0.0.1".parse().unwrap()),
                host_port: 5353,
                host_port_end: 0,
            }],
            name: "eth0",
        };
        let joined = start(&driver, 'a', &sandbox, &wish).await.unwrap();
        assert_eq!(house.calls(), ["first-ADD", "second-ADD"]);
        assert_eq!(
            house.stdin(0),
            json!({
                "cniVersion": "1.0.0", "name": "letters", "type": "first", "keep": {"me": [1, null]},
                "runtimeConfig": {
                    "ips": ["10.7.0.2/16"], "aliases": ["db", "primary"], "dns": {"servers": ["192.0.2.53"]},
                },
            })
        );
        let mut previous: Json = serde_json::from_str(RESULT).unwrap();
        assert_eq!(
            house.stdin(1),
            json!({
                "cniVersion": "1.0.0", "name": "letters", "type": "second",
                "runtimeConfig": {
                    "bandwidth": {"ingressRate": 1000, "ingressBurst": 2000},
                    "portMappings":
                        [{"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}],
                },
                "prevResult": previous,
            })
        );
        let environment = format!(
            "CNI_ARGS=A=endpoint;B=b\nCNI_COMMAND=ADD\nCNI_CONTAINERID={}\nCNI_IFNAME=eth0\nCNI_NETNS={}\n\
             CNI_PATH={}:/usr/lib/cni\nPATH={}\nPWD=/\n",
            "a".repeat(64),
            sandbox.key.display(),
            house.path("bin").display(),
            std::env::var("PATH").unwrap(),
        );
        let mut lines: Vec<String> = environment.lines().map(str::to_owned).collect();
        let told = fs::read_to_string(house.path("log.env")).unwrap();
        let mut told: Vec<String> = told.lines().map(str::to_owned).collect();
        // B was said before A, which the endpoint said again.
        for line in lines.iter_mut().chain(&mut told) {
            if let Some(pairs) = line.strip_prefix("CNI_ARGS=") {
                let mut pairs: Vec<&str> = pairs.split(';').collect();
                pairs.sort_unstable();
                *line = format!("CNI_ARGS={}", pairs.join(";"));
            }
        }
        // The shell adds where it is.
        lines.retain(|line| line != "PWD=/");
        told.retain(|line| line != "PWD=/");
        assert_eq!(told, lines);

        let settled = settled(&joined);
        assert_eq!(settled.name, "eth0");
        assert_eq!(settled.interface.address, Some("10.7.0.2/16".parse().unwrap()));
        assert_eq!(settled.interface.address_v6, Some("fd07::2/64".parse().unwrap()));
        assert_eq!(settled.interface.mac, Some("02:00:00:00:00:08".parse().unwrap()));
        assert_eq!(
            settled.more_addresses,
            ["10.8.0.2/24".parse().unwrap()],
            "the host's own is not the container's"
        );
        assert_eq!(settled.dns.servers, ["10.7.0.1".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(settled.dns.search, ["lan"]);
        assert_eq!(joined.gateway, Some("10.7.0.1".parse().unwrap()));
        assert_eq!(joined.gateway_v6, Some("fd07::1".parse().unwrap()));
        assert_eq!(joined.static_routes.len(), 1);
        assert_eq!(joined.published[0].host_port, 5353);
        assert!(joined.interface.is_none());

        // Said again, as after a restart of the engine: nothing is made, all is asked.
        let again = join(&driver, 'a', &sandbox, &wish).await.unwrap();
        assert_eq!(again, joined);
        assert_eq!(house.calls()[2..], ["first-CHECK", "second-CHECK"]);
        previous["interfaces"][1]["mac"] = "02:00:00:00:00:08".into();
        assert_eq!(house.stdin(2)["prevResult"], previous);
        assert_eq!(house.stdin(3)["runtimeConfig"], house.stdin(1)["runtimeConfig"]);

        // The configuration of DEL is that of ADD, though the administrator has changed it since.
        house.list("letters", "1.0.0", &json!([{"type": "other"}]));
        stop(&driver, 'a').await.unwrap();
        assert_eq!(house.calls()[4..], ["second-DEL", "first-DEL"]);
        assert_eq!(house.stdin(4)["prevResult"], previous);
        assert_eq!(house.stdin(5)["prevResult"], previous);
        assert_eq!(house.stdin(5)["runtimeConfig"], house.stdin(0)["runtimeConfig"]);
        assert_eq!(house.records(), Vec::<std::path::PathBuf>::new());
        stop(&driver, 'a').await.unwrap();
        assert_eq!(house.calls().len(), 6, "what is gone is not asked for again");
    });
}

#[test]
fn old_versions_are_not_asked_what_they_do_not_know() {
    let house = House::new();
    pair(&house, &["0.3.1"]);
    house.list("old", "0.3.1", &json!([{"type": "first"}, {"type": "second"}]));
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    house.play(async {
        driver.create_network(network("old", &[])).await.unwrap();
        start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        assert_eq!(
            house.stdin(1)["prevResult"]["ips"][0]["version"],
            "4",
            "said in the version that is spoken"
        );
        join(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        stop(&driver, 'a').await.unwrap();
        driver.retain(&[], &[]).await.unwrap();
        assert_eq!(house.calls(), ["first-ADD", "second-ADD", "second-DEL", "first-DEL"]);
        assert!(house.stdin(2).get("prevResult").is_none());
    });
}

#[test]
fn new_versions_are_asked_for_their_state_and_told_what_there_is() {
    let house = House::new();
    pair(&house, &["0.4.0", "1.0.0", "1.1.0"]);
    house.list("new", "1.1.0", &json!([{"type": "first"}, {"type": "second"}]));
    let (driver, sandboxes) = (house.driver(), [Sandbox::new(), Sandbox::new()]);
    let foreign = house.path("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(
        foreign.join("new-podmans-eth7"),
        r#"{"kind":"cniCacheV1","containerId":"podmans","config":"e30=","ifName":"eth7","networkName":"new","result":{}}"#,
    )
    .unwrap();
    let host = &house;
    house.play(async {
        driver.create_network(network("new", &[])).await.unwrap();
        start(&driver, 'a', &sandboxes[0], &Wish::default()).await.unwrap();
        start(&driver, 'b', &sandboxes[1], &Wish::default()).await.unwrap();
        assert_eq!(host.calls()[..4], ["first-STATUS", "second-STATUS", "first-ADD", "second-ADD"]);
        assert_eq!(host.stdin(0), json!({"cniVersion": "1.1.0", "name": "new", "type": "first"}));
    });
    // The engine crashed; one of the containers is no more.
    drop(driver);
    let driver = house.driver();
    house.play(async {
        driver.create_network(network("new", &[])).await.unwrap();
        driver.retain(&[crate::house::NETWORK.into()], &[endpoint('b')]).await.unwrap();
        let calls = house.calls();
        assert_eq!(calls[8..], ["second-DEL", "first-DEL", "first-GC", "second-GC"]);
        let valid = json!([
            {"containerID": "b".repeat(64), "ifname": "eth0"},
            {"containerID": "podmans", "ifname": "eth7"},
        ]);
        assert_eq!(house.stdin(10)["cni.dev/valid-attachments"], valid);
        assert_eq!(house.records().len(), 1);
        stop(&driver, 'b').await.unwrap();
    });
}

#[test]
fn administrators_may_forbid_check_and_gc() {
    let house = House::new();
    pair(&house, &["1.1.0"]);
    house.config(
        "a.conflist",
        &json!({
            "cniVersion": "1.1.0", "name": "quiet", "disableCheck": true, "disableGC": true,
            "plugins": [{"type": "first"}],
        }),
    );
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    house.play(async {
        driver.create_network(network("quiet", &[])).await.unwrap();
        start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        join(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        driver.retain(&[crate::house::NETWORK.into()], &[endpoint('a')]).await.unwrap();
        assert_eq!(house.calls(), ["first-STATUS", "first-ADD"]);
        stop(&driver, 'a').await.unwrap();
    });
}

#[test]
fn the_newest_version_that_all_speak_is_spoken() {
    let house = House::new();
    house.plugin("first", &["0.3.1", "0.4.0", "1.0.0", "1.1.0"], "echo '{}'");
    house.plugin("second", &["0.3.1", "0.4.0"], "echo '{}'");
    house.raw("ancient", "echo '{\"code\": 4, \"msg\": \"unknown CNI_COMMAND: VERSION\"}'; exit 1");
    let driver = house.driver();
    house.play(async {
        house.config(
            "v.conflist",
            &json!({
                "cniVersion": "1.1.0", "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "9.0.0"], "name": "many",
                "plugins": [{"type": "first"}, {"type": "second"}],
            }),
        );
        driver.create_network(network("many", &[])).await.unwrap();
        let sandbox = Sandbox::new();
        start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        assert_eq!(house.stdin(0)["cniVersion"], "0.4.0");
        stop(&driver, 'a').await.unwrap();

        house.list("strict", "1.0.0", &json!([{"type": "first"}, {"type": "second"}]));
        let error = driver.create_network(network("strict", &[])).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert_eq!(
            error.message,
            "the CNI configuration strict is for version 1.0.0; plugin second speaks 0.3.1, 0.4.0"
        );
        house.list("future", "2.0.0", &json!([{"type": "first"}]));
        let error = driver.create_network(network("future", &[])).await.unwrap_err();
        assert!(error.message.ends_with("this engine speaks up to 1.1.0"), "{error}");
        house.list("first-ever", "0.1.0", &json!([{"type": "ancient"}]));
        driver.create_network(network("first-ever", &[])).await.unwrap();

        // A plugin that was replaced is asked again.
        house.plugin("second", &["1.0.0"], "echo '{}'");
        driver.create_network(network("strict", &[])).await.unwrap();
    });
}

#[test]
fn configurations_are_found_by_name_in_order() {
    let house = House::new();
    house.plugin("first", &["1.0.0"], "echo '{}'");
    house.plugin("second", &["1.0.0"], "echo '{}'");
    let single = |file: &str, plugin: &str| {
        house.config(file, &json!({"cniVersion": "1.0.0", "name": "twin", "type": plugin}));
    };
    single("00.conf", "second");
    single("01.json", "second");
    house.config(
        "99.conflist",
        &json!({"cniVersion": "1.0.0", "name": "twin", "plugins": [{"type": "first"}]}),
    );
    fs::write(house.path("net.d/10-broken.conflist"), "{").unwrap();
    fs::write(house.path("net.d/readme.txt"), "not a configuration").unwrap();
    fs::create_dir(house.path("net.d/dir.conflist")).unwrap();
    // Plugins may lie beside a list, in a folder of its name.
    house.config("50-side.conflist", &json!({"cniVersion": "1.0.0", "name": "side"}));
    fs::create_dir(house.path("net.d/side")).unwrap();
    house.config("side/20.conf", &json!({"type": "second"}));
    house.config("side/10.conf", &json!({"type": "first", "own": 1}));
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    house.play(async {
        driver.create_network(network("twin", &[])).await.unwrap();
        start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        assert_eq!(house.calls(), ["first-ADD"], "lists come first");
        stop(&driver, 'a').await.unwrap();
        driver.create_network(network("side", &[])).await.unwrap();
        start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        assert_eq!(house.calls()[2..], ["first-ADD", "second-ADD"]);
        fs::remove_dir_all(house.path("net.d/side")).unwrap();
        stop(&driver, 'a').await.unwrap();
        assert_eq!(house.calls()[4..], ["second-DEL", "first-DEL"]);

        let error = driver.create_network(network("nobody", &[])).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        for part in [
            "no CNI configuration is called \"nobody\"",
            "there are twin",
            "10-broken.conflist: invalid JSON",
        ] {
            assert!(error.message.contains(part), "{error}");
        }
    });
}

#[test]
fn what_nobody_would_heed_is_refused_or_said_the_old_way() {
    let house = House::new();
    pair(&house, &["1.0.0"]);
    house.list("plain", "1.0.0", &json!([{"type": "first"}]));
    house.list("ranges", "1.0.0", &json!([{"type": "first", "capabilities": {"ipRanges": true}}]));
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    house.play(async {
        for (options, text) in [
            (vec![("parent", "eth0")], "unknown option parent for driver cni"),
            (vec![("capability.bandwidth", "{}")], "declares the capability \"bandwidth\""),
            (vec![("args.A", "1;B=2")], "neither name nor text may have"),
            (vec![("capability.", "1")], "a name is missing"),
        ] {
            let error = driver.create_network(network("plain", &options)).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidArgument);
            assert!(error.message.contains(text), "{error}");
        }
        let pool = IpamData {
            pool: Some("10.7.0.0/16".parse().unwrap()),
            sub_pool: Some("10.7.4.0/24".parse().unwrap()),
            gateway: Some("10.7.0.1/16".parse().unwrap()),
            ..IpamData::default()
        };
        let with_pool = |config| {
            let mut network = network(config, &[]);
            network.ipv4.push(pool.clone());
            network
        };
        let error = driver.create_network(with_pool("plain")).await.unwrap_err();
        assert!(error.message.contains("\"ipRanges\""), "{error}");
        driver.create_network(with_pool("ranges")).await.unwrap();
        start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        assert_eq!(
            house.stdin(0)["runtimeConfig"],
            json!({"ipRanges": [[{
                "subnet": "10.7.0.0/16", "rangeStart": "10.7.4.1", "rangeEnd": "10.7.4.254", "gateway": "10.7.0.1",
            }]]})
        );
        stop(&driver, 'a').await.unwrap();

        // An address and a MAC address go into CNI_ARGS, and what comes of it is looked at.
        driver.create_network(network("plain", &[])).await.unwrap();
        let address = |text: &str| Some(text.parse().unwrap());
        let given = Interface { address: address("10.7.0.2/32"), mac: "02:00:00:00:00:07".parse().ok(), ..Interface::default() };
        let wish = |interface| Wish { interface, ..Wish::default() };
        start(&driver, 'b', &sandbox, &wish(given.clone())).await.unwrap();
        let told = fs::read_to_string(house.path("log.env")).unwrap();
        assert!(told.contains("CNI_ARGS=IP=10.7.0.2;IgnoreUnknown=1;MAC=02:00:00:00:00:07\n"), "{told}");
        stop(&driver, 'b').await.unwrap();
        for (interface, text) in [
            (Interface { address: address("10.7.0.3/32"), ..given.clone() }, "did not give the address 10.7.0.3"),
            (Interface { mac: "02:00:00:00:00:09".parse().ok(), ..given }, "did not give the MAC address"),
        ] {
            let before = house.calls().len();
            let error = start(&driver, 'c', &sandbox, &wish(interface)).await.unwrap_err();
            assert!(error.message.contains(text), "{error}");
            assert_eq!(house.calls()[before..], ["first-ADD", "first-DEL"], "it is undone");
        }
        assert!(house.records().is_empty());
    });
}

#[test]
fn an_internal_network_has_no_way_out() {
    let house = House::new();
    pair(&house, &["1.0.0"]);
    let inside = r#"{"ips": [{"address": "10.7.0.2/16"}], "routes": [{"dst": "10.0.0.0/8", "gw": "10.7.0.1"}], "dns": {"nameservers": ["10.7.0.1"]}}"#;
    house.plugin("inside", &["1.0.0"], &format!("[ $CNI_COMMAND != ADD ] || echo '{inside}'"));
    house.list("out", "1.0.0", &json!([{"type": "first"}]));
    house.list("in", "1.0.0", &json!([{"type": "inside"}]));
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    let internal = |config| {
        let mut network = network(config, &[]);
        network.options.insert(label::INTERNAL.to_owned(), Value::Bool(true));
        network
    };
    house.play(async {
        driver.create_network(internal("out")).await.unwrap();
        let error = start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap_err();
        assert!(error.message.contains("internal") && error.message.contains("default route"), "{error}");
        assert_eq!(house.calls(), ["first-ADD", "first-DEL"]);
        driver.create_network(internal("in")).await.unwrap();
        let joined = start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        assert!(settled(&joined).dns.servers.is_empty(), "names are a way out");
        let again = join(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        assert_eq!(again, joined);
        stop(&driver, 'a').await.unwrap();
    });
}
