//! `plugin top`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::logs::ours;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::container::top::processes;
use crate::context::Context;

/// Display the running processes of a plugin.
#[derive(Debug, Args)]
pub struct Top {
    /// The plugin
    #[arg(add = ArgValueCompleter::new(names::enabled_plugins))]
    pub plugin: String,
}

impl Top {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let answer = ours(client, client.get(format!("/plugins/{}/top", self.plugin)).value().await)?;
        print!("{}", processes(&answer));
        Ok(())
    }
}
