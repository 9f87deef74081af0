//! Volume commands.

pub mod create;
pub mod list;
pub mod prune;
pub mod remove;

use clap::Subcommand;

use super::{Done, inspect};
use crate::context::Context;

/// `pintle volume …`.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Create a volume
    Create(create::Create),
    /// Display detailed information on one or more volumes
    Inspect(inspect::InspectVolume),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(list::List),
    /// Remove unused local volumes
    Prune(prune::Prune),
    /// Remove one or more volumes
    #[command(visible_alias = "remove")]
    Rm(remove::Remove),
}

impl VolumeCommand {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        match self {
            Self::Create(c) => c.run(context).await,
            Self::Inspect(c) => c.run(context).await,
            Self::Ls(c) => c.run(context).await,
            Self::Prune(c) => c.run(context).await,
            Self::Rm(c) => c.run(context).await,
        }
    }
}
