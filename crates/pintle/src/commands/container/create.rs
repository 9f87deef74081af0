//! `container create`, and the part of it that `run` shares.

use std::io::Write;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::Value;

use super::options::ContainerOptions;
use super::spec::{self, Attached};
use crate::client::{ApiVersion, Client};
use crate::commands::completion::names;
use crate::commands::{Done, image};
use crate::context::Context;
use crate::json::Fields;

/// Create a new container.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Create {
    #[command(flatten)]
    pub options: ContainerOptions,
    /// The image to create it from
    #[arg(add = ArgValueCompleter::new(names::images))]
    pub image: String,
    /// The command to run in place of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command_line: Vec<String>,
}

impl Create {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let attached = Attached { stdin: self.options.interactive, stdout: true, stderr: true };
        let id = create(context, &self.options, &self.image, &self.command_line, attached).await?;
        println!("{id}");
        Ok(())
    }
}

/// Creates a container, pulling its image if it is missing or if that was asked for. Returns its id.
pub async fn create(
    context: &Context,
    options: &ContainerOptions,
    image_name: &str,
    command: &[String],
    attached: Attached,
) -> Result<String> {
    let body = spec::request(options, image_name, command, attached)?;
    let mut cidfile = match &options.cidfile {
        None => None,
        Some(path) => {
            let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
            let hint = "container ID file found, make sure the other container isn't running or delete";
            Some(file.with_context(|| format!("{hint} {}", path.display()))?)
        }
    };
    let result = create_or_pull(context, options, image_name, &body).await;
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => {
            if let Some(path) = &options.cidfile {
                let _ = std::fs::remove_file(path);
            }
            return Err(error);
        }
    };
    for warning in answer.texts("Warnings") {
        eprintln!("WARNING: {warning}");
    }
    let id = answer.text("Id").to_owned();
    if id.is_empty() {
        bail!("the engine created a container but did not say its id");
    }
    if let Some(file) = &mut cidfile {
        file.write_all(id.as_bytes())?;
    }
    Ok(id)
}

async fn create_or_pull(
    context: &Context,
    options: &ContainerOptions,
    image_name: &str,
    body: &Value,
) -> Result<Value> {
    let client = context.client().await?;
    let pull = || image::pull::pull(context, image_name, options.platform.as_deref(), options.quiet, true);
    if options.pull == "always" {
        pull().await?;
    }
    match request(client, options, body).await {
        Err(error) if error.is_not_found() && options.pull == "missing" && names_image(&error.message()) => {
            eprintln!("Unable to find image '{}' locally", image::familiar_with_tag(image_name));
            pull().await?;
            Ok(request(client, options, body).await?)
        }
        result => Ok(result?),
    }
}

/// A create can also fail with 404 for want of a volume driver or network.
fn names_image(message: &str) -> bool {
    message.to_ascii_lowercase().contains("no such image")
}

async fn request(
    client: &Client,
    options: &ContainerOptions,
    body: &Value,
) -> Result<Value, crate::client::ClientError> {
    let mut body = body.clone();
    // Since then it is the network's, where it stands as well; engines warn of the old place.
    if client.version() >= ApiVersion(1, 44)
        && let Some(body) = body.as_object_mut()
    {
        body.remove("MacAddress");
    }
    client
        .post("/containers/create")
        .query_some("name", options.name.as_deref())
        .query_some("platform", options.platform.as_deref())
        .json(&body)
        .value()
        .await
}
