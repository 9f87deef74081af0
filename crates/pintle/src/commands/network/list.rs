//! `network ls`.

use clap::Args;

use crate::commands::{Done, filter};
use crate::context::Context;
use crate::json::Fields;
use crate::render::format::{Columns, Row, Style, row};
use crate::render::order::natural;

/// List networks.
#[derive(Debug, Args)]
pub struct List {
    /// Provide filter values (e.g. "driver=bridge")
    #[arg(short = 'f', long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Do not truncate the output
    #[arg(long = "no-trunc")]
    pub no_trunc: bool,
    /// Only display network IDs
    #[arg(short = 'q', long)]
    pub quiet: bool,
}

const COLUMNS: Columns = Columns {
    shown: &[("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("Scope", "SCOPE")],
    hidden: &[
        ("CreatedAt", "CREATED AT"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
    ],
    quiet: "ID",
};

impl List {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let answer =
            client.get("/networks").query_some("filters", filter::encode(&self.filter)?).value().await?;
        let mut networks: Vec<_> = answer.as_array().into_iter().flatten().collect();
        networks.sort_by_cached_key(|network| natural(network.text("Name")));
        let rows: Vec<Row> = networks
            .into_iter()
            .map(|network| {
                let id = network.text("Id");
                let id = if self.no_trunc { id } else { id.get(..12).unwrap_or(id) };
                row([
                    ("CreatedAt", network.text("Created").into()),
                    ("Driver", network.text("Driver").into()),
                    ("ID", id.into()),
                    ("IPv4", network.flag("EnableIPv4").to_string().into()),
                    ("IPv6", network.flag("EnableIPv6").to_string().into()),
                    ("Internal", network.flag("Internal").to_string().into()),
                    ("Labels", network.pairs("Labels").into()),
                    ("Name", network.text("Name").into()),
                    ("Scope", network.text("Scope").into()),
                ])
            })
            .collect();
        print!("{}", Style { format: self.format, quiet: self.quiet }.render(&COLUMNS, &rows)?);
        Ok(())
    }
}
