//! `runtime check`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::failure::Failure;
use crate::json::Fields;
use crate::render::format::{Columns, Row, Style, row};

/// Run a short self-test container on a runtime and say what works.
///
/// No image is needed. The container is the engine's own program in an empty root; it is started, entered with and
/// without a terminal, measured, limited, paused, signalled and removed. Exits with 1 if anything does not work.
#[derive(Debug, Args)]
pub struct Check {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// The runtime
    #[arg(value_name = "RUNTIME", add = ArgValueCompleter::new(names::runtimes))]
    pub runtime: String,
}

const COLUMNS: Columns = Columns {
    shown: &[("Check", "CHECK"), ("Works", "WORKS"), ("Detail", "DETAIL")],
    hidden: &[],
    quiet: "Check",
};

impl Check {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let answer = client.post(format!("/runtimes/{}/check", self.runtime)).value().await?;
        let mut works = true;
        let rows: Vec<Row> = answer
            .list("Findings")
            .iter()
            .map(|finding| {
                let one = finding.at("Works").as_bool() == Some(true);
                works &= one;
                row([
                    ("Check", finding.text("Check").into()),
                    ("Detail", finding.text("Detail").into()),
                    ("Works", if one { "yes" } else { "no" }.into()),
                ])
            })
            .collect();
        print!("{}", Style { format: self.format, quiet: false }.render(&COLUMNS, &rows)?);
        if works { Ok(()) } else { Err(Failure::silent(1).into()) }
    }
}
