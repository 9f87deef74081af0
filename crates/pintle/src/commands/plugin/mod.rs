//! Plugin commands: Docker's, and the workbench's.

pub mod build;
pub mod create;
pub mod enable;
pub mod install;
pub mod list;
pub mod logs;
pub mod new;
pub mod privileges;
pub mod push;
pub mod remove;
pub mod sdk;
pub mod set;
pub mod stats;
pub mod test;
pub mod top;
pub mod upgrade;
pub mod validate;

use clap::Subcommand;

use super::{Done, inspect};
use crate::context::Context;

/// `pintle plugin …`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Package a plugin's directory and create it in the engine, or write it to a file
    Build(build::Build),
    /// Create a plugin from a rootfs and configuration. Plugin data directory must contain config.json and rootfs directory
    Create(create::Create),
    /// Disable a plugin
    Disable(enable::Disable),
    /// Enable a plugin
    Enable(enable::Enable),
    /// Display detailed information on one or more plugins
    Inspect(inspect::InspectPlugin),
    /// Install a plugin
    Install(install::Install),
    /// Fetch the logs of a plugin
    Logs(logs::Logs),
    /// List plugins
    #[command(visible_alias = "list")]
    Ls(list::List),
    /// Start a new plugin from a working example
    New(new::New),
    /// Push a plugin to a registry
    Push(push::Push),
    /// Remove one or more plugins
    #[command(visible_alias = "remove")]
    Rm(remove::Remove),
    /// Write the source of pintle's SDK into a directory
    Sdk(sdk::Sdk),
    /// Change settings for a plugin
    Set(set::Set),
    /// Display resource usage statistics of plugins
    Stats(stats::Stats),
    /// Run the conformance suite on a plugin
    Test(test::Test),
    /// Display the running processes of a plugin
    Top(top::Top),
    /// Upgrade an existing plugin
    Upgrade(upgrade::Upgrade),
    /// Check a plugin's directory before it is packaged
    Validate(validate::Validate),
    /// Serve the driver that 'plugin new --builtin' scaffolds
    #[command(hide = true)]
    Serve {
        /// What it serves
        kind: Option<String>,
    },
}

impl PluginCommand {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        match self {
            Self::Build(c) => c.run(context).await,
            Self::Create(c) => c.run(context).await,
            Self::Disable(c) => c.run(context).await,
            Self::Enable(c) => c.run(context).await,
            Self::Inspect(c) => c.run(context).await,
            Self::Install(c) => c.run(context).await,
            Self::Logs(c) => c.run(context).await,
            Self::Ls(c) => c.run(context).await,
            Self::New(c) => c.run(),
            Self::Push(c) => c.run(context).await,
            Self::Rm(c) => c.run(context).await,
            Self::Sdk(c) => c.run(),
            Self::Set(c) => c.run(context).await,
            Self::Stats(c) => c.run(context).await,
            Self::Test(c) => c.run(context).await,
            Self::Top(c) => c.run(context).await,
            Self::Upgrade(c) => c.run(context).await,
            Self::Validate(c) => c.run(),
            // `main` takes this one before there are any threads.
            Self::Serve { .. } => {
                anyhow::bail!("'plugin serve' takes volume, network, ipam, authz or log, and no options")
            }
        }
    }
}
