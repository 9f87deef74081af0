//! `rmi`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::each::each;
use crate::context::Context;
use crate::json::Fields;

/// Remove one or more images.
#[derive(Debug, Args)]
pub struct Remove {
    /// Force removal of the image
    #[arg(short = 'f', long)]
    pub force: bool,
    /// Do not delete untagged parents
    #[arg(long = "no-prune")]
    pub no_prune: bool,
    /// The images
    #[arg(required = true, value_name = "IMAGE", add = ArgValueCompleter::new(names::images))]
    pub images: Vec<String>,
}

impl Remove {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        each(&self.images, async |name| {
            let result = client
                .delete(format!("/images/{name}"))
                .switch("force", self.force)
                .switch("noprune", self.no_prune)
                .value()
                .await;
            match result {
                Err(error) if self.force && error.is_not_found() => {
                    eprintln!("{error}");
                    Ok(String::new())
                }
                other => other.map(|removed| lines(&removed)),
            }
        })
        .await
    }
}

/// `Untagged: …` and `Deleted: …`.
pub fn lines(removed: &serde_json::Value) -> String {
    let lines: Vec<String> = removed
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| match entry.text("Deleted") {
            "" => format!("Untagged: {}", entry.text("Untagged")),
            id => format!("Deleted: {id}"),
        })
        .collect();
    lines.join("\n")
}
