//! `plugin ls`.

use clap::Args;
use serde_json::Value;

use crate::commands::{Done, filter};
use crate::context::Context;
use crate::json::Fields;
use crate::render::format::{Columns, Row, Style, row};
use crate::render::{table, units};

/// List plugins.
#[derive(Debug, Args)]
pub struct List {
    /// Provide filter values (e.g. "enabled=true")
    #[arg(short = 'f', long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Don't truncate output
    #[arg(long = "no-trunc")]
    pub no_trunc: bool,
    /// Only display plugin IDs
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Also show state, size, restarts and the last error, where the engine knows them
    #[arg(short = 'w', long)]
    pub wide: bool,
}

const COLUMNS: Columns = Columns {
    shown: &[("ID", "ID"), ("Name", "NAME"), ("Description", "DESCRIPTION"), ("Enabled", "ENABLED")],
    hidden: &[
        ("LastError", "LAST ERROR"),
        ("PluginReference", "PLUGIN REFERENCE"),
        ("Restarts", "RESTARTS"),
        ("Size", "SIZE"),
        ("State", "STATE"),
    ],
    quiet: "ID",
};

const WIDE: Columns = Columns {
    shown: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Enabled", "ENABLED"),
        ("State", "STATE"),
        ("Restarts", "RESTARTS"),
        ("Size", "SIZE"),
        ("LastError", "LAST ERROR"),
    ],
    hidden: &[("Description", "DESCRIPTION"), ("PluginReference", "PLUGIN REFERENCE")],
    quiet: "ID",
};

impl List {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let list =
            client.get("/plugins").query_some("filters", filter::encode(&self.filter)?).value().await?;
        let rows: Vec<Row> = list.as_array().into_iter().flatten().map(|p| cells(p, self.no_trunc)).collect();
        let configured = context.config().ok().and_then(|c| c.setting("pluginsFormat").map(str::to_owned));
        let format = self.format.clone().or_else(|| configured.filter(|_| !self.quiet && !self.wide));
        let columns = if self.wide { &WIDE } else { &COLUMNS };
        print!("{}", Style { format, quiet: self.quiet }.render(columns, &rows)?);
        Ok(())
    }
}

fn cells(plugin: &Value, whole: bool) -> Row {
    let id = plugin.text("Id");
    let cut = |text: &str, most: usize| if whole { text.to_owned() } else { table::ellipsis(text, most) };
    let description = plugin.at("Config").text("Description").replace(['\n', '\r'], "");
    let enabled = plugin.flag("Enabled");
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let size =
        plugin.get("Size").map_or_else(|| "N/A".to_owned(), |_| units::size(plugin.number("Size") as f64));
    let state = match plugin.text("State") {
        "" if enabled => "enabled",
        "" => "disabled",
        state => state,
    };
    row([
        ("Description", cut(&description, 45).into()),
        ("Enabled", enabled.into()),
        ("ID", if whole { id.to_owned() } else { id.chars().take(12).collect() }.into()),
        ("LastError", cut(&plugin.text("LastError").replace(['\n', '\r'], " "), 60).into()),
        ("Name", plugin.text("Name").into()),
        ("PluginReference", plugin.text("PluginReference").into()),
        ("Restarts", plugin.get("Restarts").map_or_else(|| "N/A".into(), |n| n.to_string().into())),
        ("Size", size.into()),
        ("State", state.into()),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The seed: `docker plugin ls --format "{{.Name}}: {{.Size}}"`.
    #[test]
    fn the_seeds_format_works_on_any_engine() {
        let style = Style { format: Some("{{.Name}}: {{.Size}}".into()), quiet: false };
        let ours = json!({"Id": "ab", "Name": "p:latest", "Enabled": true, "Size": 5_580_000, "Config": {}});
        let theirs = json!({"Id": "ab", "Name": "p:latest", "Enabled": true, "Config": {}});
        assert_eq!(style.render(&COLUMNS, &[cells(&ours, false)]).unwrap(), "p:latest: 5.58MB\n");
        assert_eq!(style.render(&COLUMNS, &[cells(&theirs, false)]).unwrap(), "p:latest: N/A\n");
    }
}
