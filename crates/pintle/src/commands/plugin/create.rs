//! `plugin create`.

use std::path::PathBuf;

use clap::Args;

use crate::commands::Done;
use crate::commands::container::copy::body_from;
use crate::context::Context;
use crate::workbench::package::Package;

/// Create a plugin from a rootfs and configuration.
///
/// The plugin data directory must contain config.json and a rootfs directory.
#[derive(Debug, Args)]
pub struct Create {
    /// Compress the context using gzip
    #[arg(long)]
    pub compress: bool,
    /// The plugin's name: PLUGIN[:TAG]
    pub plugin: String,
    /// The directory with config.json and rootfs
    pub dir: PathBuf,
}

impl Create {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        // Mistakes in config.json are found here, with their line, before anything is sent.
        let package = Package::open(&self.dir)?;
        create(context, package, &self.plugin).await?;
        println!("{}", self.plugin);
        Ok(())
    }
}

/// Sends a package to the engine. An engine of ours gets config.json as it was written; others get it without
/// comments, which they do not read.
pub async fn create(context: &Context, package: Package, name: &str) -> anyhow::Result<()> {
    let client = context.client().await?;
    let as_written = client.is_pintle();
    let body = body_from(move |out| package.write(as_written, out));
    client.post("/plugins/create").query("name", name).body(body, "application/x-tar").done().await?;
    Ok(())
}
