//! `pause` and `unpause`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::each::each;
use crate::context::Context;

/// Pause all processes within one or more containers.
#[derive(Debug, Args)]
pub struct Pause {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER", add = ArgValueCompleter::new(names::running))]
    pub containers: Vec<String>,
}

/// Unpause all processes within one or more containers.
#[derive(Debug, Args)]
pub struct Unpause {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER", add = ArgValueCompleter::new(names::containers))]
    pub containers: Vec<String>,
}

impl Pause {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        ask(context, "pause", &self.containers).await
    }
}

impl Unpause {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        ask(context, "unpause", &self.containers).await
    }
}

async fn ask(context: &Context, verb: &str, names: &[String]) -> Done {
    let client = context.client().await?;
    each(names, async |name| {
        client.post(format!("/containers/{name}/{verb}")).done().await.map(|()| name.to_owned())
    })
    .await
}
