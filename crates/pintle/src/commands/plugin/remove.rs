//! `plugin rm`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::each::each;
use crate::context::Context;

/// Remove one or more plugins.
#[derive(Debug, Args)]
pub struct Remove {
    /// Force the removal of an active plugin
    #[arg(short = 'f', long)]
    pub force: bool,
    /// The plugins
    #[arg(required = true, value_name = "PLUGIN", add = ArgValueCompleter::new(names::plugins))]
    pub plugins: Vec<String>,
}

impl Remove {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        each(&self.plugins, async |name| {
            client
                .delete(format!("/plugins/{name}"))
                .switch("force", self.force)
                .done()
                .await
                .map(|()| name.to_owned())
        })
        .await
    }
}
