//! `plugin logs`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::client::ClientError;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::container::logs::{LogOptions, show};
use crate::context::Context;

/// Fetch the logs of a plugin.
#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    pub which: LogOptions,
    /// The plugin
    #[arg(add = ArgValueCompleter::new(names::plugins))]
    pub plugin: String,
}

impl Logs {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let request = client.get(format!("/plugins/{}/logs", self.plugin));
        let response = ours(client, self.which.apply(request)?.send().await)?;
        Ok(show(response, false).await?)
    }
}

/// Explains a refusal by an engine that has no such request.
pub fn ours<T>(client: &crate::client::Client, result: Result<T, ClientError>) -> anyhow::Result<T> {
    result.map_err(|error| {
        if client.is_pintle() {
            return error.into();
        }
        anyhow::anyhow!(
            "the engine at {} is not pintle's and cannot answer this ({error}); dockerd writes plugin output to its own log: journalctl -u docker",
            client.endpoint()
        )
    })
}
