//! `logs`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::client::{ClientError, Frames, Response};
use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::container::merge::Merge;
use crate::context::Context;
use crate::json::Fields;
use crate::render::{coloured, time::moment};
use crate::terminal::session::write_frames;

/// Fetch the logs of one or more containers.
///
/// The lines of several containers come in the order of their times, each behind the name of its container. With
/// --filter and --follow, containers that match and start later join.
#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    pub which: LogOptions,
    /// Show extra details provided to logs
    #[arg(long)]
    pub details: bool,
    /// Also the containers that match, as of 'pintle ps' (e.g. "label=com.docker.compose.project=shop")
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Produce monochrome output
    #[arg(long = "no-color")]
    pub no_color: bool,
    /// The containers
    #[arg(required_unless_present = "filter", add = ArgValueCompleter::new(names::containers))]
    pub container: Vec<String>,
}

/// Which lines, and how; also for plugins.
#[derive(Debug, Clone, Args)]
pub struct LogOptions {
    /// Follow log output
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Show logs before a timestamp or relative time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all", value_name = "N")]
    pub tail: String,
    /// Show timestamps
    #[arg(short = 't', long)]
    pub timestamps: bool,
    /// Only lines that match a regular expression; the engine looks, and --tail counts these
    #[arg(long, value_name = "PATTERN")]
    pub grep: Option<String>,
}

impl LogOptions {
    /// Adds the options to a request.
    pub fn apply<'a>(
        &self,
        request: crate::client::Request<'a>,
    ) -> anyhow::Result<crate::client::Request<'a>> {
        let time =
            |text: &Option<String>| text.as_deref().map(moment).transpose().map_err(|e| anyhow::anyhow!(e));
        Ok(request
            .query("stdout", "1")
            .query("stderr", "1")
            .switch("follow", self.follow)
            .query_some("since", time(&self.since)?)
            .query_some("until", time(&self.until)?)
            .switch("timestamps", self.timestamps)
            .query_some("grep", self.grep.as_ref())
            .query("tail", &self.tail))
    }
}

impl Logs {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        if self.which.grep.is_some() && !client.is_pintle() {
            anyhow::bail!(
                "--grep needs pintle's engine, and this one is another: pipe the lines into grep(1)"
            );
        }
        let container = match self.container.as_slice() {
            [one] if self.filter.is_empty() => one,
            names => {
                let coloured = !self.no_color && coloured();
                let (which, details, filters) = (&self.which, self.details, self.filter.as_slice());
                return Merge { client, which, details, names, filters, coloured }.run().await;
            }
        };
        let document = client.get(format!("/containers/{container}/json")).value().await?;
        let request =
            client.get(format!("/containers/{}/logs", document.text("Id"))).switch("details", self.details);
        let response = self.which.apply(request)?.send().await?;
        Ok(show(response, document.at("Config").flag("Tty")).await?)
    }
}

/// Prints a log stream: raw if the process had a terminal, else framed.
pub async fn show(mut response: Response, raw: bool) -> Result<(), ClientError> {
    use std::io::Write;
    let mut frames = Frames::default();
    while let Some(chunk) = response.chunk().await? {
        if raw {
            let mut out = std::io::stdout();
            out.write_all(&chunk)?;
            out.flush()?;
        } else {
            frames.push(&chunk);
            write_frames(&mut frames)?;
        }
    }
    Ok(())
}
