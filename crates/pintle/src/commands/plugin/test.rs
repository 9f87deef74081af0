//! `plugin test`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use pintle_testkit::client::PluginClient;
use pintle_testkit::report::Report;
use pintle_testkit::{ipam, network, volume};

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::failure::Failure;
use crate::json::Fields;

/// Where engines put the sockets of plugins.
const SOCKET_DIR: &str = "/run/docker/plugins";

/// Run the conformance suites on a plugin.
///
/// Takes the path of a plugin's socket, or the name of an enabled plugin, and runs a suite for everything that the
/// plugin implements. The suites make volumes, networks and pools of their own, whose names begin with 'pintle-suite'
/// where they have names, and remove them. The one for networks makes network namespaces and takes root. Exits with 1
/// if a promise is not kept.
#[derive(Debug, Args)]
pub struct Test {
    /// Options for every volume and network that the suites create
    #[arg(short = 'o', long = "opt", value_name = "K=V")]
    pub options: Vec<String>,
    /// Options for every pool of addresses
    #[arg(long = "ipam-opt", value_name = "K=V")]
    pub ipam_options: Vec<String>,
    /// Run this suite; those that the plugin implements if not given
    #[arg(long = "suite", value_enum)]
    pub suites: Vec<Suite>,
    /// How long each check may take, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub budget: u64,
    /// The driver's paths are paths on this host, so that data can be looked at
    #[arg(long = "paths-are-here")]
    pub paths_are_here: bool,
    /// Two subnets that are free, for networks and pools; some of 198.18.0.0/15 if not given
    #[arg(long = "subnet", value_name = "CIDR", num_args = 1)]
    pub subnets: Vec<ipnet::IpNet>,
    /// A subnet with few addresses that are free, to use up; a part of the first one if not given
    #[arg(long = "small-subnet", value_name = "CIDR")]
    pub small: Option<ipnet::IpNet>,
    /// A subnet of IPv6 that is free; 'none' if the driver knows no IPv6
    #[arg(long = "subnet6", value_name = "CIDR")]
    pub subnet6: Option<String>,
    /// Nothing else makes links on this host meanwhile, so that what is left over is the plugin's
    #[arg(long)]
    pub alone: bool,
    /// Containers of the plugin's networks are not meant to reach each other
    #[arg(long = "no-reach")]
    pub no_reach: bool,
    /// A directory for sandboxes that the plugin sees under the same path; by way of /proc if not given
    #[arg(long, value_name = "DIR")]
    pub sandboxes: Option<PathBuf>,
    /// Where the engine puts plugin sockets
    #[arg(long = "plugin-sockets", default_value = SOCKET_DIR, value_name = "DIR")]
    pub socket_dir: PathBuf,
    /// A socket's path, or a plugin's name
    #[arg(value_name = "SOCKET|NAME", add = ArgValueCompleter::new(names::plugins))]
    pub plugin: String,
}

/// A suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// Volumes
    Volume,
    /// Networks
    Network,
    /// Addresses
    Ipam,
}

impl Suite {
    const ALL: [Self; 3] = [Self::Volume, Self::Network, Self::Ipam];

    fn interface(self) -> pintle_wire::Interface {
        match self {
            Self::Volume => pintle_wire::Interface::Volume,
            Self::Network => pintle_wire::Interface::Network,
            Self::Ipam => pintle_wire::Interface::Ipam,
        }
    }

    /// The call that every plugin of the kind has.
    fn probe(self) -> &'static str {
        match self {
            Self::Volume => pintle_wire::volume::Method::List.path(),
            Self::Network => pintle_wire::network::Method::GetCapabilities.path(),
            Self::Ipam => pintle_wire::ipam::Method::GetDefaultAddressSpaces.path(),
        }
    }
}

