//! `plugin upgrade`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::privileges::Granting;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::prompt::confirm;
use crate::context::Context;
use crate::credentials::{lookup, registry_of};
use crate::json::Fields;
use crate::render::progress::Progress;

/// Upgrade an existing plugin.
#[derive(Debug, Args)]
pub struct Upgrade {
    #[command(flatten)]
    pub granting: Granting,
    /// Do not check if specified remote plugin matches existing plugin image
    #[arg(long = "skip-remote-check")]
    pub skip_remote_check: bool,
    /// Accepted for old scripts; content trust is gone
    #[arg(long = "disable-content-trust", hide = true)]
    pub disable_content_trust: bool,
    /// The plugin
    #[arg(add = ArgValueCompleter::new(names::disabled_plugins))]
    pub plugin: String,
    /// Where the new version comes from; where the old one came from if not given
    pub remote: Option<String>,
}

impl Upgrade {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let name = &self.plugin;
        let document = client.get(format!("/plugins/{name}/json")).value().await?;
        // Said before any question is asked; the engine would say it after.
        if document.flag("Enabled") {
            anyhow::bail!("the plugin must be disabled before upgrading: pintle plugin disable {name}");
        }
        let old = document.text("PluginReference").to_owned();
        let remote = self.remote.clone().unwrap_or_else(|| old.clone());
        if remote.is_empty() {
            anyhow::bail!("{name} was not installed from a registry: say where the new version is");
        }
        println!("Upgrading plugin {name} from {old} to {remote}");
        let bare = |reference: &str| {
            crate::commands::image::split(reference).0.trim_start_matches("docker.io/").to_owned()
        };
        if !self.skip_remote_check
            && bare(&old) != bare(&remote)
            && !confirm("Plugin images do not match, are you sure?")
        {
            anyhow::bail!("plugin upgrade has been cancelled");
        }
        let auth = lookup(&context.config()?, &registry_of(&remote)).await?;
        let privileges = self.granting.settle(client, &remote, name, &[], &auth, "upgrading").await?;
        let response = client
            .post(format!("/plugins/{name}/upgrade"))
            .query("remote", &remote)
            .header("X-Registry-Auth", auth.header())
            .json(&privileges)
            .send()
            .await?;
        Progress::new(false).follow(response).await?;
        println!("Upgraded plugin {name} to {remote}");
        Ok(())
    }
}
