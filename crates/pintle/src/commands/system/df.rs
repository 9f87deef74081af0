//! `system df`.

use clap::Args;
use serde_json::Value;

use crate::commands::{Done, container, image};
use crate::context::Context;
use crate::json::Fields;
use crate::render::format::{Columns, Row, Style, row};
use crate::render::units;

/// Show disk usage.
#[derive(Debug, Args)]
pub struct Df {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show detailed information on space usage
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

const COLUMNS: Columns = Columns {
    shown: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    hidden: &[],
    quiet: "Type",
};

const IMAGES: Columns = Columns {
    shown: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
    hidden: &[],
    quiet: "ID",
};

const CONTAINERS: Columns = Columns {
    shown: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
    hidden: &[],
    quiet: "ID",
};

const VOLUMES: Columns = Columns {
    shown: &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")],
    hidden: &[],
    quiet: "Name",
};

const CACHE: Columns = Columns {
    shown: &[
        ("ID", "CACHE ID"),
        ("Type", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
    hidden: &[],
    quiet: "ID",
};

impl Df {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let usage = client.get("/system/df").value().await?;
        if self.verbose {
            return detail(&usage);
        }
        let of = |kind: &str| usage.list(kind);
        let positive = |n: i64| n.max(0);
        let images: i64 = match usage.number("LayersSize") {
            0 => of("Images").iter().map(|i| positive(i.number("Size"))).sum(),
            n => n,
        };
        let used: i64 =
            of("Images").iter().filter(|i| i.number("Containers") > 0).map(|i| i.number("Size")).sum();
        let running = |c: &&Value| matches!(c.text("State"), "running" | "paused" | "restarting");
        let size = |v: &Value| positive(v.at("UsageData").number("Size"));
        let rows = vec![
            line(
                "Images",
                of("Images").len(),
                of("Images").iter().filter(|i| i.number("Containers") > 0).count(),
                images,
                positive(images - used),
            ),
            line(
                "Containers",
                of("Containers").len(),
                of("Containers").iter().filter(running).count(),
                of("Containers").iter().map(|c| c.number("SizeRw")).sum(),
                of("Containers").iter().filter(|c| !running(c)).map(|c| c.number("SizeRw")).sum(),
            ),
            line(
                "Local Volumes",
                of("Volumes").len(),
                of("Volumes").iter().filter(|v| v.at("UsageData").number("RefCount") > 0).count(),
                of("Volumes").iter().map(size).sum(),
                of("Volumes").iter().filter(|v| v.at("UsageData").number("RefCount") == 0).map(size).sum(),
            ),
            line("Build Cache", of("BuildCache").len(), 0, 0, 0),
        ];
        print!("{}", Style { format: self.format, quiet: false }.render(&COLUMNS, &rows)?);
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with four digits")]
fn line(kind: &str, total: usize, active: usize, size: i64, free: i64) -> Row {
    let free_text = match size {
        0 => units::size4(free as f64),
        size => format!("{} ({}%)", units::size4(free as f64), free * 100 / size),
    };
    row([
        ("Active", active.to_string().into()),
        ("Reclaimable", free_text.into()),
        ("Size", units::size4(size as f64).into()),
        ("TotalCount", total.to_string().into()),
        ("Type", kind.into()),
    ])
}

/// A container's size is here its own alone: the image has a row of its own.
fn without_image(container: &Value) -> Value {
    let mut container = container.clone();
    if let Some(fields) = container.as_object_mut() {
        fields.remove("SizeRootFs");
    }
    container
}

/// As Docker's, table by table.
fn detail(usage: &Value) -> Done {
    let of = |kind: &str| usage.list(kind).iter();
    let images: Vec<Row> = of("Images").flat_map(|image| image::list::rows(image, false)).collect();
    let containers: Vec<Row> =
        of("Containers").map(|one| container::list::cells(&without_image(one), false)).collect();
    let volumes: Vec<Row> = of("Volumes").map(volume).collect();
    let table = |title: &str, columns: &Columns, rows: &[Row]| -> Done {
        println!("{title}\n\n{}", Style::default().render(columns, rows)?);
        Ok(())
    };
    table("Images space usage:", &IMAGES, &images)?;
    table("Containers space usage:", &CONTAINERS, &containers)?;
    table("Local Volumes space usage:", &VOLUMES, &volumes)?;
    print!("Build cache usage: 0B\n\n{}", Style::default().render(&CACHE, &[])?);
    Ok(())
}

/// A volume of a plugin has no size that an engine knows.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn volume(volume: &Value) -> Row {
    let usage = volume.at("UsageData");
    let size = match usage.get("Size").and_then(Value::as_i64) {
        None | Some(..0) => "N/A".to_owned(),
        Some(size) => units::size(size as f64),
    };
    row([
        ("Links", usage.number("RefCount").max(0).to_string().into()),
        ("Name", volume.text("Name").into()),
        ("Size", size.into()),
    ])
}
