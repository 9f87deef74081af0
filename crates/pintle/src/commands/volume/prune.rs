//! `volume prune`.

use clap::Args;

use crate::commands::prompt::confirm;
use crate::commands::{Done, filter};
use crate::context::Context;
use crate::json::Fields;
use crate::render::units;

/// Remove unused local volumes.
#[derive(Debug, Args)]
pub struct Prune {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Provide filter values (e.g. "label=<label>")
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short = 'f', long)]
    pub force: bool,
}

impl Prune {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let what = if self.all { "all local volumes" } else { "anonymous local volumes" };
        let question = format!(
            "WARNING! This will remove {what} not used by at least one container.\nAre you sure you want to continue?"
        );
        if !self.force && !confirm(&question) {
            anyhow::bail!("volume prune has been cancelled");
        }
        let client = context.client().await?;
        let mut filters = self.filter.clone();
        if self.all {
            filters.push("all=true".to_owned());
        }
        let answer =
            client.post("/volumes/prune").query_some("filters", filter::encode(&filters)?).value().await?;
        let gone = answer.texts("VolumesDeleted");
        if !gone.is_empty() {
            println!("Deleted Volumes:\n{}\n", gone.join("\n"));
        }
        #[expect(clippy::cast_precision_loss, reason = "shown with four digits")]
        let bytes = answer.number("SpaceReclaimed") as f64;
        println!("Total reclaimed space: {}", units::size4(bytes));
        Ok(())
    }
}
