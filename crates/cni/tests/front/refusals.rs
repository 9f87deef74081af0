//! What is refused, and in which words.

use serde_json::{Value, json};

use crate::house::{House, Sandbox};

#[test]
fn errors_are_objects_with_the_specifications_codes() {
    let house = House::new();
    let sandbox = Sandbox::new();
    let base = house.config(&json!({"ipam": {"subnet": "10.38.0.0/24"}}));
    let with = |fields: Value| {
        let mut config = base.clone();
        for (key, value) in fields.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    };
    for (command, config, code, words) in [
        ("ADD", with(json!({"cniVersion": "3.0.0"})), 1, "incompatible CNI versions"),
        ("CHECK", with(json!({"cniVersion": "0.3.1"})), 1, "incompatible CNI versions"),
        ("GC", with(json!({"cniVersion": "1.0.0"})), 1, "incompatible CNI versions"),
        ("ADD", with(json!({"name": "../x"})), 7, "invalid network name"),
        ("ADD", with(json!({"driver": "nobody"})), 999, "no network driver nobody"),
        ("ADD", with(json!({"ipam": {"driver": "nobody"}})), 999, "no IPAM driver nobody"),
        ("ADD", with(json!({"ipam": {"subnet": "here"}})), 6, "ipam.subnet: \"here\" is none"),
        ("ADD", with(json!({"options": {"a": []}})), 6, "options.a: expected a string"),
        (
            "ADD",
            with(json!({"runtimeConfig": {"portMappings": [{"containerPort": 80}]}})),
            6,
            "hostPort: missing",
        ),
        ("ADD", with(json!({"runtimeConfig": {"mac": "zz"}})), 7, "invalid MAC address"),
        ("ADD", with(json!({"prevResult": {"cniVersion": "1.0.0"}})), 7, "has to come first"),
        ("ADD", with(json!({"options": {"com.docker.network.bridge.name": "a/b"}})), 7, ""),
        ("CHECK", base.clone(), 3, "c is not attached to front by eth0"),
        ("STATUS", with(json!({"cniVersion": "1.1.0", "driver": "nobody"})), 50, "no network driver nobody"),
        ("EXPLODE", base.clone(), 4, "unknown CNI_COMMAND: EXPLODE"),
    ] {
        let (fine, error) = house.call(command, "c", &sandbox, &config);
        assert!(!fine, "{command} {config}");
        assert_eq!(error["code"], code, "{command}: {error}");
        assert!(error["msg"].as_str().unwrap().contains(words), "{command}: {error}");
        assert!(error["cniVersion"].is_string());
    }
    let (fine, error) = house.call("ADD", "../c", &sandbox, &base);
    assert!(!fine && error["code"] == 4, "{error}");
    house.assert_empty();
    // What is not there is deleted already.
    house.ok("DEL", "c", &sandbox, &with(json!({"driver": "nobody"})));
}

#[test]
fn versions_are_said_without_a_configuration() {
    let house = House::new();
    let answer = house.ok("VERSION", "", &Sandbox::new(), &json!({"cniVersion": "0.4.0"}));
    assert_eq!(answer["cniVersion"], "0.4.0");
    assert_eq!(
        answer["supportedVersions"],
        json!(["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
    );
}

#[test]
fn an_attachment_is_made_once_and_a_network_stays_as_it_is() {
    let house = House::new();
    let (sandbox, other) = (Sandbox::new(), Sandbox::new());
    let config = house.config(&json!({"ipam": {"subnet": "10.39.0.0/24"}}));
    house.ok("ADD", "c", &sandbox, &config);
    let (fine, error) = house.call("ADD", "c", &sandbox, &config);
    assert!(!fine && error["msg"] == "eth0 is attached to front already", "{error}");
    assert!(sandbox.sh("ip addr show eth0").contains("10.39.0.2/24"), "it is not harmed");
    let (fine, error) = house.call("ADD", "d", &sandbox, &config);
    assert!(!fine, "two containers cannot have the same name in one namespace: {error}");
    assert!(sandbox.sh("ip addr show eth0").contains("10.39.0.2/24"), "it is not harmed");
    let changed = house.config(&json!({"ipam": {"subnet": "10.38.0.0/24"}}));
    let (fine, error) = house.call("ADD", "d", &other, &changed);
    assert!(!fine && error["msg"].as_str().unwrap().contains("was changed while containers"), "{error}");
    house.ok("DEL", "c", &sandbox, &changed);
    let made = house.ok("ADD", "d", &other, &changed);
    assert_eq!(made["ips"][0]["address"], "10.38.0.2/24");
    house.ok("DEL", "d", &other, &changed);
    house.assert_empty();
}
