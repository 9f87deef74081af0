//! `top`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::Value;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::json::Fields;
use crate::render::table;

/// Display the running processes of a container.
#[derive(Debug, Args)]
pub struct Top {
    /// The container
    #[arg(add = ArgValueCompleter::new(names::running))]
    pub container: String,
    /// Options for ps
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    pub ps_args: Vec<String>,
}

impl Top {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let args = self.ps_args.join(" ");
        let request = client.get(format!("/containers/{}/top", self.container));
        let request = if args.is_empty() { request } else { request.query("ps_args", args) };
        print!("{}", processes(&request.value().await?));
        Ok(())
    }
}

/// The engine's process list as a table.
pub fn processes(document: &Value) -> String {
    let mut rows = vec![document.texts("Titles").join("\t")];
    rows.extend(document.list("Processes").iter().map(|process| {
        let cells: Vec<&str> = process.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        cells.join("\t")
    }));
    // As wide as Docker makes these.
    table::align_at_least(&rows, 20)
}
