//! Results of every version, read and written; records of the specification's own library; bytes that are neither.

use pintle_wire::cni::{CacheRecord, CniError, NetworkConfig, Success, Version, VersionInfo};
use proptest::prelude::*;
use serde_json::{Value, json};

fn full() -> Value {
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "cni0", "mac": "00:11:22:33:44:55"},
            {"name": "eth0", "mac": "99:88:77:66:55:44", "mtu": 1450, "sandbox": "/run/netns/blue"},
        ],
        "ips": [
            {"interface": 1, "address": "10.1.0.5/16", "gateway": "10.1.0.1"},
            {"interface": 1, "address": "fd00::5/64", "gateway": "fd00::1"},
            {"interface": 1, "address": "10.2.0.5/16"},
        ],
        "routes": [
            {"dst": "0.0.0.0/0"},
            {"dst": "fd01::/64", "gw": "fd00::2", "mtu": 1400, "advmss": 1360, "priority": 7, "table": 100, "scope": 0},
        ],
        "dns": {"nameservers": ["10.1.0.1"], "domain": "lan", "search": ["lan"], "options": ["ndots:2"]},
    })
}

#[test]
fn the_newest_form_is_read_and_written_as_it_is() {
    let result = Success::decode(&full(), Version::V0_1_0).unwrap();
    assert_eq!(result.encode(Version::V1_1_0).unwrap(), full());
}

#[test]
fn middle_versions_say_the_family() {
    let result = Success::decode(&full(), Version::V1_1_0).unwrap();
    for version in [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0] {
        let value = result.encode(version).unwrap();
        let families: Vec<_> =
            value["ips"].as_array().unwrap().iter().map(|ip| ip["version"].clone()).collect();
        assert_eq!(families, ["4", "6", "4"]);
        assert_eq!(Success::decode(&value, Version::V1_1_0).unwrap(), result);
    }
}

#[test]
fn the_first_versions_have_room_for_one_of_each_family() {
    let result = Success::decode(&full(), Version::V1_1_0).unwrap();
    for version in [Version::V0_1_0, Version::V0_2_0] {
        assert_eq!(
            result.encode(version).unwrap(),
            json!({
                "cniVersion": version.to_string(),
                "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
                "ip6": {"ip": "fd00::5/64", "gateway": "fd00::1", "routes": [{"dst": "fd01::/64", "gw": "fd00::2"}]},
                "dns": full()["dns"],
            })
        );
    }
    let old = json!({"ip4": {"ip": "10.0.0.2/24", "gateway": "10.0.0.1", "routes": [{"dst": "0.0.0.0/0"}]}});
    let read = Success::decode(&old, Version::V0_2_0).unwrap();
    assert_eq!(read.ips.len(), 1);
    assert!(read.interfaces.is_empty());
    assert_eq!(
        read.encode(Version::V1_0_0).unwrap(),
        json!({
            "cniVersion": "1.0.0",
            "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}],
            "routes": [{"dst": "0.0.0.0/0"}],
        })
    );
    let nothing = Success::default();
    assert!(nothing.encode(Version::V0_2_0).is_err());
    assert_eq!(nothing.encode(Version::V1_0_0).unwrap(), json!({"cniVersion": "1.0.0"}));
}

#[test]
fn lies_are_refused() {
    for wrong in [
        json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1"}]}),
        json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/24", "interface": 0}]}),
        json!({"cniVersion": "1.0.0", "routes": [{"dst": "default"}]}),
        json!({"cniVersion": "3.0.0"}),
        json!({"cniVersion": "1.0.0", "interfaces": {"name": "eth0"}}),
        json!([]),
    ] {
        assert!(Success::decode(&wrong, Version::V1_0_0).is_err(), "{wrong}");
    }
    // Seen in the wild: -1 for no interface, and the empty object for no result.
    let odd = json!({"ips": [{"address": "10.0.0.1/24", "interface": -1}]});
    assert_eq!(Success::decode(&odd, Version::V1_0_0).unwrap().ips[0].interface, None);
    assert_eq!(Success::decode(&json!({}), Version::V1_0_0).unwrap(), Success::default());
}

/// Written by cnitool 1.3.0 for the reference plugins `bridge` and `tuning`.
const LIBRARYS: &str = include_str!("golden/cni-record.json");

#[test]
fn the_librarys_records_are_ours() {
    let value: Value = serde_json::from_str(LIBRARYS).unwrap();
    let record = CacheRecord::decode(&value).unwrap();
    assert_eq!(NetworkConfig::parse_list(&record.config).unwrap().plugins.len(), 2);
    assert_eq!(record.args, [("IgnoreUnknown".to_owned(), "1".to_owned())]);
    assert_eq!(record.encode(), value);
    let result = record.result.as_ref().unwrap();
    let read = Success::decode(result, Version::V0_1_0).unwrap();
    assert_eq!(read.ips[0].interface, Some(2));
    assert_eq!(read.encode(Version::V1_0_0).unwrap(), *result);
    let name = CacheRecord::file_name("n", &record.container, &record.interface).unwrap();
    assert_eq!(name, "n-cnitool-51165886969c747c11b1-eth0");
    assert!(CacheRecord::file_name("../n", "c", "eth0").is_err());
    assert!(CacheRecord::decode(result).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = NetworkConfig::parse_list(&bytes);
        let _ = NetworkConfig::parse_single(&bytes);
    }

    #[test]
    fn no_value_panics(value in any_json()) {
        let _ = Success::decode(&value, Version::V1_0_0);
        let _ = Success::decode(&value, Version::V0_2_0);
        let _ = CniError::decode(&value);
        let _ = VersionInfo::decode(&value);
        let _ = CacheRecord::decode(&value);
        let _ = NetworkConfig::parse_list(value.to_string().as_bytes());
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "cniVersion",
        "name",
        "type",
        "plugins",
        "ips",
        "address",
        "interface",
        "interfaces",
        "routes",
        "dst",
        "dns",
        "ip4",
        "ip",
        "kind",
        "config",
        "cniArgs",
        "code",
        "msg",
        "supportedVersions",
        "capabilities",
        "ipam",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec!["1.0.0", "0.2.0", "10.0.0.1/8", "bridge", "cniCacheV1", "::", "é", ""])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| pairs
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}
