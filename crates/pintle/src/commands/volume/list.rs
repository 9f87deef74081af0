//! `volume ls`.

use clap::Args;

use crate::commands::{Done, filter};
use crate::context::Context;
use crate::json::Fields;
use crate::render::format::{Columns, Row, Style, row};
use crate::render::units;

/// List volumes.
#[derive(Debug, Args)]
pub struct List {
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short = 'f', long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Only display volume names
    #[arg(short = 'q', long)]
    pub quiet: bool,
}

const COLUMNS: Columns = Columns {
    shown: &[("Driver", "DRIVER"), ("Name", "VOLUME NAME")],
    hidden: &[
        ("Availability", "AVAILABILITY"),
        ("Group", "GROUP"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Scope", "SCOPE"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
    quiet: "Name",
};

impl List {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let answer =
            client.get("/volumes").query_some("filters", filter::encode(&self.filter)?).value().await?;
        for warning in answer.texts("Warnings") {
            eprintln!("WARNING: {warning}");
        }
        let mut volumes: Vec<_> = answer.list("Volumes").iter().collect();
        volumes.sort_by(|a, b| a.text("Name").cmp(b.text("Name")));
        let rows: Vec<Row> = volumes
            .into_iter()
            .map(|volume| {
                let usage = volume.at("UsageData");
                let known = !usage.is_null();
                #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
                let size = if known { units::size(usage.number("Size") as f64) } else { "N/A".to_owned() };
                let links = if known { usage.number("RefCount").to_string() } else { "N/A".to_owned() };
                row([
                    ("Availability", "N/A".into()),
                    ("Driver", volume.text("Driver").into()),
                    ("Group", "N/A".into()),
                    ("Labels", volume.pairs("Labels").into()),
                    ("Links", links.into()),
                    ("Mountpoint", volume.text("Mountpoint").into()),
                    ("Name", volume.text("Name").into()),
                    ("Scope", volume.text("Scope").into()),
                    ("Size", size.into()),
                    ("Status", "N/A".into()),
                ])
            })
            .collect();
        print!("{}", Style { format: self.format, quiet: self.quiet }.render(&COLUMNS, &rows)?);
        Ok(())
    }
}
