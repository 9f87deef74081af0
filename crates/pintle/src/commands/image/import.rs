//! `import`.

use anyhow::Context as _;
use clap::Args;

use super::split;
use crate::commands::Done;
use crate::commands::container::copy::body_from;
use crate::context::Context;
use crate::render::progress::Progress;

/// Import the contents from a tarball to create a filesystem image.
#[derive(Debug, Args)]
pub struct Import {
    /// Apply Dockerfile instruction to the created image
    #[arg(short = 'c', long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short = 'm', long, default_value = "", value_name = "TEXT")]
    pub message: String,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// A file, a URL that the engine fetches, or '-' for standard input
    #[arg(value_name = "file|URL|-")]
    pub source: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}

impl Import {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let remote = self.source.starts_with("http://") || self.source.starts_with("https://");
        let mut request =
            client.post("/images/create").query("fromSrc", if remote { &self.source } else { "-" });
        if let Some(reference) = &self.reference {
            let (repository, tag) = split(reference);
            request = request.query("repo", repository).query("tag", tag);
        }
        for change in &self.change {
            request = request.query("changes", change);
        }
        request = request.query("message", &self.message).query_some("platform", self.platform.as_deref());
        if self.source == "-" {
            let body = body_from(|out| std::io::copy(&mut std::io::stdin().lock(), out).map(|_| ()));
            request = request.body(body, "application/x-tar");
        } else if !remote {
            let mut file =
                std::fs::File::open(&self.source).with_context(|| format!("cannot open {}", self.source))?;
            request = request
                .body(body_from(move |out| std::io::copy(&mut file, out).map(|_| ())), "application/x-tar");
        }
        Progress::new(false).follow(request.send().await?).await?;
        Ok(())
    }
}
