//! Runtime commands.

pub mod check;
pub mod list;

use clap::Subcommand;

use super::{Done, inspect};
use crate::context::Context;

/// `pintle runtime …`.
#[derive(Debug, Subcommand)]
pub enum RuntimeCommand {
    /// Run a short self-test container on a runtime and say what works
    Check(check::Check),
    /// Display detailed information on one or more runtimes
    Inspect(inspect::InspectRuntime),
    /// List the runtimes that containers can name
    #[command(visible_alias = "list")]
    Ls(list::List),
}

impl RuntimeCommand {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        match self {
            Self::Check(c) => c.run(context).await,
            Self::Inspect(c) => c.run(context).await,
            Self::Ls(c) => c.run(context).await,
        }
    }
}
