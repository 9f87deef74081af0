//! Being a CNI plugin: `pintle-cni`, a hard link of this program in a runtime's plugin folder.
//!
//! Here it is decided which drivers its configurations can name: the ones that are linked in, plugins by the path or
//! name of their socket, and plugins that an engine on this host manages, by their name there.

use std::{
    io::{Read, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use pintle_cni::{Drivers, Found};
use pintle_contract::{DriverError, ErrorKind, IpamDriver, NetworkDriver};
use pintle_drivers::{Bridge, Ipam, Sublink, bridge::Config, ipam::AddressPools};
use pintle_host::{
    HostConfig, HostError, locate,
    remote::{self, Budget},
};
use pintle_netlink::Namespace;
use pintle_wire::{Activation, Interface, activation::ACTIVATE_PATH, spec::Address};
use tokio::sync::OnceCell;

use crate::{
    client::{Client, Selection},
    json::Fields,
};

/// The name under which runtimes call it.
pub const NAME: &str = "pintle-cni";
/// The packet filter's table, apart from every engine's.
const TABLE: &str = "pintle-cni";
/// A configuration is a page of text; results of chains are not much longer.
const MOST_INPUT: u64 = 4 << 20;
const ACTIVATION: Budget = Budget::once(Duration::from_secs(10));

/// Carries out the call that the environment and standard input say.
pub fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    if variable("CNI_COMMAND").is_none() {
        eprintln!("{}", pintle_cni::about());
        return ExitCode::SUCCESS;
    }
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .without_time()
        .try_init();
    let mut stdin = Vec::new();
    let read = std::io::stdin().lock().take(MOST_INPUT).read_to_end(&mut stdin);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let output = match (read, runtime) {
        (Ok(_), Ok(runtime)) => {
            let drivers = OfHost::default();
            let output = runtime.block_on(pintle_cni::run(variable, &stdin, &drivers));
            runtime.shutdown_timeout(Duration::from_secs(1));
            output
        }
        (Err(error), _) | (_, Err(error)) => pintle_cni::Output::failed(&error),
    };
    if let Some(answer) = &output.answer {
        let mut stdout = std::io::stdout().lock();
        if writeln!(stdout, "{answer}").and_then(|()| stdout.flush()).is_err() {
            return ExitCode::FAILURE;
        }
    }
    if output.success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The drivers of this host.
#[derive(Default)]
struct OfHost {
    bridge: OnceCell<Arc<Bridge>>,
}

#[async_trait]
impl Drivers for OfHost {
    async fn network(&self, name: &str) -> Result<Found<dyn NetworkDriver>, DriverError> {
        if name == "bridge" {
            let make = async || {
                let config = Config {
                    table: TABLE.to_owned(),
                    userland_proxy: false,
                    // Some runtimes, Podman and our own engine among them, have a socket at the port already.
                    keep_ports: false,
                    ..Config::standard(Namespace::current()?)
                };
                Bridge::new(config).map(Arc::new)
            };
            let driver: Arc<Bridge> = Arc::clone(self.bridge.get_or_try_init(make).await?);
            return Ok(Found { driver, forgets: true });
        }
        if name == "macvlan" || name == "ipvlan" {
            let host = Namespace::current()?;
            let driver =
                if name == "macvlan" { Sublink::macvlan(host, TABLE) } else { Sublink::ipvlan(host, TABLE) };
            return Ok(Found { driver: Arc::new(driver), forgets: true });
        }
        let client = plugin(name, Interface::Network).await?;
        Ok(Found { driver: Arc::new(remote::Network::new(client)), forgets: false })
    }

    async fn ipam(&self, name: &str) -> Result<Found<dyn IpamDriver>, DriverError> {
        if name == "default" {
            let pools = AddressPools::standard(TABLE);
            return Ok(Found { driver: Arc::new(Ipam::new(pools)), forgets: true });
        }
        let client = plugin(name, Interface::Ipam).await?;
        Ok(Found { driver: Arc::new(remote::Ipam::new(client)), forgets: false })
    }
}

/// A plugin that says that it keeps the contract.
async fn plugin(name: &str, contract: Interface) -> Result<Arc<remote::Client>, DriverError> {
    let config = HostConfig::new("/var/lib/pintle", "/run/pintle");
    let found = locate(&config, name).or_else(|error| match error {
        // A managed plugin's name may have what no file's name has.
        HostError::NotFound(_) => Ok(None),
        other => Err(refused(name, &other)),
    })?;
    if let Some(address) = found {
        let client = remote::Client::new(name, address);
        activate(name, &client, &contract).await?;
        return Ok(Arc::new(client));
    }
    let address = managed(name, &config, &contract).await?;
    Ok(Arc::new(remote::Client::new(name, address)))
}

async fn activate(name: &str, client: &remote::Client, contract: &Interface) -> Result<(), DriverError> {
    let (status, body) = client.call(ACTIVATE_PATH, None, ACTIVATION).await?;
    // Managed plugins are not asked this, and need not know it.
    if status == 404 {
        return Ok(());
    }
    let activation = Activation::decode(&body)
        .map_err(|error| DriverError::internal(format!("plugin {name}: Plugin.Activate: {error}")))?;
    if activation.implements.contains(contract) {
        return Ok(());
    }
    Err(DriverError::new(ErrorKind::Unsupported, format!("plugin {name} is no {}", contract.name())))
}

/// The socket of a plugin that the engine on this host manages.
async fn managed(name: &str, config: &HostConfig, contract: &Interface) -> Result<Address, DriverError> {
    let unknown = |why: String| DriverError::not_found(format!("no driver or plugin {name:.80}: {why}"));
    let endpoint = Selection::default().resolve().map_err(|error| unknown(error.to_string()))?;
    let client = Client::connect(endpoint, Vec::new()).await.map_err(|error| unknown(error.to_string()))?;
    let inspected = client.get(format!("/plugins/{name}/json")).value().await;
    let plugin = inspected.map_err(|error| unknown(error.message()))?;
    let interface = &plugin["Config"]["Interface"];
    let capability = format!("docker.{}/1.0", contract.capability());
    let types = interface["Types"].as_array();
    if !types.is_some_and(|types| types.iter().any(|kind| kind.as_str() == Some(capability.as_str()))) {
        return Err(DriverError::new(
            ErrorKind::Unsupported,
            format!("plugin {name} is no {}", contract.name()),
        ));
    }
    if plugin["Enabled"].as_bool() != Some(true) {
        return Err(DriverError::new(ErrorKind::Unavailable, format!("plugin {name} is disabled")));
    }
    Ok(Address::Unix(config.socket_dir.join(plugin.text("Id")).join(interface.text("Socket"))))
}

fn refused(name: &str, error: &HostError) -> DriverError {
    DriverError::new(ErrorKind::PermissionDenied, format!("plugin {name}: {error}"))
}
