//! `commit`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::Value;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::image::split;
use crate::context::Context;
use crate::json::Fields;

/// Create a new image from a container's changes.
#[derive(Debug, Args)]
pub struct Commit {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short = 'a', long, default_value = "", value_name = "TEXT")]
    pub author: String,
    /// Apply Dockerfile instruction to the created image
    #[arg(short = 'c', long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Commit message
    #[arg(short = 'm', long, default_value = "", value_name = "TEXT")]
    pub message: String,
    /// Pause container during commit
    #[arg(short = 'p', long, default_value = "true", action = clap::ArgAction::Set, value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true")]
    pub pause: bool,
    /// The container
    #[arg(add = ArgValueCompleter::new(names::containers))]
    pub container: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}

impl Commit {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let mut request = client
            .post("/commit")
            .query("container", &self.container)
            .query("author", &self.author)
            .query("comment", &self.message)
            .query("pause", if self.pause { "1" } else { "0" });
        if let Some(reference) = &self.reference {
            let (repository, tag) = split(reference);
            request = request.query("repo", repository).query("tag", tag);
        }
        for change in &self.change {
            request = request.query("changes", change);
        }
        let made: Value = request.json(&Value::Null).value().await?;
        println!("{}", made.text("Id"));
        Ok(())
    }
}
