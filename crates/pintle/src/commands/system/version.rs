//! `version`.

use clap::Args;
use serde_json::{Value, json};

use crate::client::Client;
use crate::commands::Done;
use crate::context::Context;
use crate::json::Fields;
use crate::render::format;

/// Show the version information of client and engine.
#[derive(Debug, Args)]
pub struct Version {
    /// Format output: 'json' or a Go template
    #[arg(short = 'f', long, value_name = "FORMAT")]
    pub format: Option<String>,
}

impl Version {
    /// Runs it. The client's half is shown even if no engine answers.
    pub async fn run(self, context: &Context) -> Done {
        let connected = context.client().await;
        let mut client = json!({
            "Platform": {"Name": "pintle"},
            "Version": env!("CARGO_PKG_VERSION"),
            "ApiVersion": connected.as_ref().map_or(Client::newest(), |c| c.version()).to_string(),
            "DefaultAPIVersion": Client::newest().to_string(),
            "Os": std::env::consts::OS,
            "Arch": arch(),
        });
        let server = match &connected {
            Ok(connected) => connected.get("/version").value().await,
            Err(_) => Ok(Value::Null),
        };
        let server = server.unwrap_or(Value::Null);
        if let Ok(connected) = &connected {
            client["Endpoint"] = connected.endpoint().to_string().into();
        }
        match self.format.as_deref() {
            Some(template) => {
                println!("{}", format::document(template, &json!({"Client": client, "Server": server}))?)
            }
            None => print!("{}", text(&client, &server)),
        }
        connected?;
        Ok(())
    }
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn text(client: &Value, server: &Value) -> String {
    let mut out = format!(
        "Client: pintle\n Version:           {}\n API version:       {}\n OS/Arch:           {}/{}\n",
        client.text("Version"),
        client.text("ApiVersion"),
        client.text("Os"),
        client.text("Arch"),
    );
    if server.is_null() {
        return out;
    }
    let platform = server.at("Platform").text("Name");
    out += &format!("\nServer:{}{platform}\n", if platform.is_empty() { "" } else { " " });
    for component in server.list("Components") {
        let detail = component.at("Details");
        out += &format!(" {}:\n  Version:          {}\n", component.text("Name"), component.text("Version"));
        if !detail.text("ApiVersion").is_empty() {
            let least = detail.text("MinAPIVersion");
            let (api, os) = (detail.text("ApiVersion"), detail.text("Os"));
            out += &format!(
                "  API version:      {api} (minimum version {least})\n  OS/Arch:          {os}/{}\n",
                detail.text("Arch")
            );
        }
    }
    if server.list("Components").is_empty() {
        out += &format!(
            " Version:           {}\n API version:       {}\n",
            server.text("Version"),
            server.text("ApiVersion")
        );
    }
    out
}
