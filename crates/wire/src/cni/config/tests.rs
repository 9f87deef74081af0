use super::*;

const DBNET: &str = r#"{
  "cniVersion": "1.0.0", "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0", "2.0.0"], "name": "dbnet",
  "disableGC": "TRUE",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "keyA": ["some more", 1], "ipam": {"type": "host-local", "subnet": "10.1.0.0/16"}},
    {"type": "tuning", "capabilities": {"mac": true, "bandwidth": false}, "runtimeConfig": {"x": 1}, "cni.dev/x": 2},
    {"type": "portmap", "capabilities": {"portMappings": true}, "args": {"cni": {}}}
  ]
}"#;

fn texts(versions: &[Version]) -> Vec<String> {
    versions.iter().map(Version::to_string).collect()
}

#[test]
fn a_list_is_read_and_written() {
    let network = NetworkConfig::parse_list(DBNET.as_bytes()).unwrap();
    assert_eq!(network.name, "dbnet");
    assert_eq!(texts(&network.versions), ["0.3.1", "0.4.0", "1.0.0", "1.1.0", "2.0.0"]);
    assert!(network.disable_gc && !network.disable_check && !network.only_inlined);
    assert!(network.takes("mac") && network.takes("portMappings") && !network.takes("bandwidth"));
    let again = NetworkConfig::parse_list(network.to_list().to_string().as_bytes()).unwrap();
    assert_eq!(again, NetworkConfig { only_inlined: true, ..network });
}

#[test]
fn a_request_is_the_configuration_and_the_protocols_keys() {
    let network = NetworkConfig::parse_list(DBNET.as_bytes()).unwrap();
    let mut capabilities = Map::new();
    capabilities.insert("mac".into(), "00:11:22:33:44:66".into());
    capabilities.insert("portMappings".into(), json!([{"hostPort": 8080}]));
    let previous = json!({"cniVersion": "1.0.0", "ips": []});
    let request = Request {
        network: "dbnet",
        version: Version::V1_0_0,
        capabilities: &capabilities,
        previous: Some(&previous),
        valid: None,
    };
    assert_eq!(
        network.plugins[1].request(&request),
        json!({
            "cniVersion": "1.0.0", "name": "dbnet", "type": "tuning",
            "runtimeConfig": {"mac": "00:11:22:33:44:66"},
            "prevResult": {"cniVersion": "1.0.0", "ips": []},
        })
    );
    let first = Request { previous: None, ..request };
    assert_eq!(
        network.plugins[0].request(&first),
        json!({
            "cniVersion": "1.0.0", "name": "dbnet", "type": "bridge", "bridge": "cni0", "keyA": ["some more", 1],
            "ipam": {"type": "host-local", "subnet": "10.1.0.0/16"},
        })
    );
    let valid = [Attachment { container: "c".into(), interface: "eth0".into() }];
    let none = Map::new();
    let gc = Request { capabilities: &none, valid: Some(&valid), ..first };
    let attachments = json!([{"containerID": "c", "ifname": "eth0"}]);
    assert_eq!(
        network.plugins[2].request(&gc),
        json!({
            "cniVersion": "1.0.0", "name": "dbnet", "type": "portmap", "args": {"cni": {}},
            "cni.dev/valid-attachments": attachments, "cni.dev/attachments": attachments,
        })
    );
}

#[test]
fn a_single_plugin_is_a_network() {
    let network = NetworkConfig::parse_single(br#"{"name": "old", "type": "ptp", "ipam": {}}"#).unwrap();
    assert_eq!((network.name.as_str(), texts(&network.versions)), ("old", vec!["0.1.0".to_owned()]));
    assert_eq!(network.plugins.len(), 1);
}

#[test]
fn what_cannot_be_is_refused() {
    let list = |plugins: &str| format!(r#"{{"cniVersion": "1.0.0", "name": "n", "plugins": {plugins}}}"#);
    for plugins in [
        "[]",
        "{}",
        r#"[{"type": ""}]"#,
        r#"[{"type": "../../bin/sh"}]"#,
        r#"[{"type": "/bin/sh"}]"#,
        r#"[{"type": "bridge", "ipam": {"type": "../sh"}}]"#,
        r#"[{"type": "flannel", "delegate": {"type": "a/b"}}]"#,
        r#"[{"type": "multus", "delegates": [{"type": "macvlan"}, {"type": ".."}]}]"#,
        r#"[{"type": "a", "capabilities": {"mac": "yes"}}]"#,
    ] {
        assert!(NetworkConfig::parse_list(list(plugins).as_bytes()).is_err(), "{plugins}");
    }
    for text in [
        r#"{"cniVersion": "one", "name": "n", "plugins": [{"type": "a"}]}"#,
        r#"{"cniVersion": "1.0.0", "name": "../n", "plugins": [{"type": "a"}]}"#,
        r#"{"cniVersion": "1.0.0", "plugins": [{"type": "a"}]}"#,
        r#"{"cniVersion": "1.0.0", "name": "n", "loadOnlyInlinedPlugins": true}"#,
        "[]",
        "",
    ] {
        assert!(NetworkConfig::parse_list(text.as_bytes()).is_err(), "{text}");
    }
    assert!(NetworkConfig::parse_list(br#"{"name": "n"}"#).unwrap().plugins.is_empty());
}
