//! `volume rm`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::each::each;
use crate::context::Context;

/// Remove one or more volumes.
#[derive(Debug, Args)]
pub struct Remove {
    /// Force the removal of one or more volumes
    #[arg(short = 'f', long)]
    pub force: bool,
    /// The volumes
    #[arg(required = true, value_name = "VOLUME", add = ArgValueCompleter::new(names::volumes))]
    pub volumes: Vec<String>,
}

impl Remove {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        each(&self.volumes, async |name| {
            client
                .delete(format!("/volumes/{name}"))
                .switch("force", self.force)
                .done()
                .await
                .map(|()| name.to_owned())
        })
        .await
    }
}
