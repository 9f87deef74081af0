//! `push`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::split;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::credentials::{lookup, registry_of};
use crate::render::progress::Progress;

/// Upload an image to a registry.
#[derive(Debug, Args)]
pub struct Push {
    /// Push all tags of an image to the repository
    #[arg(short = 'a', long = "all-tags")]
    pub all_tags: bool,
    /// Suppress verbose output
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Accepted for old scripts; content trust is gone
    #[arg(long = "disable-content-trust", hide = true)]
    pub disable_content_trust: bool,
    /// NAME[:TAG]
    #[arg(add = ArgValueCompleter::new(names::images))]
    pub image: String,
}

impl Push {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let (name, tag) = split(&self.image);
        if !self.all_tags && name == self.image && !self.quiet {
            println!("Using default tag: latest");
        }
        let credentials = lookup(&context.config()?, &registry_of(&self.image)).await?;
        let client = context.client().await?;
        let request =
            client.post(format!("/images/{name}/push")).header("X-Registry-Auth", credentials.header());
        let request = if self.all_tags { request } else { request.query("tag", tag) };
        Progress::new(self.quiet).follow(request.send().await?).await?;
        if self.quiet {
            println!("{}", self.image);
        }
        Ok(())
    }
}
