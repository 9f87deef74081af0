//! `inspect`, for one kind or for whatever has the name.

use anyhow::Result;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::Value;

use super::Done;
use super::completion::names;
use crate::client::{Client, ClientError};
use crate::context::Context;
use crate::failure::Failure;
use crate::render::format;
use crate::template::TemplateError;

/// What can be inspected, in the order in which a bare name is looked for.
const KINDS: [(&str, &str); 6] = [
    ("container", "containers"),
    ("image", "images"),
    ("network", "networks"),
    ("volume", "volumes"),
    ("plugin", "plugins"),
    ("runtime", "runtimes"),
];

/// Return low-level information on objects.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Format output: 'json' or a Go template
    #[arg(short = 'f', long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short = 's', long)]
    pub size: bool,
    /// Return JSON for specified type
    #[arg(long = "type", value_name = "TYPE", value_parser = ["container", "image", "network", "volume", "plugin", "runtime"])]
    pub kind: Option<String>,
    /// Names or IDs
    #[arg(required = true, value_name = "NAME|ID", add = ArgValueCompleter::new(names::anything))]
    pub names: Vec<String>,
}

impl Inspect {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        show(context, &self.names, self.format.as_deref(), self.kind.as_deref(), self.size).await
    }
}

macro_rules! one_kind {
    ($name:ident, $kind:literal, $value:literal, $complete:path) => {
        #[doc = concat!("Display detailed information on one or more ", $kind, "s.")]
        #[derive(Debug, Args)]
        pub struct $name {
            /// Format output: 'json' or a Go template
            #[arg(short = 'f', long, value_name = "FORMAT")]
            pub format: Option<String>,
            /// Names or IDs
            #[arg(required = true, value_name = $value, add = ArgValueCompleter::new($complete))]
            pub names: Vec<String>,
        }

        impl $name {
            /// Runs it.
            pub async fn run(self, context: &Context) -> Done {
                show(context, &self.names, self.format.as_deref(), Some($kind), false).await
            }
        }
    };
}

/// Display detailed information on one or more containers.
#[derive(Debug, Args)]
pub struct InspectContainer {
    /// Format output: 'json' or a Go template
    #[arg(short = 'f', long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Display total file sizes
    #[arg(short = 's', long)]
    pub size: bool,
    /// Names or IDs
    #[arg(required = true, value_name = "CONTAINER", add = ArgValueCompleter::new(names::containers))]
    pub names: Vec<String>,
}

impl InspectContainer {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        show(context, &self.names, self.format.as_deref(), Some("container"), self.size).await
    }
}

one_kind!(InspectImage, "image", "IMAGE", names::images);
one_kind!(InspectNetwork, "network", "NETWORK", names::networks);
one_kind!(InspectVolume, "volume", "VOLUME", names::volumes);
one_kind!(InspectPlugin, "plugin", "PLUGIN", names::plugins);
one_kind!(InspectRuntime, "runtime", "RUNTIME", names::runtimes);

/// Prints what is found as one array, or each through the template; failures follow, and the exit code is then 1.
pub async fn show(
    context: &Context,
    names: &[String],
    template: Option<&str>,
    kind: Option<&str>,
    size: bool,
) -> Done {
    let client = context.client().await?;
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match find(client, name, kind, size).await {
            Ok(document) => found.push(document),
            Err(error @ ClientError::Connect { .. }) => return Err(error.into()),
            Err(error) => failures.push(error.to_string()),
        }
    }
    print!("{}", text(&found, template)?);
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::new(1, failures.join("\n")).into())
}

fn text(found: &[Value], template: Option<&str>) -> Result<String> {
    let Some(template) = template.filter(|t| !t.is_empty()) else {
        let mut out = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
        serde::Serialize::serialize(found, &mut serializer)?;
        out.push(b'\n');
        return Ok(String::from_utf8(out)?);
    };
    let mut out = String::new();
    if template == "json" {
        return Ok(serde_json::to_string(found)? + "\n");
    }
    for document in found {
        out +=
            &format::document(template, document).map_err(|e| match e.downcast_ref::<TemplateError>() {
                Some(TemplateError::Execute { .. }) => anyhow::anyhow!("template parsing error: {e}"),
                _ => e,
            })?;
        out.push('\n');
    }
    Ok(out)
}

async fn find(client: &Client, name: &str, kind: Option<&str>, size: bool) -> Result<Value, ClientError> {
    // A runtime is configuration, which a bare name does not mean.
    let meant = |known: &str| kind.map_or(known != "runtime", |kind| kind == known);
    let kinds: Vec<_> = KINDS.iter().filter(|(known, _)| meant(known)).collect();
    for (_, path) in &kinds {
        let path = match *path {
            "networks" | "volumes" => format!("/{path}/{name}"),
            _ => format!("/{path}/{name}/json"),
        };
        let request = if size && path.starts_with("/containers") {
            client.get(path).query("size", "1")
        } else {
            client.get(path)
        };
        match request.value().await {
            Ok(document) => return Ok(document),
            Err(error) if kind.is_some() => return Err(error),
            Err(error) if error.is_not_found() => {}
            // A name that one kind cannot have, such as one with a slash.
            Err(ClientError::Api { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ClientError::Usage(format!("Error: No such object: {name}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_printed_as_docker_prints_them() {
        let found = [json!({"Id": "a", "Env": null, "List": []})];
        assert_eq!(
            text(&found, None).unwrap(),
            "[\n    {\n        \"Id\": \"a\",\n        \"Env\": null,\n        \"List\": []\n    }\n]\n"
        );
        assert_eq!(text(&[], None).unwrap(), "[]\n");
        assert_eq!(text(&found, Some("{{.Id}}")).unwrap(), "a\n");
        assert_eq!(text(&found, Some("json")).unwrap(), "[{\"Id\":\"a\",\"Env\":null,\"List\":[]}]\n");
        assert!(text(&found, Some("{{.Nope}}")).is_err());
    }
}
