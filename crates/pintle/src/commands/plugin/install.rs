//! `plugin install`.

use clap::Args;
use serde_json::json;

use super::privileges::Granting;
use crate::commands::Done;
use crate::context::Context;
use crate::credentials::{lookup, registry_of};
use crate::render::progress::Progress;

/// Install a plugin.
#[derive(Debug, Args)]
pub struct Install {
    /// Local name for plugin
    #[arg(long, value_name = "NAME")]
    pub alias: Option<String>,
    /// Do not enable the plugin on install
    #[arg(long)]
    pub disable: bool,
    #[command(flatten)]
    pub granting: Granting,
    /// Accepted for old scripts; content trust is gone
    #[arg(long = "disable-content-trust", hide = true)]
    pub disable_content_trust: bool,
    /// Where it comes from: PLUGIN[:TAG]
    pub plugin: String,
    /// Settings, as for 'plugin set'
    #[arg(value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

impl Install {
    /// Runs it. If a setting is refused the plugin stays, disabled, as with Docker; the error says so.
    pub async fn run(self, context: &Context) -> Done {
        let auth = lookup(&context.config()?, &registry_of(&self.plugin)).await?;
        let client = context.client().await?;
        let name = self.alias.as_deref().unwrap_or(&self.plugin);
        let privileges = self
            .granting
            .settle(client, &self.plugin, &self.plugin, &self.settings, &auth, "installing")
            .await?;
        let response = client
            .post("/plugins/pull")
            .query("remote", &self.plugin)
            .query_some("name", self.alias.as_deref())
            .header("X-Registry-Auth", auth.header())
            .json(&privileges)
            .send()
            .await?;
        Progress::new(false).follow(response).await?;
        if !self.settings.is_empty() {
            // Whoever said yes to what the plugin wants has typed these too; `--allow` names all that may be had.
            let granted = self.granting.allow.is_empty().then_some("1");
            let request = client.post(format!("/plugins/{name}/set")).query_some("grant", granted);
            let set = request.json(&json!(self.settings)).done().await;
            if let Err(error) = set {
                anyhow::bail!(
                    "{error}\nThe plugin is installed and disabled: 'pintle plugin set {name} …', then 'pintle plugin enable {name}'"
                );
            }
        }
        if !self.disable {
            client.post(format!("/plugins/{name}/enable")).query("timeout", 0).done().await?;
        }
        println!("Installed plugin {}", self.plugin);
        Ok(())
    }
}
