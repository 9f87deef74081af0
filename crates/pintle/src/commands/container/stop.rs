//! `stop` and `restart`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::each::each;
use crate::context::Context;

/// Stop one or more running containers.
#[derive(Debug, Args)]
pub struct Stop {
    /// Signal to send to the container
    #[arg(short = 's', long, value_name = "SIGNAL")]
    pub signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short = 't', long, alias = "time", value_name = "SECONDS", allow_hyphen_values = true)]
    pub timeout: Option<i64>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER", add = ArgValueCompleter::new(names::running))]
    pub containers: Vec<String>,
}

/// Restart one or more containers.
#[derive(Debug, Args)]
pub struct Restart {
    /// Signal to send to the container
    #[arg(short = 's', long, value_name = "SIGNAL")]
    pub signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short = 't', long, alias = "time", value_name = "SECONDS", allow_hyphen_values = true)]
    pub timeout: Option<i64>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER", add = ArgValueCompleter::new(names::containers))]
    pub containers: Vec<String>,
}

impl Stop {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        ask(context, "stop", &self.containers, self.signal.as_deref(), self.timeout).await
    }
}

impl Restart {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        ask(context, "restart", &self.containers, self.signal.as_deref(), self.timeout).await
    }
}

async fn ask(
    context: &Context,
    verb: &str,
    names: &[String],
    signal: Option<&str>,
    timeout: Option<i64>,
) -> Done {
    let client = context.client().await?;
    each(names, async |name| {
        client
            .post(format!("/containers/{name}/{verb}"))
            .query_some("signal", signal)
            .query_some("t", timeout)
            .done()
            .await
            .map(|()| name.to_owned())
    })
    .await
}
