//! `plugin enable` and `plugin disable`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;

/// Enable a plugin.
#[derive(Debug, Args)]
pub struct Enable {
    /// HTTP client timeout (in seconds)
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(0..))]
    pub timeout: i64,
    /// The plugin
    #[arg(add = ArgValueCompleter::new(names::disabled_plugins))]
    pub plugin: String,
}

/// Disable a plugin.
#[derive(Debug, Args)]
pub struct Disable {
    /// Force the disable of an active plugin
    #[arg(short = 'f', long)]
    pub force: bool,
    /// The plugin
    #[arg(add = ArgValueCompleter::new(names::enabled_plugins))]
    pub plugin: String,
}

impl Enable {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        client.post(format!("/plugins/{}/enable", self.plugin)).query("timeout", self.timeout).done().await?;
        println!("{}", self.plugin);
        Ok(())
    }
}

impl Disable {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        client.post(format!("/plugins/{}/disable", self.plugin)).switch("force", self.force).done().await?;
        println!("{}", self.plugin);
        Ok(())
    }
}
