//! `network prune`.

use clap::Args;

use crate::commands::prompt::confirm;
use crate::commands::{Done, filter};
use crate::context::Context;
use crate::json::Fields;

/// Remove all unused networks.
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
        let question = "WARNING! This will remove all custom networks not used by at least one container.\nAre you \
                        sure you want to continue?";
        if !self.force && !confirm(question) {
            anyhow::bail!("network prune has been cancelled");
        }
        let client = context.client().await?;
        let answer = client
            .post("/networks/prune")
            .query_some("filters", filter::encode(&self.filter)?)
            .value()
            .await?;
        let gone = answer.texts("NetworksDeleted");
        if !gone.is_empty() {
            println!("Deleted Networks:\n{}\n", gone.join("\n"));
        }
        Ok(())
    }
}
