//! `plugin set`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;

/// Change settings for a plugin.
#[derive(Debug, Args)]
pub struct Set {
    /// The plugin
    #[arg(add = ArgValueCompleter::new(names::plugins))]
    pub plugin: String,
    /// Grant the paths that the settings name, beyond what was granted when the plugin was installed
    #[arg(long)]
    pub grant: bool,
    /// NAME[.FIELD]=VALUE
    #[arg(required = true, value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

impl Set {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let request = client.post(format!("/plugins/{}/set", self.plugin));
        let request = request.query_some("grant", self.grant.then_some("1"));
        Ok(request.json(&json!(self.settings)).done().await?)
    }
}
