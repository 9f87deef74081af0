//! `volume create`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::container::spec::labels;
use crate::context::Context;
use crate::json::Fields;

/// Create a volume.
#[derive(Debug, Args)]
pub struct Create {
    /// Specify volume driver name
    #[arg(short = 'd', long, default_value = "local", value_name = "DRIVER", add = ArgValueCompleter::new(names::volume_drivers))]
    pub driver: String,
    /// Set metadata for a volume
    #[arg(long, value_name = "K[=V]")]
    pub label: Vec<String>,
    /// Specify volume name
    #[arg(long, hide = true, value_name = "NAME")]
    pub name: Option<String>,
    /// Set driver specific options
    #[arg(short = 'o', long, value_name = "K=V")]
    pub opt: Vec<String>,
    /// Its name; the engine makes one up if there is none
    pub volume: Option<String>,
}

impl Create {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        if self.name.is_some() && self.volume.is_some() {
            anyhow::bail!(
                "conflicting options: cannot specify a volume name through both --name and as a positional arg"
            );
        }
        let client = context.client().await?;
        let body = json!({
            "Name": self.volume.or(self.name).unwrap_or_default(),
            "Driver": self.driver,
            "DriverOpts": labels(&[], &self.opt)?,
            "Labels": labels(&[], &self.label)?,
        });
        let volume = client.post("/volumes/create").json(&body).value().await?;
        println!("{}", volume.text("Name"));
        Ok(())
    }
}
