//! `tag`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::split;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;

/// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE.
#[derive(Debug, Args)]
pub struct Tag {
    /// SOURCE_IMAGE[:TAG]
    #[arg(add = ArgValueCompleter::new(names::images))]
    pub source: String,
    /// TARGET_IMAGE[:TAG]
    pub target: String,
}

impl Tag {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let (repository, tag) = split(&self.target);
        let request = client.post(format!("/images/{}/tag", self.source));
        Ok(request.query("repo", repository).query("tag", tag).done().await?)
    }
}
