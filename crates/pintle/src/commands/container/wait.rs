//! `wait`, and the wait inside `run`, `start -a` and `attach`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::client::{Client, ClientError, Response};
use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::each::each;
use crate::context::Context;
use crate::json::Fields;

/// Block until one or more containers stop, then print their exit codes.
#[derive(Debug, Args)]
pub struct Wait {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER", add = ArgValueCompleter::new(names::running))]
    pub containers: Vec<String>,
}

impl Wait {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        each(&self.containers, async |name| {
            let response = ask(client, name, "not-running").await?;
            answer(response).await.map(|code| code.to_string())
        })
        .await
    }
}

/// Asks for the exit code; the engine has registered the question when this returns.
pub async fn ask(client: &Client, id: &str, condition: &str) -> Result<Response, ClientError> {
    client.post(format!("/containers/{id}/wait")).query("condition", condition).send().await
}

/// The exit code.
pub async fn answer(response: Response) -> Result<i64, ClientError> {
    let value = response.value().await?;
    let error = value.at("Error").text("Message");
    if !error.is_empty() {
        return Err(ClientError::InStream(error.to_owned()));
    }
    Ok(value.number("StatusCode"))
}
