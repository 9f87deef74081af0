//! `system df`.

use clap::Args;
use serde_json::Value;

use crate::commands::Done;
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

const DETAIL: Columns =
    Columns { shown: &[("Name", "NAME"), ("Links", "LINKS"), ("Size", "SIZE")], hidden: &[], quiet: "Name" };

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

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn detail(usage: &Value) -> Done {
    let name = |v: &Value| {
        let named = v.texts("RepoTags").into_iter().chain(v.texts("Names")).next();
        let fallback = if v.text("Name").is_empty() { v.text("Id") } else { v.text("Name") };
        named.unwrap_or_else(|| fallback.to_owned()).trim_start_matches('/').to_owned()
    };
    for (title, key) in [("Images", "Images"), ("Containers", "Containers"), ("Local Volumes", "Volumes")] {
        let rows: Vec<Row> = usage
            .list(key)
            .iter()
            .map(|entry| {
                let (links, size) = match key {
                    "Images" => (entry.number("Containers"), entry.number("Size")),
                    "Containers" => (i64::from(entry.text("State") == "running"), entry.number("SizeRw")),
                    _ => (entry.at("UsageData").number("RefCount"), entry.at("UsageData").number("Size")),
                };
                row([
                    ("Links", links.max(0).to_string().into()),
                    ("Name", name(entry).into()),
                    ("Size", units::size(size.max(0) as f64).into()),
                ])
            })
            .collect();
        println!("{title} space usage:\n\n{}", Style::default().render(&DETAIL, &rows)?);
    }
    Ok(())
}
