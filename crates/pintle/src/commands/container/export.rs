//! `export`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::image::save::write_out;
use crate::context::Context;

/// Export a container's filesystem as a tar archive.
#[derive(Debug, Args)]
pub struct Export {
    /// Write to a file, instead of STDOUT
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<std::path::PathBuf>,
    /// The container
    #[arg(add = ArgValueCompleter::new(names::containers))]
    pub container: String,
}

impl Export {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let response = client.get(format!("/containers/{}/export", self.container)).send().await?;
        write_out(response, self.output.as_deref()).await
    }
}
