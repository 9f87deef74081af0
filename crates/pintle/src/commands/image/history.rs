//! `history`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::json::Fields;
use crate::render::format::{Columns, Row, Style, row};
use crate::render::{table, time, units};

/// Show the history of an image.
#[derive(Debug, Args)]
pub struct History {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, default_value = "true", value_name = "BOOL", num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub human: String,
    /// Don't truncate output
    #[arg(long = "no-trunc")]
    pub no_trunc: bool,
    /// Only show image IDs
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// The image
    #[arg(add = ArgValueCompleter::new(names::images))]
    pub image: String,
}

const COLUMNS: Columns = Columns {
    shown: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    hidden: &[("CreatedAt", "CREATED AT")],
    quiet: "ID",
};

impl History {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let human = self.human != "false";
        let list = client.get(format!("/images/{}/history", self.image)).value().await?;
        let rows: Vec<Row> = list
            .as_array()
            .into_iter()
            .flatten()
            .map(|layer| {
                let id = layer.text("Id");
                let created = layer.number("Created");
                let at = time::rfc3339(created.saturating_mul(1_000_000_000), false);
                #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
                let size = if human {
                    units::size(layer.number("Size") as f64)
                } else {
                    layer.number("Size").to_string()
                };
                let by = layer.text("CreatedBy").replace('\t', " ");
                row([
                    ("Comment", layer.text("Comment").into()),
                    ("CreatedAt", at.clone().into()),
                    ("CreatedBy", if self.no_trunc { by } else { table::ellipsis(&by, 45) }.into()),
                    ("CreatedSince", if human { time::age(created) } else { at }.into()),
                    (
                        "ID",
                        if self.no_trunc {
                            id.to_owned()
                        } else {
                            id.trim_start_matches("sha256:").chars().take(12).collect()
                        }
                        .into(),
                    ),
                    ("Size", size.into()),
                ])
            })
            .collect();
        print!("{}", Style { format: self.format, quiet: self.quiet }.render(&COLUMNS, &rows)?);
        Ok(())
    }
}
