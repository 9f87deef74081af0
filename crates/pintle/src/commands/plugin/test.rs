//! `plugin test`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use pintle_testkit::client::PluginClient;
use pintle_testkit::volume::{Options, conformance};

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::failure::Failure;
use crate::json::Fields;

/// Where engines put the sockets of plugins.
const SOCKET_DIR: &str = "/run/docker/plugins";

/// Run the conformance suite on a plugin.
///
/// Takes the path of a plugin's socket, or the name of an enabled plugin. The suite creates volumes of its own, whose
/// names begin with 'pintle-suite', and removes them. Exits with 1 if a promise is not kept.
#[derive(Debug, Args)]
pub struct Test {
    /// Options for every volume that the suite creates
    #[arg(short = 'o', long = "opt", value_name = "K=V")]
    pub options: Vec<String>,
    /// How long each check may take, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub budget: u64,
    /// The driver's paths are paths on this host, so that data can be looked at
    #[arg(long = "paths-are-here")]
    pub paths_are_here: bool,
    /// Where the engine puts plugin sockets
    #[arg(long = "plugin-sockets", default_value = SOCKET_DIR, value_name = "DIR")]
    pub socket_dir: PathBuf,
    /// A socket's path, or a plugin's name
    #[arg(value_name = "SOCKET|NAME", add = ArgValueCompleter::new(names::plugins))]
    pub plugin: String,
}

impl Test {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let (socket, managed) = self.socket(context).await?;
        if !socket.exists() {
            bail!("{} does not exist; is the plugin enabled, and on this host?", socket.display());
        }
        let mut create = BTreeMap::new();
        for option in &self.options {
            let Some((key, value)) = option.split_once('=') else {
                bail!("invalid --opt {option:?}: give KEY=VALUE");
            };
            create.insert(key.to_owned(), value.to_owned());
        }
        let budget = Duration::from_secs(self.budget);
        let client = PluginClient::unix(&socket).budget(budget);
        if !managed
            && let Ok(activation) = client.activate().await
            && !activation.implements.iter().any(|i| i.name() == "VolumeDriver")
        {
            bail!("{} is not a volume plugin; there are no suites for other kinds yet", socket.display());
        }
        let options = Options {
            create,
            // A managed plugin has a mount namespace of its own; only its propagated mount is seen here.
            paths_are_here: self.paths_are_here,
            kinds: false,
            removes_mounted: false,
            budget,
            ..Options::default()
        };
        let report = conformance(&client, &options).await;
        println!("{report}");
        if report.passed() { Ok(()) } else { Err(Failure::silent(1).into()) }
    }

    /// The socket, and whether it is a managed plugin's.
    async fn socket(&self, context: &Context) -> anyhow::Result<(PathBuf, bool)> {
        let path = PathBuf::from(&self.plugin);
        if self.plugin.starts_with(['/', '.']) || path.exists() {
            return Ok((path, false));
        }
        let client = context.client().await?;
        let document = match client.get(format!("/plugins/{}/json", self.plugin)).value().await {
            Err(error) if error.is_not_found() => {
                // A legacy plugin of that name.
                let legacy = self.socket_dir.join(format!("{}.sock", self.plugin));
                return if legacy.exists() { Ok((legacy, false)) } else { Err(error.into()) };
            }
            other => other?,
        };
        if !document.flag("Enabled") {
            bail!("{} is not enabled: pintle plugin enable {}", self.plugin, self.plugin);
        }
        let types = document.at("Config").at("Interface").texts("Types");
        if !types.is_empty() && !types.iter().any(|t| t.starts_with("docker.volumedriver/")) {
            bail!(
                "{} serves {}; there are suites for docker.volumedriver/1.0 only yet",
                self.plugin,
                types.join(", ")
            );
        }
        let socket = document.at("Config").at("Interface").text("Socket").to_owned();
        Ok((self.socket_dir.join(document.text("Id")).join(socket), true))
    }
}
