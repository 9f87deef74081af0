//! `port`.

use anyhow::bail;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::json::Fields;

/// List port mappings or a specific mapping for the container.
#[derive(Debug, Args)]
pub struct Port {
    /// The container
    #[arg(add = ArgValueCompleter::new(names::running))]
    pub container: String,
    /// Only this port, as PORT[/PROTOCOL]
    pub port: Option<String>,
}

impl Port {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let document = client.get(format!("/containers/{}/json", self.container)).value().await?;
        let ports = document.at("NetworkSettings").at("Ports").as_object().cloned().unwrap_or_default();
        let wanted = self.port.map(|port| if port.contains('/') { port } else { format!("{port}/tcp") });
        let mut found = false;
        for (port, bindings) in &ports {
            if wanted.as_ref().is_some_and(|wanted| wanted != port) {
                continue;
            }
            for binding in bindings.as_array().into_iter().flatten() {
                let ip = binding.text("HostIp");
                let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
                let address = format!("{ip}:{}", binding.text("HostPort"));
                found = true;
                if wanted.is_some() { println!("{address}") } else { println!("{port} -> {address}") }
            }
        }
        match wanted {
            Some(port) if !found => bail!("no public port '{port}' published for {}", self.container),
            _ => Ok(()),
        }
    }
}
