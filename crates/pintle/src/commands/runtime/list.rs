//! `runtime ls`.

use clap::Args;
use serde_json::Value;

use crate::commands::Done;
use crate::context::Context;
use crate::json::Fields;
use crate::render::format::{Columns, Row, Style, row};

/// List the runtimes that containers can name.
///
/// The default one is marked with an asterisk. The version is that of the OCI runtime specification, as far as the
/// runtime says it.
#[derive(Debug, Args)]
pub struct List {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Only display names
    #[arg(short = 'q', long)]
    pub quiet: bool,
}

const COLUMNS: Columns = Columns {
    shown: &[("Name", "NAME"), ("Kind", "KIND"), ("Path", "PATH"), ("Version", "OCI"), ("Status", "STATUS")],
    hidden: &[("Args", "ARGS"), ("Default", "DEFAULT")],
    quiet: "Name",
};

impl List {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let answer = context.client().await?.get("/runtimes").value().await?;
        let plain = self.quiet || self.format.as_deref().is_some_and(|format| !format.starts_with("table"));
        let rows: Vec<Row> = answer
            .as_array()
            .into_iter()
            .flatten()
            .map(|runtime| {
                let default = runtime.at("Default").as_bool() == Some(true);
                let mark = if default && !plain { " *" } else { "" };
                let version = runtime.at("Features").text("ociVersionMax");
                let status = match runtime.at("Available").as_bool() {
                    Some(true) => "available",
                    _ => runtime.text("Error"),
                };
                row([
                    ("Args", runtime.texts("Args").join(" ").into()),
                    ("Default", Value::from(default.to_string())),
                    ("Kind", runtime.text("Kind").into()),
                    ("Name", format!("{}{mark}", runtime.text("Name")).into()),
                    ("Path", runtime.text("Path").into()),
                    ("Status", status.into()),
                    ("Version", if version.is_empty() { "-" } else { version }.into()),
                ])
            })
            .collect();
        print!("{}", Style { format: self.format, quiet: self.quiet }.render(&COLUMNS, &rows)?);
        Ok(())
    }
}
