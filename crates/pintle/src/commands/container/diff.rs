//! `diff`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::json::Fields;

/// Inspect changes to files or directories on a container's filesystem.
#[derive(Debug, Args)]
pub struct Diff {
    /// The container
    #[arg(add = ArgValueCompleter::new(names::containers))]
    pub container: String,
}

impl Diff {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let changes = client.get(format!("/containers/{}/changes", self.container)).value().await?;
        for change in changes.as_array().into_iter().flatten() {
            let kind = match change.number("Kind") {
                0 => 'C',
                1 => 'A',
                _ => 'D',
            };
            println!("{kind} {}", change.text("Path"));
        }
        Ok(())
    }
}
