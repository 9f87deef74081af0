//! Image commands.

mod bases;
pub mod build;
pub mod history;
pub mod import;
pub mod list;
pub mod load;
pub mod prune;
pub mod pull;
pub mod push;
pub mod remove;
pub mod save;
pub mod tag;

use clap::Subcommand;

use super::{Done, inspect};
use crate::context::Context;

/// `pintle image …`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build an image from a Dockerfile
    Build(Box<build::Build>),
    /// Show the history of an image
    History(history::History),
    /// Import the contents from a tarball to create a filesystem image
    Import(import::Import),
    /// Display detailed information on one or more images
    Inspect(inspect::InspectImage),
    /// Load an image from a tar archive or STDIN
    Load(load::Load),
    /// List images
    #[command(visible_alias = "list")]
    Ls(list::List),
    /// Remove unused images
    Prune(prune::Prune),
    /// Download an image from a registry
    Pull(pull::Pull),
    /// Upload an image to a registry
    Push(push::Push),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(remove::Remove),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(save::Save),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(tag::Tag),
}

impl ImageCommand {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        match self {
            Self::Build(c) => Box::pin(c.run(context)).await,
            Self::History(c) => c.run(context).await,
            Self::Import(c) => c.run(context).await,
            Self::Inspect(c) => c.run(context).await,
            Self::Load(c) => c.run(context).await,
            Self::Ls(c) => c.run(context).await,
            Self::Prune(c) => c.run(context).await,
            Self::Pull(c) => c.run(context).await,
            Self::Push(c) => c.run(context).await,
            Self::Rm(c) => c.run(context).await,
            Self::Save(c) => c.run(context).await,
            Self::Tag(c) => c.run(context).await,
        }
    }
}

/// Repository and tag (or digest) of a reference; the tag is `latest` if it names none.
pub fn split(reference: &str) -> (String, String) {
    if let Some((name, digest)) = reference.split_once('@') {
        let name = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => name,
        };
        return (name.to_owned(), digest.to_owned());
    }
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name.to_owned(), tag.to_owned()),
        _ => (reference.to_owned(), "latest".to_owned()),
    }
}

/// The reference with its tag spelt out.
pub fn familiar_with_tag(reference: &str) -> String {
    let (name, tag) = split(reference);
    let separator = if tag.contains(':') { '@' } else { ':' };
    format!("{name}{separator}{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        for (reference, full) in [
            ("alpine", "alpine:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("localhost:5000/x:1", "localhost:5000/x:1"),
            ("a/b:1@sha256:00", "a/b@sha256:00"),
        ] {
            assert_eq!(familiar_with_tag(reference), full);
        }
    }
}
