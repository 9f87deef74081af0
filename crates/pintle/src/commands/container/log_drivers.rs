//! `log-drivers`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::Value;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::plugin::logs::ours;
use crate::context::Context;
use crate::json::Fields;
use crate::render::format::{Columns, Row, Style, row};
use crate::render::units;

/// Show how far each log driver is with each container's lines.
///
/// Lines wait on this host until a driver has them. LAG is what waits, in bytes of the container's journal; RATE is lines
/// for each second, lately; DROPPED are lines that the limit of the journal took away before they could be delivered.
#[derive(Debug, Args)]
pub struct LogDrivers {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Don't truncate output
    #[arg(long = "no-trunc")]
    pub no_trunc: bool,
    /// Only of these containers
    #[arg(add = ArgValueCompleter::new(names::containers))]
    pub container: Vec<String>,
}

const COLUMNS: Columns = Columns {
    shown: &[
        ("Name", "CONTAINER"),
        ("Driver", "DRIVER"),
        ("Destination", "DESTINATION"),
        ("State", "STATE"),
        ("Lag", "LAG"),
        ("Rate", "RATE"),
        ("Delivered", "DELIVERED"),
        ("Dropped", "DROPPED"),
        ("Errors", "ERRORS"),
        ("LastError", "LAST ERROR"),
    ],
    hidden: &[("Acknowledged", "ACKNOWLEDGED"), ("ID", "CONTAINER ID"), ("LastErrorAt", "LAST ERROR AT")],
    quiet: "ID",
};

/// The longest error that a table shows.
const LONGEST: usize = 60;

impl LogDrivers {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let mut ids = Vec::new();
        for name in &self.container {
            let document = client.get(format!("/containers/{name}/json")).value().await?;
            ids.push(document.text("Id").to_owned());
        }
        let answer = ours(client, client.get("/log-drivers").value().await)?;
        let table = self.format.as_deref().is_none_or(|format| format.starts_with("table"));
        let wanted = |stream: &&Value| ids.is_empty() || ids.iter().any(|id| id == stream.text("Container"));
        let streams = answer.as_array().into_iter().flatten().filter(wanted);
        let rows: Vec<Row> = streams.map(|stream| line(stream, table && !self.no_trunc)).collect();
        print!("{}", Style { format: self.format, quiet: false }.render(&COLUMNS, &rows)?);
        Ok(())
    }
}

fn line(stream: &Value, short: bool) -> Row {
    let cut = |text: &str, most: usize| match text.char_indices().nth(most) {
        Some((end, _)) if short => format!("{}…", text.get(..end).unwrap_or_default()),
        _ => text.to_owned(),
    };
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let id: String = stream.text("Container").chars().take(if short { 12 } else { 64 }).collect();
    let rate = stream.at("Rate").as_f64().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "sizes are shown with three digits")]
    let lag = units::size(stream.number("Lag") as f64);
    row([
        ("Acknowledged", or_dash(stream.text("Acknowledged")).into()),
        ("Delivered", stream.number("Delivered").to_string().into()),
        ("Destination", or_dash(stream.text("Destination")).into()),
        ("Driver", stream.text("Driver").into()),
        ("Dropped", stream.number("Dropped").to_string().into()),
        ("Errors", stream.number("Errors").to_string().into()),
        ("ID", id.into()),
        ("Lag", lag.into()),
        ("LastError", or_dash(&cut(stream.text("LastError"), LONGEST)).into()),
        ("LastErrorAt", or_dash(stream.text("LastErrorAt")).into()),
        ("Name", stream.text("Name").into()),
        ("Rate", format!("{rate:.0}/s").into()),
        ("State", if stream.flag("Open") { "open" } else { "waiting" }.into()),
    ])
}
