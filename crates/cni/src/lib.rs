//! A CNI plugin in front of any network driver and IPAM driver: what runs in Kubernetes, Podman or `cnitool` as
//! `pintle-cni` gives containers the same interfaces that the engine gives them.
//!
//! A runtime starts the plugin anew for each call, so all that must be known later is on disk before anything is done
//! ([`state`]): every process takes up where the last one ended, or was killed. Drivers that are linked in know only what
//! they are told, and are told again what there is; plugins remember for themselves.
//!
//! | command | what happens |
//! |---|---|
//! | ADD | the network is made if it is not there; addresses, endpoint, join; the interface is put into the namespace |
//! | DEL | everything back, in the opposite order; with its last endpoint the network goes too |
//! | CHECK | the interface is looked at |
//! | GC | DEL for everything that is not among the valid attachments |
//! | STATUS | whether the drivers answer |
//!
//! Which drivers there are is not known here: [`Drivers`] finds them.

mod attach;
mod config;
mod detach;
mod drivers;
mod failure;
mod inspect;
mod network;
mod place;
mod session;
mod state;

use std::path::PathBuf;

use pintle_netlink::Namespace;
use pintle_wire::cni::{CniError, Command, Invocation, SUPPORTED, Version, VersionInfo, code};
use serde_json::Value;

pub use drivers::{Drivers, Found};

use config::Config;
use failure::Failure;
use session::Session;

/// What the plugin leaves its runtime.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// What stands on standard output; often nothing.
    pub answer: Option<Value>,
    /// Whether it succeeded, which is what its exit status says.
    pub success: bool,
}

impl Output {
    /// For a program that could not even ask.
    pub fn failed(error: &std::io::Error) -> Self {
        let error = CniError::new(code::IO, error.to_string());
        Self { answer: Some(error.encode(Version::V1_1_0)), success: false }
    }
}

/// Where the plugin keeps what it must know later, unless its configuration says otherwise.
pub const STATE: &str = "/var/lib/pintle/cni";

/// Carries out one call: `variable` looks into the environment, `stdin` is what was read.
pub async fn run(variable: impl Fn(&str) -> Option<String>, stdin: &[u8], drivers: &dyn Drivers) -> Output {
    let spoken = Config::version(stdin).unwrap_or(Version::V1_1_0);
    match answer(variable, stdin, drivers).await {
        Ok(answer) => Output { answer, success: true },
        Err(error) => Output { answer: Some(error.0.encode(spoken)), success: false },
    }
}

async fn answer(
    variable: impl Fn(&str) -> Option<String>,
    stdin: &[u8],
    drivers: &dyn Drivers,
) -> Result<Option<Value>, Failure> {
    let call = Invocation::from_env(&variable)?;
    if call.command == Command::Version {
        let spoken = Config::version(stdin).unwrap_or(Version::V1_1_0);
        return Ok(Some(VersionInfo { spoken, supported: SUPPORTED.to_vec() }.encode()));
    }
    let config = Config::parse(stdin, &call)?;
    suits(&config, call.command)?;
    let host = Namespace::current()?;
    if let Some(path) = &call.namespace
        && Namespace::open(path).is_ok_and(|sandbox| sandbox.is(&host))
    {
        return Err(Failure::new(code::NAMESPACE, "CNI_NETNS is the namespace that the plugin runs in"));
    }
    let session = Session::open(&config, drivers, host)?;
    match call.command {
        Command::Add => {
            let made = session.add(&call).await?;
            Ok(Some(made.encode(config.version)?))
        }
        Command::Del => {
            session.del(&call.container, &call.interface, call.namespace.as_deref()).await.map(|()| None)
        }
        Command::Check => session.check(&call).await.map(|()| None),
        Command::Gc => session.gc().await.map(|()| None),
        Command::Status => session.status().await.map(|()| None),
        Command::Version => Ok(None),
    }
}

/// Whether the command is one of the configuration's version.
fn suits(config: &Config, command: Command) -> Result<(), Failure> {
    let version = config.version;
    let known = match command {
        Command::Check => version.has_check(),
        Command::Gc | Command::Status => version.has_status_and_gc(),
        _ => true,
    };
    if version.is_supported() && known {
        return Ok(());
    }
    let mut error = Failure::new(code::VERSION, "incompatible CNI versions").0;
    let supported: Vec<String> = SUPPORTED.iter().map(Version::to_string).collect();
    error.details = match version.is_supported() {
        true => format!("version {version} has no {}", command.name()),
        false => format!("config is {version}, plugin supports {}", supported.join(", ")),
    };
    Err(error.into())
}

/// For people who start the plugin by hand.
pub fn about() -> String {
    let supported: Vec<String> = SUPPORTED.iter().map(Version::to_string).collect();
    format!(
        "pintle-cni {}: a CNI plugin in front of network drivers\nCNI protocol versions supported: {}",
        env!("CARGO_PKG_VERSION"),
        supported.join(", ")
    )
}

fn default_state() -> PathBuf {
    STATE.into()
}
