//! `plugin push`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::credentials::{lookup, registry_of};
use crate::render::progress::Progress;

/// Push a plugin to a registry.
#[derive(Debug, Args)]
pub struct Push {
    /// Accepted for old scripts; content trust is gone
    #[arg(long = "disable-content-trust", hide = true)]
    pub disable_content_trust: bool,
    /// The plugin, whose name says where to: PLUGIN[:TAG]
    #[arg(add = ArgValueCompleter::new(names::plugins))]
    pub plugin: String,
}

impl Push {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let auth = lookup(&context.config()?, &registry_of(&self.plugin)).await?;
        let client = context.client().await?;
        let request =
            client.post(format!("/plugins/{}/push", self.plugin)).header("X-Registry-Auth", auth.header());
        Progress::new(false).follow(request.send().await?).await?;
        Ok(())
    }
}
