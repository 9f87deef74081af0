//! A host, sandboxes on it, and calls of the plugin.

use std::{
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
    process::Command,
    sync::Arc,
};

use async_trait::async_trait;
use pintle_cni::{Drivers, Found};
use pintle_contract::{DriverError, IpamDriver, NetworkDriver};
use pintle_drivers::{Bridge, Ipam, Sublink, bridge, ipam::AddressPools};
use pintle_netlink::Namespace;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::sweep::{Switch, Watched};

pub struct House {
    pub dir: TempDir,
    pub host: Namespace,
}

/// A container's network namespace.
pub struct Sandbox {
    pub namespace: Namespace,
    /// A path that opens it, for as long as this process lives.
    pub key: PathBuf,
}

impl Sandbox {
    pub fn new() -> Self {
        let namespace = Namespace::create().unwrap();
        let key = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd());
        Self { namespace, key: key.into() }
    }

    pub fn sh(&self, script: &str) -> String {
        sh(&self.namespace, script)
    }
}

fn sh(namespace: &Namespace, script: &str) -> String {
    let output = namespace.run(|| Command::new("sh").args(["-ec", script]).output().unwrap()).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {text}{words}");
    text
}

impl House {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("pintle-cni-").tempdir().unwrap();
        Self { dir, host: Namespace::create().unwrap() }
    }

    pub fn sh(&self, script: &str) -> String {
        sh(&self.host, script)
    }

    /// A configuration with these fields.
    pub fn config(&self, fields: &Value) -> Value {
        let mut config = json!({
            "cniVersion": "1.0.0", "name": "front", "type": "pintle-cni", "state": self.dir.path().join("state"),
        });
        for (key, value) in fields.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    }

    pub fn call(&self, command: &str, container: &str, sandbox: &Sandbox, config: &Value) -> (bool, Value) {
        self.call_switched(command, container, sandbox, config, &Switch::default())
    }

    /// The same, with drivers that fail or stop at some call.
    pub fn call_switched(
        &self,
        command: &str,
        container: &str,
        sandbox: &Sandbox,
        config: &Value,
        switch: &Switch,
    ) -> (bool, Value) {
        let (key, text) = (sandbox.key.display().to_string(), config.to_string());
        let variable = |name: &str| {
            let text = match name {
                "CNI_COMMAND" => command,
                "CNI_CONTAINERID" => container,
                "CNI_NETNS" => &key,
                "CNI_IFNAME" => "eth0",
                "CNI_PATH" => "/usr/lib/cni",
                _ => "",
            };
            Some(text.to_owned()).filter(|text| !text.is_empty())
        };
        let output = self.host.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let drivers = Linked::new(switch);
                let call = pintle_cni::run(variable, text.as_bytes(), &drivers);
                // A call that hangs is one that is killed there.
                tokio::select! {
                    output = call => Some(output),
                    () = switch.stopped() => None,
                }
            })
        });
        match output.unwrap() {
            Some(output) => (output.success, output.answer.unwrap_or_default()),
            None => (false, json!("killed")),
        }
    }

    pub fn ok(&self, command: &str, container: &str, sandbox: &Sandbox, config: &Value) -> Value {
        let (fine, answer) = self.call(command, container, sandbox, config);
        assert!(fine, "{command} {container}: {answer}");
        answer
    }

    /// Nothing is left of anything.
    pub fn assert_empty(&self) {
        let networks = std::fs::read_dir(self.dir.path().join("state/networks")).unwrap();
        assert_eq!(networks.count(), 0, "records");
        assert_eq!(self.sh("ip -br link | grep -v ^lo || true"), "", "links");
        let rules = self.sh("nft list ruleset");
        for part in ["10.3", "pcni", "vethp"] {
            assert!(!rules.contains(part), "rules: {rules}");
        }
    }
}

/// Drivers that are linked in: they know nothing of earlier calls.
struct Linked {
    bridge: Arc<Watched<Bridge>>,
    ipam: Arc<Watched<Ipam>>,
}

impl Linked {
    fn new(switch: &Switch) -> Self {
        let config = bridge::Config {
            table: "pintle-cni".into(),
            userland_proxy: false,
            keep_ports: false,
            ..bridge::Config::standard(Namespace::current().unwrap())
        };
        let bridge = Bridge::new(config).unwrap();
        Self {
            bridge: Arc::new(Watched { inner: bridge, switch: switch.clone() }),
            ipam: Arc::new(Watched {
                inner: Ipam::new(AddressPools::standard("test")),
                switch: switch.clone(),
            }),
        }
    }
}

#[async_trait]
impl Drivers for Linked {
    async fn network(&self, name: &str) -> Result<Found<dyn NetworkDriver>, DriverError> {
        match name {
            "bridge" => Ok(Found { driver: self.bridge.clone(), forgets: true }),
            "macvlan" => {
                let driver = Sublink::macvlan(Namespace::current().unwrap(), "pintle-cni");
                Ok(Found { driver: Arc::new(driver), forgets: true })
            }
            other => Err(DriverError::not_found(format!("no network driver {other}"))),
        }
    }

    async fn ipam(&self, name: &str) -> Result<Found<dyn IpamDriver>, DriverError> {
        match name {
            "default" => Ok(Found { driver: self.ipam.clone(), forgets: true }),
            other => Err(DriverError::not_found(format!("no IPAM driver {other}"))),
        }
    }
}
