//! Network commands.

pub mod connect;
pub mod create;
pub mod list;
pub mod prune;
pub mod remove;
pub mod subnets;

use clap::Subcommand;

use super::{Done, inspect};
use crate::context::Context;

/// `pintle network …`.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Connect a container to a network
    Connect(Box<connect::Connect>),
    /// Create a network
    Create(Box<create::Create>),
    /// Disconnect a container from a network
    Disconnect(connect::Disconnect),
    /// Display detailed information on one or more networks
    Inspect(inspect::InspectNetwork),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(list::List),
    /// Remove all unused networks
    Prune(prune::Prune),
    /// Remove one or more networks
    #[command(visible_alias = "remove")]
    Rm(remove::Remove),
}

impl NetworkCommand {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        match self {
            Self::Connect(c) => c.run(context).await,
            Self::Create(c) => c.run(context).await,
            Self::Disconnect(c) => c.run(context).await,
            Self::Inspect(c) => c.run(context).await,
            Self::Ls(c) => c.run(context).await,
            Self::Prune(c) => c.run(context).await,
            Self::Rm(c) => c.run(context).await,
        }
    }
}
