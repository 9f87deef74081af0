//! `system prune`.

use clap::Args;

use crate::commands::prompt::confirm;
use crate::commands::{Done, container, image, network, volume};
use crate::context::Context;

/// Remove unused data.
#[derive(Debug, Args)]
pub struct Prune {
    /// Remove all unused images not just dangling ones
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Provide filter values (e.g. "label=<key>=<value>")
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short = 'f', long)]
    pub force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    pub volumes: bool,
}

impl Prune {
    /// Runs it: containers first, since they hold the rest.
    pub async fn run(self, context: &Context) -> Done {
        let mut what = vec!["all stopped containers", "all networks not used by at least one container"];
        if self.volumes {
            what.push("all anonymous volumes not used by at least one container");
        }
        what.push(if self.all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        });
        let question = format!(
            "WARNING! This will remove:\n  - {}\n\nAre you sure you want to continue?",
            what.join("\n  - ")
        );
        if !self.force && !confirm(&question) {
            anyhow::bail!("system prune has been cancelled");
        }
        container::prune::Prune { filter: self.filter.clone(), force: true }.run(context).await?;
        network::prune::Prune { filter: self.filter.clone(), force: true }.run(context).await?;
        if self.volumes {
            volume::prune::Prune { all: false, filter: self.filter.clone(), force: true }
                .run(context)
                .await?;
        }
        image::prune::Prune { all: self.all, filter: self.filter, force: true }.run(context).await
    }
}
