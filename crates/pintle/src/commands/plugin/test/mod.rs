//! `plugin test`.

mod show;
mod suite;

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueHint};
use clap_complete::engine::ArgValueCompleter;
use pintle_testkit::client::PluginClient;
use pintle_testkit::report::Report;
use pintle_testkit::{authorization, ipam, log, network, volume};
use pintle_wire::spec::Address;

use crate::client::ClientError;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::failure::Failure;
use crate::render::format::Style;
use crate::workbench::subject::{SOCKET_DIR, Subject};

pub use suite::Suite;

/// Where plugins that listen elsewhere say so.
const SPEC_DIRS: [&str; 2] = ["/etc/docker/plugins", "/usr/lib/docker/plugins"];

/// Run the conformance suites on a plugin.
///
/// Takes the path of a plugin's socket, its address (tcp://HOST:PORT), or its name: that of an enabled plugin of the
/// engine, pintle's or dockerd, or of a legacy plugin on this host. Runs a suite for everything that the plugin
/// implements. The suites make volumes, networks and pools of their own, whose names begin with 'pintle-suite' where
/// they have names, and remove them. As root on the plugin's host the one for volumes also looks at the data, inside
/// the plugin's own mount namespace; the one for networks makes network namespaces and takes root; the one
/// for logs makes pipes in the plugin's root. Exits with 1 if a
/// promise is not kept.
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
    /// Leave this check of volumes out, by its name
    #[arg(long, value_name = "CHECK", value_parser = clap::builder::PossibleValuesParser::new(volume::checks()))]
    pub skip: Vec<String>,
    /// How long each check may take, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub budget: u64,
    /// Also restart the plugin: kill it and wait until its supervisor brings it back, or run COMMAND, which must do both
    #[arg(long, value_name = "COMMAND", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub restart: Option<String>,
    /// The plugin's paths are paths on this host (for addresses, whose process cannot be found)
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
    #[arg(long = "plugin-sockets", default_value = SOCKET_DIR, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub socket_dir: PathBuf,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// A socket's path, an address, or a plugin's name
    #[arg(value_name = "SOCKET|NAME", add = ArgValueCompleter::new(names::enabled_plugins))]
    pub plugin: String,
}

