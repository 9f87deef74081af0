//! `rm`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::each::each;
use crate::context::Context;

/// Remove one or more containers.
#[derive(Debug, Args)]
pub struct Remove {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short = 'f', long)]
    pub force: bool,
    /// Remove the specified link
    #[arg(short = 'l', long)]
    pub link: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short = 'v', long)]
    pub volumes: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER", add = ArgValueCompleter::new(names::containers))]
    pub containers: Vec<String>,
}

impl Remove {
    /// Runs it. With `--force` a container that is not there is no failure.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        each(&self.containers, async |name| {
            let name = name.trim_matches('/');
            let result = client
                .delete(format!("/containers/{name}"))
                .switch("force", self.force)
                .switch("link", self.link)
                .switch("v", self.volumes)
                .done()
                .await;
            match result {
                Err(error) if self.force && error.is_not_found() => {
                    eprintln!("{error}");
                    Ok(String::new())
                }
                other => other.map(|()| name.to_owned()),
            }
        })
        .await
    }
}
