//! `image prune`.

use clap::Args;

use super::remove::lines;
use crate::commands::prompt::confirm;
use crate::commands::{Done, filter};
use crate::context::Context;
use crate::json::Fields;
use crate::render::units;

/// Remove unused images.
#[derive(Debug, Args)]
pub struct Prune {
    /// Remove all unused images, not just dangling ones
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short = 'f', long)]
    pub force: bool,
}

impl Prune {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let what = if self.all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        };
        let question = format!("WARNING! This will remove {what}.\nAre you sure you want to continue?");
        if !self.force && !confirm(&question) {
            anyhow::bail!("image prune has been cancelled");
        }
        let client = context.client().await?;
        let mut filters = self.filter.clone();
        filters.push(format!("dangling={}", !self.all));
        let answer =
            client.post("/images/prune").query_some("filters", filter::encode(&filters)?).value().await?;
        let gone = lines(answer.at("ImagesDeleted"));
        if !gone.is_empty() {
            println!("Deleted Images:\n{}\n", gone.to_lowercase());
        }
        #[expect(clippy::cast_precision_loss, reason = "shown with four digits")]
        let bytes = answer.number("SpaceReclaimed") as f64;
        println!("Total reclaimed space: {}", units::size4(bytes));
        Ok(())
    }
}
