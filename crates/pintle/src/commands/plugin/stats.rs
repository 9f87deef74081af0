//! `plugin stats`.

use std::io::{IsTerminal, Write};

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use futures_util::future::join_all;

use super::logs::ours;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::container::stats::{COLUMNS, cells, sample};
use crate::context::Context;
use crate::json::Fields;
use crate::render::format::Style;

/// Display resource usage statistics of plugins.
#[derive(Debug, Args)]
pub struct Stats {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long = "no-stream")]
    pub no_stream: bool,
    /// Do not truncate output
    #[arg(long = "no-trunc")]
    pub no_trunc: bool,
    /// The plugins; all that are enabled if none is given
    #[arg(value_name = "PLUGIN", add = ArgValueCompleter::new(names::enabled_plugins))]
    pub plugins: Vec<String>,
}

impl Stats {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let style = Style { format: self.format.clone(), quiet: false };
        let live = !self.no_stream && std::io::stdout().is_terminal();
        loop {
            let wanted: Vec<String> = if self.plugins.is_empty() {
                let list = client.get("/plugins").value().await?;
                let enabled = list.as_array().into_iter().flatten().filter(|p| p.flag("Enabled"));
                enabled.map(|p| p.text("Name").to_owned()).collect()
            } else {
                self.plugins.clone()
            };
            let samples =
                join_all(wanted.iter().map(|name| sample(client, format!("/plugins/{name}/stats")))).await;
            let mut rows = Vec::new();
            for (name, sample) in wanted.iter().zip(samples) {
                let mut row = cells(name, &ours(client, sample)?, self.no_trunc);
                row.insert("Name".to_owned(), name.as_str().into());
                rows.push(row);
            }
            let text = style.render(&COLUMNS, &rows)?.replace("CONTAINER ID", "PLUGIN ID   ");
            if live {
                print!("\x1b[2J\x1b[H");
            }
            print!("{text}");
            std::io::stdout().flush()?;
            if self.no_stream {
                return Ok(());
            }
        }
    }
}
