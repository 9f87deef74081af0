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
    /// NAME[.FIELD]=VALUE
    #[arg(required = true, value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

impl Set {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        Ok(client.post(format!("/plugins/{}/set", self.plugin)).json(&json!(self.settings)).done().await?)
    }
}
