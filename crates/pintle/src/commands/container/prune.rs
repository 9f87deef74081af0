//! `container prune`.

use clap::Args;

use crate::commands::prompt::confirm;
use crate::commands::{Done, filter};
use crate::context::Context;
use crate::json::Fields;
use crate::render::units;

/// Remove all stopped containers.
#[derive(Debug, Args)]
pub struct Prune {
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
        if !self.force
            && !confirm(
                "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?",
            )
        {
            anyhow::bail!("container prune has been cancelled");
        }
        let client = context.client().await?;
        let filters = filter::encode(&self.filter)?;
        let answer = client.post("/containers/prune").query_some("filters", filters).value().await?;
        let gone = answer.texts("ContainersDeleted");
        if !gone.is_empty() {
            println!("Deleted Containers:\n{}\n", gone.join("\n"));
        }
        #[expect(clippy::cast_precision_loss, reason = "shown with four digits")]
        let bytes = answer.number("SpaceReclaimed") as f64;
        println!("Total reclaimed space: {}", units::size4(bytes));
        Ok(())
    }
}
