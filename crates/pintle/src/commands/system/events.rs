//! `events`.

use anyhow::anyhow;
use clap::Args;
use serde_json::Value;

use crate::commands::{Done, filter};
use crate::context::Context;
use crate::json::Fields;
use crate::render::time::moment;
use crate::render::{format, time};

/// Get real time events from the server.
#[derive(Debug, Args)]
pub struct Events {
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format output: 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

impl Events {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let time = |text: &Option<String>| text.as_deref().map(moment).transpose().map_err(|e| anyhow!(e));
        let client = context.client().await?;
        let response = client
            .get("/events")
            .query_some("since", time(&self.since)?)
            .query_some("until", time(&self.until)?)
            .query_some("filters", filter::encode(&self.filter)?)
            .send()
            .await?;
        let mut events = response.json_stream();
        while let Some(event) = events.next().await? {
            match self.format.as_deref() {
                Some(template) => println!("{}", format::document(template, &event)?),
                None => println!("{}", line(&event)),
            }
        }
        Ok(())
    }
}

/// `2026-01-31T12:00:00.000000000+00:00 volume create x (driver=local)`.
fn line(event: &Value) -> String {
    let nanos = event.number("timeNano");
    let stamp = time::rfc3339(nanos, true);
    let actor = event.at("Actor");
    let mut out = format!("{stamp} {} {} {}", event.text("Type"), event.text("Action"), actor.text("ID"));
    let mut attributes: Vec<String> = actor
        .at("Attributes")
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    attributes.sort();
    if !attributes.is_empty() {
        out += &format!(" ({})", attributes.join(", "));
    }
    out
}