impl Test {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let subject = self.subject(context).await?;
        let client = subject.client();
        if let Err(error) = client.reach().await {
            bail!("{} cannot be reached: {error}", self.plugin);
        }
        let suites = self.wanted(&subject, &client).await?;
        let mut passed = true;
        let mut rows = Vec::new();
        for suite in &suites {
            let kinds = suite.kinds(&client).await;
            let report = match suite {
                Suite::Volume => self.volume(&subject, &client, kinds).await?,
                Suite::Network => self.network(&subject, &client, kinds).await?,
                Suite::Ipam => self.ipam(&subject, &client, kinds).await?,
                Suite::Authz => self.authorization(&subject, &client).await,
                Suite::Log => self.log(&subject).await?,
            };
            passed &= report.passed();
            if self.format.is_some() {
                rows.extend(show::rows(*suite, &report));
                continue;
            }
            if suites.len() > 1 {
                println!("{}:", suite.interface().name());
            }
            println!("{}", show::coloured(&report));
        }
        if self.format.is_some() {
            print!("{}", Style { format: self.format.clone(), quiet: false }.render(&show::COLUMNS, &rows)?);
        }
        if passed { Ok(()) } else { Err(Failure::silent(1).into()) }
    }

    async fn wanted(&self, subject: &Subject, client: &PluginClient) -> anyhow::Result<Vec<Suite>> {
        if !self.suites.is_empty() {
            return Ok(self.suites.clone());
        }
        let suites = match subject.types() {
            [] => suite::implemented(client).await,
            types => suite::declared(types),
        };
        if suites.is_empty() {
            let serves = match subject.types() {
                [] => String::new(),
                types => format!(", but serves {}", types.join(", ")),
            };
            bail!(
                "{} is no plugin for volumes, networks, addresses, authorization or logs{serves}; there are suites for these",
                self.plugin
            );
        }
        Ok(suites)
    }

    async fn subject(&self, context: &Context) -> anyhow::Result<Subject> {
        let plugin = &self.plugin;
        let budget = self.budget();
        if plugin.contains("://") {
            return Subject::at(Address::parse(plugin)?, budget).await;
        }
        let path = PathBuf::from(plugin);
        // A folder here may be called as the plugin is: `plugin new` makes one.
        let is_socket = || std::fs::metadata(&path).is_ok_and(|metadata| metadata.file_type().is_socket());
        if plugin.starts_with(['/', '.']) || is_socket() {
            return Subject::at(Address::Unix(path), budget).await;
        }
        let missing = match context.client().await {
            Ok(client) => match Subject::managed(client, plugin, &self.socket_dir, budget).await {
                Ok(subject) => return Ok(subject),
                Err(error) if error.downcast_ref().is_some_and(ClientError::is_not_found) => error,
                Err(error) => return Err(error),
            },
            // A legacy plugin needs no engine.
            Err(error) => error.into(),
        };
        match legacy(plugin, &self.socket_dir)? {
            Some(address) => Subject::at(address, budget).await,
            None => Err(missing),
        }
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(self.budget)
    }

    /// The command that restarts the plugin, if it is to be restarted; nothing in it to kill it and wait.
    fn command(&self) -> Option<Option<String>> {
        self.restart.clone().map(|command| Some(command).filter(|command| !command.is_empty()))
    }

    async fn volume(&self, subject: &Subject, client: &PluginClient, kinds: bool) -> anyhow::Result<Report> {
        let (again, command) = (subject.clone(), self.command());
        let restart = move || -> volume::Restarted {
            let restarted = again.clone().restart(command.clone().flatten());
            Box::pin(async move { Ok(Arc::new(restarted.await?) as Arc<_>) })
        };
        let root = subject.root();
        let seen = |path: &Path| subject.seen(path);
        let options = volume::Options {
            create: pairs("--opt", &self.options)?,
            look: match &root {
                _ if self.paths_are_here => volume::Look::Here,
                Ok(_) => volume::Look::Through(&seen),
                Err(why) => volume::Look::Nowhere(why),
            },
            kinds,
            skip: self.skip.clone(),
            budget: self.budget(),
            restart: self.restart.is_some().then_some(&restart),
            ..volume::Options::default()
        };
        Ok(volume::conformance(client, &options).await)
    }

    async fn network(&self, subject: &Subject, client: &PluginClient, kinds: bool) -> anyhow::Result<Report> {
        let (again, command) = (subject.clone(), self.command());
        let restart = move || -> network::Restarted {
            let restarted = again.clone().restart(command.clone().flatten());
            Box::pin(async move { Ok(Arc::new(restarted.await?) as Arc<_>) })
        };
        let default = network::Options::default();
        let options = network::Options {
            create: pairs("--opt", &self.options)?,
            alone: self.alone,
            sandboxes: self.sandboxes.clone(),
            pools: self.pools(default.pools)?,
            v6: self.v6(default.v6)?,
            reach: !self.no_reach,
            kinds,
            budget: self.budget(),
            restart: self.restart.is_some().then_some(&restart),
            ..default
        };
        Ok(network::conformance(client, &options).await)
    }

    async fn ipam(&self, subject: &Subject, client: &PluginClient, kinds: bool) -> anyhow::Result<Report> {
        let (again, command) = (subject.clone(), self.command());
        let restart = move || -> ipam::Restarted {
            let restarted = again.clone().restart(command.clone().flatten());
            Box::pin(async move { Ok(Arc::new(restarted.await?) as Arc<_>) })
        };
        let default = ipam::Options::default();
        let options = ipam::Options {
            pool_options: pairs("--ipam-opt", &self.ipam_options)?,
            pools: self.pools(default.pools)?,
            small: self.small,
            v6: self.v6(default.v6)?,
            kinds,
            budget: self.budget(),
            restart: self.restart.is_some().then_some(&restart),
            ..default
        };
        Ok(ipam::conformance(client, &options).await)
    }

    async fn authorization(&self, subject: &Subject, client: &PluginClient) -> Report {
        let (again, command) = (subject.clone(), self.command());
        let restart = move || -> authorization::Restarted {
            let restarted = again.clone().restart(command.clone().flatten());
            Box::pin(async move { Ok(Arc::new(restarted.await?) as Arc<_>) })
        };
        let options = authorization::Options {
            budget: self.budget(),
            restart: self.restart.is_some().then_some(&restart),
            ..authorization::Options::default()
        };
        authorization::conformance(client, &options).await
    }

    async fn log(&self, subject: &Subject) -> anyhow::Result<Report> {
        let (again, command) = (subject.clone(), self.command());
        let here = self.paths_are_here;
        let restart = move || -> log::Restarted {
            let (again, command) = (again.clone(), command.clone());
            Box::pin(async move {
                again.clone().restart(command.flatten()).await?;
                Ok(Arc::new(again.log_driver(here)?) as Arc<_>)
            })
        };
        let options = log::Options {
            options: pairs("--opt", &self.options)?,
            budget: self.budget(),
            restart: self.restart.is_some().then_some(&restart),
            ..log::Options::default()
        };
        let driver = subject.log_driver(here).map_err(anyhow::Error::msg)?;
        Ok(log::conformance(&driver, &options).await)
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
}

/// Where a legacy plugin of that name listens.
fn legacy(name: &str, socket_dir: &Path) -> anyhow::Result<Option<Address>> {
    let socket = socket_dir.join(format!("{name}.sock"));
    if socket.exists() {
        return Ok(Some(Address::Unix(socket)));
    }
    for dir in SPEC_DIRS {
        let spec = Path::new(dir).join(format!("{name}.spec"));
        if let Ok(text) = std::fs::read_to_string(&spec) {
            return Ok(Some(Address::parse(&text)?));
        }
        if let Ok(text) = std::fs::read(spec.with_extension("json")) {
            return Ok(Some(Address::parse_json(&text)?));
        }
    }
    Ok(None)
}

fn pairs(flag: &str, options: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |option: &String| match option.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => bail!("invalid {flag} {option:?}: give KEY=VALUE"),
    };
    options.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_plugins_are_found_by_their_files() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(legacy("nosuch", dir.path()).unwrap(), None);
        std::fs::write(dir.path().join("here.sock"), "").unwrap();
        assert_eq!(legacy("here", dir.path()).unwrap(), Some(Address::Unix(dir.path().join("here.sock"))));
    }
}
