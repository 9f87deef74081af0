//! The specification's own runtime reads what the driver wrote down, and takes its attachments for its own.

use std::{path::PathBuf, process::Command};

use pintle_contract::{
    NetworkDriver,
    network::{CreateEndpoint, EndpointId, Interface, Join},
};
use serde_json::json;

use crate::house::{House, NETWORK, Sandbox, network, sh};

/// Builds `cnitool`, for which Go is needed.
fn cnitool() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cnitool");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg("github.com/containernetworking/cni/cnitool")
        .current_dir(root.join("tests/peers/cnitool"))
        .env("CGO_ENABLED", "0")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

#[test]
fn cnitool_checks_and_removes_what_the_driver_made() {
    let house = House::new();
    house.list(
        "shared",
        "1.0.0",
        &json!([
            {"type": "bridge", "bridge": "cni0", "ipam":
                {"type": "host-local", "subnet": "10.28.0.0/24", "dataDir": house.path("leases")}},
            {"type": "tuning", "capabilities": {"mac": true}},
        ]),
    );
    let sandbox = Sandbox::new();
    let path = sandbox.key.clone();
    // The tool names containers by a digest of their namespace's path.
    let digest = sh(&house.host, &format!("printf %s {} | sha512sum | cut -c-20", path.display()));
    let id = EndpointId { network: NETWORK.into(), endpoint: format!("cnitool-{digest}") };
    let driver = house.driver();
    house.play(async {
        driver.create_network(network("shared", &[])).await.unwrap();
        let interface = Interface { mac: "02:00:00:00:28:01".parse().ok(), ..Interface::default() };
        driver
            .create_endpoint(CreateEndpoint { id: id.clone(), interface, options: Default::default() })
            .await
            .unwrap();
        let request = Join { id: id.clone(), sandbox_key: path.clone(), ..Join::default() };
        driver.join(request).await.unwrap();
    });
    let tool = cnitool();
    let run = |verb: &str| {
        // Where the tool keeps its records cannot be chosen, so the driver's are put there, for this call alone.
        let script = format!(
            "mkdir -p /var/lib/cni && mount --bind {} /var/lib/cni && NETCONFPATH={} CNI_PATH=/usr/lib/cni \
             CAP_ARGS='{{\"mac\": \"02:00:00:00:28:01\"}}' exec {} {verb} shared {}",
            house.path("state").display(),
            house.path("net.d").display(),
            tool.display(),
            path.display(),
        );
        let output = house
            .host
            .run(|| Command::new("unshare").args(["-m", "sh", "-ec", &script]).output().unwrap())
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(run("check"), (true, String::new()));
    sandbox.sh("ip addr flush dev eth0");
    let (fine, words) = run("check");
    assert!(!fine && words.contains("10.28.0.2"), "the tool knows what should be: {words}");
    assert_eq!(house.records().len(), 1);
    assert_eq!(run("del"), (true, String::new()));
    assert!(house.records().is_empty(), "the tool forgot it for both");
    house.play(async {
        driver.leave(&id).await.unwrap();
        driver.delete_endpoint(&id).await.unwrap();
    });
}
