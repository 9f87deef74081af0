//! Container commands.

pub mod attach;
pub mod commit;
pub mod copy;
pub mod create;
pub mod diff;
pub mod exec;
pub mod export;
pub mod kill;
pub mod list;
pub mod log_drivers;
pub mod logs;
mod merge;
mod mounts;
pub mod networks;
pub mod options;
pub mod pause;
pub mod port;
mod ports;
pub mod prune;
pub mod remove;
pub mod rename;
pub mod resources;
pub mod run;
pub mod spec;
pub mod start;
pub mod stats;
pub mod stop;
pub mod top;
pub mod update;
pub mod wait;

use clap::Subcommand;

use super::{Done, inspect};
use crate::context::Context;

/// `pintle container …`.
#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    /// Attach local standard input, output, and error streams to a running container
    Attach(attach::Attach),
    /// Create a new image from a container's changes
    Commit(commit::Commit),
    /// Copy files/folders between a container and the local filesystem
    Cp(copy::Copy),
    /// Create a new container
    Create(create::Create),
    /// Inspect changes to files or directories on a container's filesystem
    Diff(diff::Diff),
    /// Execute a command in a running container
    Exec(exec::Exec),
    /// Export a container's filesystem as a tar archive
    Export(export::Export),
    /// Display detailed information on one or more containers
    Inspect(inspect::InspectContainer),
    /// Kill one or more running containers
    Kill(kill::Kill),
    /// Fetch the logs of a container
    Logs(logs::Logs),
    /// List containers
    #[command(visible_aliases = ["ps", "list"])]
    Ls(list::List),
    /// Pause all processes within one or more containers
    Pause(pause::Pause),
    /// List port mappings or a specific mapping for the container
    Port(port::Port),
    /// Remove all stopped containers
    Prune(prune::Prune),
    /// Rename a container
    Rename(rename::Rename),
    /// Restart one or more containers
    Restart(stop::Restart),
    /// Remove one or more containers
    #[command(visible_alias = "remove")]
    Rm(remove::Remove),
    /// Create and run a new container from an image
    Run(run::Run),
    /// Start one or more stopped containers
    Start(start::Start),
    /// Display a live stream of container(s) resource usage statistics
    Stats(stats::Stats),
    /// Stop one or more running containers
    Stop(stop::Stop),
    /// Display the running processes of a container
    Top(top::Top),
    /// Unpause all processes within one or more containers
    Unpause(pause::Unpause),
    /// Update configuration of one or more containers
    Update(update::Update),
    /// Block until one or more containers stop, then print their exit codes
    Wait(wait::Wait),
}

impl ContainerCommand {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        match self {
            Self::Attach(c) => c.run(context).await,
            Self::Commit(c) => c.run(context).await,
            Self::Cp(c) => c.run(context).await,
            Self::Create(c) => c.run(context).await,
            Self::Diff(c) => c.run(context).await,
            Self::Exec(c) => c.run(context).await,
            Self::Export(c) => c.run(context).await,
            Self::Inspect(c) => c.run(context).await,
            Self::Kill(c) => c.run(context).await,
            Self::Logs(c) => Box::pin(c.run(context)).await,
            Self::Ls(c) => c.run(context).await,
            Self::Pause(c) => c.run(context).await,
            Self::Port(c) => c.run(context).await,
            Self::Prune(c) => c.run(context).await,
            Self::Rename(c) => c.run(context).await,
            Self::Restart(c) => c.run(context).await,
            Self::Rm(c) => c.run(context).await,
            Self::Run(c) => c.run(context).await,
            Self::Start(c) => c.run(context).await,
            Self::Stats(c) => c.run(context).await,
            Self::Stop(c) => c.run(context).await,
            Self::Top(c) => c.run(context).await,
            Self::Unpause(c) => c.run(context).await,
            Self::Update(c) => c.run(context).await,
            Self::Wait(c) => c.run(context).await,
        }
    }
}
