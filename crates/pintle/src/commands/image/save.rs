//! `save`.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::client::Response;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;

/// Save one or more images to a tar archive (streamed to STDOUT by default).
#[derive(Debug, Args)]
pub struct Save {
    /// Write to a file, instead of STDOUT
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<std::path::PathBuf>,
    /// The images
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCompleter::new(names::images))]
    pub images: Vec<String>,
}

impl Save {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let request = self.images.iter().fold(client.get("/images/get"), |r, name| r.query("names", name));
        write_out(request.send().await?, self.output.as_deref()).await
    }
}

/// Writes an archive to a file, whole or not at all, or to standard output unless that is a terminal.
pub async fn write_out(mut response: Response, output: Option<&Path>) -> Done {
    let Some(path) = output else {
        let mut out = std::io::stdout();
        if out.is_terminal() {
            bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
        }
        while let Some(chunk) = response.chunk().await? {
            out.write_all(&chunk)?;
        }
        return Ok(out.flush()?);
    };
    let mut scratch = path.as_os_str().to_owned();
    scratch.push(format!(".{}.part", std::process::id()));
    let result = async {
        let mut file = std::fs::File::create(&scratch)?;
        while let Some(chunk) = response.chunk().await? {
            file.write_all(&chunk)?;
        }
        file.sync_all()?;
        std::fs::rename(&scratch, path)?;
        anyhow::Ok(())
    }
    .await;
    if result.is_err() {
        let _ = std::fs::remove_file(&scratch);
    }
    result.with_context(|| format!("cannot write {}", path.display()))
}
