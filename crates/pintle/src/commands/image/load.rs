//! `load`.

use std::io::IsTerminal;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::commands::Done;
use crate::commands::container::copy::body_from;
use crate::context::Context;
use crate::render::progress::Progress;

/// Load an image from a tar archive or STDIN.
#[derive(Debug, Args)]
pub struct Load {
    /// Read from tar archive file, instead of STDIN
    #[arg(short = 'i', long, value_name = "FILE")]
    pub input: Option<std::path::PathBuf>,
    /// Suppress the load output
    #[arg(short = 'q', long)]
    pub quiet: bool,
}

impl Load {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let body = match &self.input {
            Some(path) => {
                let mut file =
                    std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                body_from(move |out| std::io::copy(&mut file, out).map(|_| ()))
            }
            None if std::io::stdin().is_terminal() => {
                bail!("requested load from stdin, but stdin is empty; give an archive with -i")
            }
            None => body_from(|out| std::io::copy(&mut std::io::stdin().lock(), out).map(|_| ())),
        };
        let client = context.client().await?;
        let response = client
            .post("/images/load")
            .switch("quiet", self.quiet)
            .body(body, "application/x-tar")
            .send()
            .await?;
        // What was loaded is said even if the progress is not wanted.
        Progress::lines(self.quiet).follow(response).await?;
        Ok(())
    }
}
