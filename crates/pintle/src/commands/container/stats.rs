//! `stats`.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use futures_util::future::join_all;
use serde_json::Value;

use crate::client::{Client, ClientError};
use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::json::Fields;
use crate::render::format::{Columns, Row, Style, row};
use crate::render::units;

/// Display a live stream of container(s) resource usage statistics.
#[derive(Debug, Args)]
pub struct Stats {
    /// Show all containers (default shows just running)
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long = "no-stream")]
    pub no_stream: bool,
    /// Do not truncate output
    #[arg(long = "no-trunc")]
    pub no_trunc: bool,
    /// The containers; all that run if none is given
    #[arg(value_name = "CONTAINER", add = ArgValueCompleter::new(names::running))]
    pub containers: Vec<String>,
}

/// Columns of `stats`.
pub const COLUMNS: Columns = Columns {
    shown: &[
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    hidden: &[("Container", "CONTAINER")],
    quiet: "ID",
};

impl Stats {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let style = Style { format: self.format.clone(), quiet: false };
        let live = !self.no_stream && std::io::stdout().is_terminal();
        loop {
            let wanted = if self.containers.is_empty() {
                running(client, self.all).await?
            } else {
                self.containers.clone()
            };
            let samples =
                join_all(wanted.iter().map(|name| sample(client, format!("/containers/{name}/stats")))).await;
            let mut rows = BTreeMap::new();
            for (at, (name, sample)) in wanted.iter().zip(samples).enumerate() {
                match sample {
                    Ok(sample) => {
                        rows.insert(at, cells(name, &sample, self.no_trunc));
                    }
                    // Named by the user, it must exist; one of all may have gone.
                    Err(error) if !self.containers.is_empty() => return Err(error.into()),
                    Err(_) => {}
                }
            }
            let rows: Vec<Row> = rows.into_values().collect();
            let text = style.render(&COLUMNS, &rows)?;
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

async fn running(client: &Client, all: bool) -> Result<Vec<String>, ClientError> {
    let list = client.get("/containers/json").switch("all", all).value().await?;
    Ok(list.as_array().into_iter().flatten().map(|c| c.text("Id").to_owned()).collect())
}

/// One sample with its predecessor in `precpu_stats`: the engine waits for two, so this takes about a second.
pub async fn sample(client: &Client, path: String) -> Result<Value, ClientError> {
    client.get(path).query("stream", "0").value().await
}

/// A row of `stats`.
pub fn cells(name: &str, sample: &Value, whole: bool) -> Row {
    let full = match sample.text("id") {
        "" => name,
        id => id,
    };
    let memory = sample.at("memory_stats");
    let cache = match memory.at("stats").number("total_inactive_file") {
        0 => memory.at("stats").number("inactive_file"),
        v1 => v1,
    };
    let used = (memory.number("usage") - cache).max(0);
    let limit = memory.number("limit");
    #[expect(clippy::cast_precision_loss, reason = "shown with four digits")]
    let (used, limit) = (used as f64, limit as f64);
    let percent = if limit > 0.0 { used / limit * 100.0 } else { 0.0 };
    let (received, sent) = network(sample);
    let (read, written) = block(sample);
    row([
        ("BlockIO", format!("{} / {}", units::size(read), units::size(written)).into()),
        ("CPUPerc", format!("{:.2}%", cpu(sample)).into()),
        ("Container", name.into()),
        ("ID", if whole { full.to_owned() } else { full.chars().take(12).collect() }.into()),
        ("MemPerc", format!("{percent:.2}%").into()),
        ("MemUsage", format!("{} / {}", units::memory(used), units::memory(limit)).into()),
        ("Name", sample.text("name").trim_start_matches('/').into()),
        ("NetIO", format!("{} / {}", units::size(received), units::size(sent)).into()),
        ("PIDs", sample.at("pids_stats").number("current").to_string().into()),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "a percentage with two decimals")]
fn cpu(sample: &Value) -> f64 {
    let (now, before) = (sample.at("cpu_stats"), sample.at("precpu_stats"));
    let used = now.at("cpu_usage").number("total_usage") - before.at("cpu_usage").number("total_usage");
    let system = now.number("system_cpu_usage") - before.number("system_cpu_usage");
    let cpus = match now.number("online_cpus") {
        0 => now.at("cpu_usage").list("percpu_usage").len() as f64,
        n => n as f64,
    };
    if used > 0 && system > 0 { used as f64 / system as f64 * cpus * 100.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn network(sample: &Value) -> (f64, f64) {
    let sum = |key: &str| -> i64 {
        sample.at("networks").as_object().into_iter().flatten().map(|(_, n)| n.number(key)).sum()
    };
    (sum("rx_bytes") as f64, sum("tx_bytes") as f64)
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn block(sample: &Value) -> (f64, f64) {
    let sum = |op: &str| -> i64 {
        sample
            .at("blkio_stats")
            .list("io_service_bytes_recursive")
            .iter()
            .filter(|e| e.text("op").eq_ignore_ascii_case(op))
            .map(|e| e.number("value"))
            .sum()
    };
    (sum("read") as f64, sum("write") as f64)
}
