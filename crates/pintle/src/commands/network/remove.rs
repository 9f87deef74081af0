//! `network rm`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::each::each;
use crate::context::Context;

/// Remove one or more networks.
#[derive(Debug, Args)]
pub struct Remove {
    /// Do not error if the network does not exist
    #[arg(short = 'f', long)]
    pub force: bool,
    /// The networks
    #[arg(required = true, add = ArgValueCompleter::new(names::networks))]
    pub networks: Vec<String>,
}

impl Remove {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        each(&self.networks, async |name| match client.delete(format!("/networks/{name}")).done().await {
            Err(error) if self.force && error.is_not_found() => Ok(String::new()),
            done => done.map(|()| name.to_owned()),
        })
        .await
    }
}
