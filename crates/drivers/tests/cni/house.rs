//! A host with plugins and configurations, and sandboxes on it.

use std::{
    fs,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use pintle_contract::{
    DriverError, NetworkDriver, Value,
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, Interface, Join, Joined, PortBinding, Settled, label,
    },
};
use pintle_drivers::cni::{Cni, Settings};
use pintle_netlink::Namespace;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// The reference plugins, where Debian puts them.
pub const REFERENCE: &str = "/usr/lib/cni";
/// Of the only network.
pub const NETWORK: &str = "4e1c0000000000000000000000000000000000000000000000000000000000aa";

pub struct House {
    pub dir: TempDir,
    pub host: Namespace,
    pub budget: Duration,
    runtime: tokio::runtime::Runtime,
}

/// A container's network namespace.
pub struct Sandbox {
    pub namespace: Namespace,
    /// A path that opens it.
    pub key: PathBuf,
}

impl Sandbox {
    pub fn new() -> Self {
        let namespace = Namespace::create().unwrap();
        // Ends with this process, however that ends.
        let key = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd());
        Self { namespace, key: key.into() }
    }

    pub fn sh(&self, script: &str) -> String {
        sh(&self.namespace, script)
    }
}

/// What a shell in the namespace prints. It must succeed.
pub fn sh(namespace: &Namespace, script: &str) -> String {
    let output = namespace.run(|| Command::new("sh").args(["-ec", script]).output().unwrap()).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {text}{words}");
    text
}

impl House {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("cni-").tempdir().unwrap();
        for folder in ["bin", "net.d", "log"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let host = Namespace::create().unwrap();
        // New runtimes keep blocking threads in the namespace of whoever started them.
        let runtime =
            host.run(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()).unwrap();
        Self { dir, host, budget: Duration::from_secs(60), runtime }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The driver as the daemon would start it; again, as after a crash.
    pub fn driver(&self) -> Cni {
        let settings = Settings {
            config_path: self.path("net.d"),
            binary_path: vec![self.path("bin"), REFERENCE.into()],
            foreign: self.path("foreign"),
            budget: self.budget,
            ..Settings::new(self.path("state"))
        };
        Cni::open(settings).unwrap()
    }

    /// Lets something happen on the host.
    pub fn play<T: Send>(&self, act: impl Future<Output = T> + Send) -> T {
        self.host.run(|| self.runtime.block_on(act)).unwrap()
    }

    pub fn sh(&self, script: &str) -> String {
        sh(&self.host, script)
    }

    pub fn config(&self, file: &str, config: &Json) {
        fs::write(self.path("net.d").join(file), config.to_string()).unwrap();
    }

    /// A network of these plugins.
    pub fn list(&self, name: &str, version: &str, plugins: &Json) {
        let list = json!({"cniVersion": version, "name": name, "plugins": plugins});
        self.config(&format!("{name}.conflist"), &list);
    }

    /// A plugin in shell. It finds its configuration in `$stdin`, and writes down every call but VERSION.
    pub fn plugin(&self, name: &str, versions: &[&str], script: &str) {
        let log = self.path("log");
        let supported = json!({"cniVersion": "1.0.0", "supportedVersions": versions});
        self.raw(
            name,
            &format!(
                "stdin=$(cat)\n[ \"$CNI_COMMAND\" = VERSION ] && {{ echo '{supported}'; exit 0; }}\n\
                 n=$(ls {log} | wc -l)\nprintf '%s' \"$stdin\" > {log}/$(printf %03d $n)-{name}-$CNI_COMMAND\n\
                 tr '\\0' '\\n' < /proc/$$/environ | grep -v ^_= | sort > {log}.env\n{script}\n",
                log = log.display(),
            ),
        );
    }

    pub fn raw(&self, name: &str, script: &str) -> PathBuf {
        let file = self.path("bin").join(name);
        let new = self.path("bin").join(format!(".{name}"));
        fs::write(&new, format!("#!/bin/sh\n{script}")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, &file).unwrap();
        file
    }

    /// Which plugins were called for what so far.
    pub fn calls(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path("log"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names.iter().map(|name| name.split_once('-').unwrap().1.to_owned()).collect()
    }

    /// What the call number `index` read.
    pub fn stdin(&self, index: usize) -> Json {
        let mut names: Vec<PathBuf> =
            fs::read_dir(self.path("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        serde_json::from_slice(&fs::read(&names[index]).unwrap()).unwrap()
    }

    pub fn records(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path("state/results")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

/// An endpoint's id, from a digit.
pub fn endpoint(digit: char) -> EndpointId {
    EndpointId { network: NETWORK.into(), endpoint: String::from(digit).repeat(64) }
}

/// A network that `-o config=NAME` names, with more options.
pub fn network(config: &str, options: &[(&str, &str)]) -> CreateNetwork {
    let mut generic = std::collections::BTreeMap::from([("config".to_owned(), Value::from(config))]);
    generic.extend(options.iter().map(|(key, text)| ((*key).to_owned(), Value::from(*text))));
    CreateNetwork {
        network: NETWORK.into(),
        options: [(label::GENERIC.to_owned(), Value::Map(generic))].into(),
        ..CreateNetwork::default()
    }
}

/// What a container wants.
#[derive(Default, Clone)]
pub struct Wish {
    pub interface: Interface,
    pub options: Vec<(&'static str, Value)>,
    pub ports: Vec<PortBinding>,
    pub name: &'static str,
}

/// Everything that the engine does when a container starts.
pub async fn start(driver: &Cni, digit: char, sandbox: &Sandbox, wish: &Wish) -> Result<Joined, DriverError> {
    let id = endpoint(digit);
    let options = wish.options.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    driver
        .create_endpoint(CreateEndpoint { id: id.clone(), interface: wish.interface.clone(), options })
        .await?;
    join(driver, digit, sandbox, wish).await
}

pub async fn join(driver: &Cni, digit: char, sandbox: &Sandbox, wish: &Wish) -> Result<Joined, DriverError> {
    let ports = Value::List(wish.ports.iter().map(PortBinding::to_value).collect());
    let request = Join {
        id: endpoint(digit),
        sandbox_key: sandbox.key.clone(),
        name: wish.name.into(),
        options: [(label::PORT_MAP.to_owned(), ports)].into(),
    };
    driver.join(request).await
}

/// Everything that the engine does when it ends.
pub async fn stop(driver: &Cni, digit: char) -> Result<(), DriverError> {
    driver.leave(&endpoint(digit)).await?;
    driver.delete_endpoint(&endpoint(digit)).await
}

pub fn settled(joined: &Joined) -> &Settled {
    joined.settled.as_ref().unwrap()
}

pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
