//! `ps`.

use clap::Args;
use serde_json::Value;

use super::ports::displayed;
use crate::commands::{Done, filter};
use crate::context::Context;
use crate::json::Fields;
use crate::render::format::{Columns, Row, Style, row};
use crate::render::{table, time, units};
use crate::template::Template;

/// List containers.
#[derive(Debug, Args)]
pub struct List {
    /// Show all containers (default shows just running)
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<i64>,
    /// Show the latest created container (includes all states)
    #[arg(short = 'l', long)]
    pub latest: bool,
    /// Don't truncate output
    #[arg(long = "no-trunc")]
    pub no_trunc: bool,
    /// Only display container IDs
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Display total file sizes
    #[arg(short = 's', long)]
    pub size: bool,
}

const COLUMNS: Columns = Columns {
    shown: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
    ],
    hidden: HIDDEN,
    quiet: "ID",
};

const SIZED: Columns = Columns {
    shown: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
        ("Size", "SIZE"),
    ],
    hidden: HIDDEN,
    quiet: "ID",
};

const HIDDEN: &[(&str, &str)] = &[
    ("CreatedAt", "CREATED AT"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
    ("Size", "SIZE"),
    ("State", "STATE"),
];

impl List {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let configured = context.config().ok().and_then(|c| c.setting("psFormat").map(str::to_owned));
        let format = self.format.clone().or_else(|| configured.filter(|_| !self.quiet));
        // The size is costly for the engine: ask only if it will be shown.
        let mentions = format.as_deref().is_some_and(|f| {
            f == "json" && self.size
                || f.contains("{{json .}}")
                || Template::parse(f).is_ok_and(|t| t.mentions("Size"))
        });
        let client = context.client().await?;
        let limit = if self.latest { Some(1) } else { self.last };
        let list = client
            .get("/containers/json")
            .switch("all", self.all || limit.is_some())
            .query_some("limit", limit)
            .switch("size", self.size || mentions)
            .query_some("filters", filter::encode(&self.filter)?)
            .value()
            .await?;
        let rows: Vec<Row> =
            list.as_array().into_iter().flatten().map(|container| cells(container, self.no_trunc)).collect();
        let columns = if self.size { &SIZED } else { &COLUMNS };
        print!("{}", Style { format, quiet: self.quiet }.render(columns, &rows)?);
        Ok(())
    }
}

/// One container's row.
pub fn cells(container: &Value, whole: bool) -> Row {
    let id = container.text("Id");
    let cut = |text: &str, most: usize| if whole { text.to_owned() } else { table::ellipsis(text, most) };
    let image = match container.text("Image") {
        "" => "<no image>".to_owned(),
        image if whole => image.to_owned(),
        image => image
            .strip_prefix("sha256:")
            .map_or_else(|| image.to_owned(), |hex| hex.chars().take(12).collect()),
    };
    let names: Vec<String> = container
        .texts("Names")
        .iter()
        .map(|name| name.trim_start_matches('/').to_owned())
        .filter(|name| whole || !name.contains('/'))
        .collect();
    let mounts: Vec<String> = container
        .list("Mounts")
        .iter()
        .map(|m| if m.text("Name").is_empty() { m.text("Source") } else { m.text("Name") })
        .map(|name| cut(name, 15))
        .collect();
    let volumes = container.list("Mounts").iter().filter(|m| m.text("Driver") == "local").count();
    let networks: Vec<&str> = container
        .at("NetworkSettings")
        .at("Networks")
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    row([
        ("Command", format!("{:?}", cut(container.text("Command"), 20)).into()),
        ("CreatedAt", time::stamp(container.number("Created")).into()),
        ("ID", if whole { id.to_owned() } else { id.chars().take(12).collect() }.into()),
        ("Image", image.into()),
        ("Labels", container.pairs("Labels").into()),
        ("LocalVolumes", volumes.to_string().into()),
        ("Mounts", mounts.join(",").into()),
        ("Names", names.join(",").into()),
        ("Networks", networks.join(",").into()),
        ("Ports", displayed(container.list("Ports")).into()),
        ("RunningFor", time::age(container.number("Created")).into()),
        ("Size", size(container).into()),
        ("State", container.text("State").into()),
        ("Status", container.text("Status").into()),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn size(container: &Value) -> String {
    let own = units::size(container.number("SizeRw") as f64);
    match container.number("SizeRootFs") {
        0 => own,
        all => format!("{own} (virtual {})", units::size(all as f64)),
    }
}