impl Test {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let (socket, declared) = self.socket(context).await?;
        if !socket.exists() {
            bail!("{} does not exist; is the plugin enabled, and on this host?", socket.display());
        }
        let client = PluginClient::unix(&socket).budget(Duration::from_secs(self.budget));
        let suites = match (self.suites.is_empty(), declared) {
            (false, _) => self.suites.clone(),
            (true, Some(suites)) => suites,
            (true, None) => implemented(&client).await,
        };
        if suites.is_empty() {
            bail!(
                "{} is no plugin for volumes, networks or addresses; there are suites for these",
                self.plugin
            );
        }
        let mut passed = true;
        for suite in &suites {
            let report = match suite {
                Suite::Volume => volume::conformance(&client, &self.volume()?).await,
                Suite::Network => network::conformance(&client, &self.network()?).await,
                Suite::Ipam => ipam::conformance(&client, &self.ipam()?).await,
            };
            if suites.len() > 1 {
                println!("{}:", suite.interface().name());
            }
            println!("{report}");
            passed &= Report::passed(&report);
        }
        if passed { Ok(()) } else { Err(Failure::silent(1).into()) }
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(self.budget)
    }

    fn volume(&self) -> anyhow::Result<volume::Options<'static>> {
        Ok(volume::Options {
            create: pairs("--opt", &self.options)?,
            // A managed plugin has a mount namespace of its own; only its propagated mount is seen here.
            paths_are_here: self.paths_are_here,
            kinds: false,
            removes_mounted: false,
            budget: self.budget(),
            ..volume::Options::default()
        })
    }

    fn network(&self) -> anyhow::Result<network::Options<'static>> {
        let default = network::Options::default();
        Ok(network::Options {
            create: pairs("--opt", &self.options)?,
            alone: self.alone,
            sandboxes: self.sandboxes.clone(),
            pools: self.pools(default.pools)?,
            v6: self.v6(default.v6)?,
            reach: !self.no_reach,
            kinds: false,
            budget: self.budget(),
            ..default
        })
    }

    fn ipam(&self) -> anyhow::Result<ipam::Options<'static>> {
        let default = ipam::Options::default();
        Ok(ipam::Options {
            pool_options: pairs("--ipam-opt", &self.ipam_options)?,
            pools: self.pools(default.pools)?,
            small: self.small,
            v6: self.v6(default.v6)?,
            kinds: false,
            budget: self.budget(),
            ..default
        })
    }

    fn pools(&self, default: [ipnet::IpNet; 2]) -> anyhow::Result<[ipnet::IpNet; 2]> {
        match self.subnets[..] {
            [] => Ok(default),
            [one, other] => Ok([one.trunc(), other.trunc()]),
            _ => bail!("give --subnet twice, or not at all"),
        }
    }

    fn v6(&self, default: Option<ipnet::IpNet>) -> anyhow::Result<Option<ipnet::IpNet>> {
        match self.subnet6.as_deref() {
            None => Ok(default),
            Some("none") => Ok(None),
            Some(text) => text.parse().map(Some).with_context(|| format!("invalid --subnet6 {text:?}")),
        }
    }

    /// The socket, and what a managed plugin's configuration says that it serves.
    async fn socket(&self, context: &Context) -> anyhow::Result<(PathBuf, Option<Vec<Suite>>)> {
        let path = PathBuf::from(&self.plugin);
        if self.plugin.starts_with(['/', '.']) || path.exists() {
            return Ok((path, None));
        }
        let client = context.client().await?;
        let document = match client.get(format!("/plugins/{}/json", self.plugin)).value().await {
            Err(error) if error.is_not_found() => {
                // A legacy plugin of that name.
                let legacy = self.socket_dir.join(format!("{}.sock", self.plugin));
                return if legacy.exists() { Ok((legacy, None)) } else { Err(error.into()) };
            }
            other => other?,
        };
        if !document.flag("Enabled") {
            bail!("{} is not enabled: pintle plugin enable {}", self.plugin, self.plugin);
        }
        let types = document.at("Config").at("Interface").texts("Types");
        let serves = |suite: &Suite| {
            let prefix = format!("docker.{}/", suite.interface().capability());
            types.iter().any(|served| served.starts_with(&prefix))
        };
        let declared: Vec<Suite> = Suite::ALL.into_iter().filter(serves).collect();
        if declared.is_empty() && !types.is_empty() {
            bail!(
                "{} serves {}; there are suites for docker.volumedriver/1.0, docker.networkdriver/1.0 and \
                 docker.ipamdriver/1.0 only yet",
                self.plugin,
                types.join(", ")
            );
        }
        let socket = document.at("Config").at("Interface").text("Socket").to_owned();
        let declared = (!declared.is_empty()).then_some(declared);
        Ok((self.socket_dir.join(document.text("Id")).join(socket), declared))
    }
}

/// What a plugin says that it implements, or else what it answers to: a managed one need not say.
async fn implemented(client: &PluginClient) -> Vec<Suite> {
    if let Ok(activation) = client.activate().await {
        let says = |suite: &Suite| activation.implements.contains(&suite.interface());
        return Suite::ALL.into_iter().filter(says).collect();
    }
    let mut answered = Vec::new();
    for suite in Suite::ALL {
        let reply = client.post(suite.probe(), b"{}\n".to_vec()).await;
        if reply.is_ok_and(|(status, body)| !pintle_wire::is_missing(status, &body)) {
            answered.push(suite);
        }
    }
    answered
}

fn pairs(flag: &str, options: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |option: &String| match option.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => bail!("invalid {flag} {option:?}: give KEY=VALUE"),
    };
    options.iter().map(pair).collect()
}
