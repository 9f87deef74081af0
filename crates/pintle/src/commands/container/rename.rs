//! `rename`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;

/// Rename a container.
#[derive(Debug, Args)]
pub struct Rename {
    /// The container
    #[arg(add = ArgValueCompleter::new(names::containers))]
    pub container: String,
    /// Its new name
    pub new_name: String,
}

impl Rename {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let path = format!("/containers/{}/rename", self.container);
        Ok(client.post(path).query("name", self.new_name).done().await?)
    }
}
