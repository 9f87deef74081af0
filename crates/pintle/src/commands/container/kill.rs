//! `kill`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::each::each;
use crate::context::Context;

/// Kill one or more running containers.
#[derive(Debug, Args)]
pub struct Kill {
    /// Signal to send to the container
    #[arg(short = 's', long, default_value = "KILL", value_name = "SIGNAL")]
    pub signal: String,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER", add = ArgValueCompleter::new(names::running))]
    pub containers: Vec<String>,
}

impl Kill {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        each(&self.containers, async |name| {
            client
                .post(format!("/containers/{name}/kill"))
                .query("signal", &self.signal)
                .done()
                .await
                .map(|()| name.to_owned())
        })
        .await
    }
}
