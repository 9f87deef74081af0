//! The plugin under test: where it is called, where its files are seen from here, and how it is restarted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use pintle_host::remote::{Log, PathMap};
use pintle_testkit::client::PluginClient;
use pintle_wire::spec::Address;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, Endpoint};
use crate::json::Fields;

/// Where engines put the sockets of plugins, and where plugins find theirs.
pub const SOCKET_DIR: &str = "/run/docker/plugins";

/// A running plugin.
#[derive(Clone)]
pub struct Subject {
    origin: Origin,
    budget: Duration,
    types: Arc<[String]>,
    now: Arc<Mutex<Now>>,
}

#[derive(Clone)]
enum Origin {
    /// Called by its address; whoever supervises it brings it back to the same one.
    Address(Address),
    /// A managed plugin: the engine knows where it is.
    Managed { endpoint: Endpoint, name: String, socket_dir: PathBuf },
}

/// What changes when it is restarted.
struct Now {
    address: Address,
    owner: Option<u32>,
}

impl Subject {
    /// A plugin by its address.
    pub async fn at(address: Address, budget: Duration) -> Result<Self> {
        Self::found(Origin::Address(address.clone()), address, Vec::new(), budget).await
    }

    /// A managed plugin of the engine.
    pub async fn managed(client: &Client, name: &str, socket_dir: &Path, budget: Duration) -> Result<Self> {
        let (address, types) = managed(client, name, socket_dir).await?;
        let origin = Origin::Managed {
            endpoint: client.endpoint().clone(),
            name: name.to_owned(),
            socket_dir: socket_dir.to_owned(),
        };
        Self::found(origin, address, types, budget).await
    }

    async fn found(origin: Origin, address: Address, types: Vec<String>, budget: Duration) -> Result<Self> {
        if let Address::Unix(socket) = &address
            && !socket.exists()
        {
            bail!("{} does not exist; is the plugin enabled, and on this host?", socket.display());
        }
        let owner = PluginClient::new(address.clone()).budget(budget).owner().await;
        Ok(Self { origin, budget, types: types.into(), now: Arc::new(Mutex::new(Now { address, owner })) })
    }

    fn now<T>(&self, read: impl FnOnce(&mut Now) -> T) -> T {
        read(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A client of it.
    pub fn client(&self) -> PluginClient {
        PluginClient::new(self.now(|now| now.address.clone())).budget(self.budget)
    }

    /// What a managed plugin's configuration says that it serves, as `docker.volumedriver/1.0`.
    pub fn types(&self) -> &[String] {
        &self.types
    }

    /// Where the root of its file system is found from here, or why it is not.
    pub fn root(&self) -> Result<PathBuf, String> {
        let Some(owner) = self.now(|now| now.owner) else {
            return Err("the plugin's process is not known here, and so neither are its files".to_owned());
        };
        let root = PathBuf::from(format!("/proc/{owner}/root"));
        match std::fs::metadata(root.join(".")) {
            Ok(_) => Ok(root),
            Err(error) => {
                Err(format!("the plugin's files cannot be looked into: {}: {error}", root.display()))
            }
        }
    }

    /// Its log driver. Pipes are made where it sees them: in its root, or on this host where it has the same paths.
    pub fn log_driver(&self, paths_are_here: bool) -> Result<Log, String> {
        let rootfs = if paths_are_here { None } else { Some(self.root()?) };
        let address = self.now(|now| now.address.clone());
        let client = Arc::new(pintle_host::remote::Client::new("the plugin", address));
        Ok(Log::new(client, &PathMap { rootfs, propagated: None }))
    }

    /// Where a path of the plugin's is found from here.
    pub fn seen(&self, path: &Path) -> PathBuf {
        let root = self.root().unwrap_or_default();
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Kills it, or runs `command` to the same end, and waits until it answers again.
    pub async fn restart(self, command: Option<String>) -> Result<PluginClient, String> {
        let before = self.now(|now| now.owner);
        match (command, before) {
            (Some(command), _) => {
                let status = tokio::process::Command::new("sh").args(["-c", &command]).status().await;
                match status {
                    Ok(status) if status.success() => {}
                    Ok(status) => return Err(format!("{command:?}: {status}")),
                    Err(error) => return Err(format!("{command:?}: {error}")),
                }
            }
            (None, None) => {
                return Err("its process is not known here; say how with --restart=COMMAND".to_owned());
            }
            (None, Some(owner)) => {
                let pid = i32::try_from(owner).ok().and_then(Pid::from_raw);
                let pid = pid.ok_or_else(|| format!("{owner} is no process"))?;
                kill_process(pid, Signal::KILL)
                    .map_err(|error| format!("cannot kill process {owner}: {error}"))?;
            }
        }
        let deadline = Instant::now() + self.budget;
        while Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let Some(address) = self.address_again().await else { continue };
            let client = PluginClient::new(address.clone()).budget(self.budget);
            let owner = client.owner().await;
            // The old process may answer until its end.
            if matches!(address, Address::Unix(_)) && (owner.is_none() || owner == before) {
                continue;
            }
            if client.reach().await.is_ok() {
                self.now(|now| *now = Now { address, owner });
                return Ok(client);
            }
        }
        Err(format!("nobody answers within {:?}", self.budget))
    }

    async fn address_again(&self) -> Option<Address> {
        match &self.origin {
            Origin::Address(address) => Some(address.clone()),
            Origin::Managed { endpoint, name, socket_dir } => {
                let client = Client::connect(endpoint.clone(), Vec::new()).await.ok()?;
                Some(managed(&client, name, socket_dir).await.ok()?.0)
            }
        }
    }
}

/// The socket of an enabled plugin, and what it serves.
async fn managed(client: &Client, name: &str, socket_dir: &Path) -> Result<(Address, Vec<String>)> {
    let document = client.get(format!("/plugins/{name}/json")).value().await?;
    if !document.flag("Enabled") {
        bail!("{name} is not enabled: pintle plugin enable {name}");
    }
    let interface = document.at("Config").at("Interface");
    let socket = interface.text("Socket").to_owned();
    let usual = socket_dir.join(document.text("Id")).join(&socket);
    // An engine with other directories: the plugin's own view of its socket.
    let pid = document.number("Pid");
    let own = PathBuf::from(format!("/proc/{pid}/root{SOCKET_DIR}")).join(&socket);
    let socket = if pid > 0 && !usual.exists() { own } else { usual };
    Ok((Address::Unix(socket), interface.texts("Types")))
}
