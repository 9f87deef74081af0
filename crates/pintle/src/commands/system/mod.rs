//! Commands about the engine as a whole, and about registries.

pub mod df;
pub mod dial;
pub mod events;
pub mod info;
pub mod login;
pub mod prune;
pub mod version;

use clap::Subcommand;

use super::Done;
use crate::context::Context;

/// `pintle system …`.
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Show disk usage
    Df(df::Df),
    /// Join standard input and output to the engine's socket
    #[command(name = "dial-stdio", hide = true)]
    DialStdio,
    /// Get real time events from the server
    Events(events::Events),
    /// Display system-wide information
    Info(info::Info),
    /// Remove unused data
    Prune(prune::Prune),
}

impl SystemCommand {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        match self {
            Self::Df(c) => c.run(context).await,
            Self::DialStdio => dial::run(context).await,
            Self::Events(c) => c.run(context).await,
            Self::Info(c) => c.run(context).await,
            Self::Prune(c) => c.run(context).await,
        }
    }
}
