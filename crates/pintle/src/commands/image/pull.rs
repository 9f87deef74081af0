//! `pull`.

use anyhow::Result;
use clap::Args;

use super::{familiar_with_tag, split};
use crate::commands::Done;
use crate::context::Context;
use crate::credentials::{lookup, registry_of};
use crate::render::progress::Progress;

/// Download an image from a registry.
#[derive(Debug, Args)]
pub struct Pull {
    /// Download all tagged images in the repository
    #[arg(short = 'a', long = "all-tags")]
    pub all_tags: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, env = "DOCKER_DEFAULT_PLATFORM", value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Suppress verbose output
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Accepted for old scripts; content trust is gone
    #[arg(long = "disable-content-trust", hide = true)]
    pub disable_content_trust: bool,
    /// NAME[:TAG|@DIGEST]
    pub image: String,
}

impl Pull {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let (name, _) = split(&self.image);
        let tagged = name.len() != self.image.len();
        if self.all_tags && tagged {
            anyhow::bail!("tag can't be used with --all-tags/-a");
        }
        if !tagged && !self.all_tags && !self.quiet {
            println!("Using default tag: latest");
        }
        let name = if self.all_tags { format!("{name}\0") } else { self.image.clone() };
        pull(context, &name, self.platform.as_deref(), self.quiet, false).await?;
        println!("{}", canonical(&self.image));
        Ok(())
    }
}

/// Pulls `reference`; with a trailing NUL, every tag of it.
pub async fn pull(
    context: &Context,
    reference: &str,
    platform: Option<&str>,
    quiet: bool,
    to_stderr: bool,
) -> Result<()> {
    // For `run`, standard output belongs to the container: progress would be in its way.
    let quiet = quiet || to_stderr;
    let credentials = lookup(&context.config()?, &registry_of(reference)).await?;
    let client = context.client().await?;
    let request = client.post("/images/create");
    let request = match reference.strip_suffix('\0') {
        Some(repository) => request.query("fromImage", repository),
        None => {
            let (name, tag) = split(reference);
            request.query("fromImage", name).query("tag", tag)
        }
    };
    let response = request
        .query_some("platform", platform)
        .header("X-Registry-Auth", credentials.header())
        .send()
        .await?;
    Progress::new(quiet).follow(response).await?;
    Ok(())
}

/// The full name, as Docker prints it after a pull.
fn canonical(reference: &str) -> String {
    let full = familiar_with_tag(reference);
    let registry = registry_of(&full);
    if full.starts_with(&format!("{registry}/")) {
        full
    } else if full.contains('/') {
        format!("{registry}/{full}")
    } else {
        format!("{registry}/library/{full}")
    }
}
