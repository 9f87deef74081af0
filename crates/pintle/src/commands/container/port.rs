//! `port`.

use anyhow::bail;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::json::Fields;
use crate::render::order::natural;

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
        let wanted = self.port.as_deref().map(port).transpose()?;
        let mut lines = Vec::new();
        for (port, bindings) in &ports {
            if wanted.as_ref().is_some_and(|wanted| wanted != port) {
                continue;
            }
            for binding in bindings.as_array().into_iter().flatten() {
                let ip = binding.text("HostIp");
                let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
                let address = format!("{ip}:{}", binding.text("HostPort"));
                lines.push(if wanted.is_some() { address } else { format!("{port} -> {address}") });
            }
        }
        if let Some(port) = self.port.filter(|_| lines.is_empty()) {
            bail!("no public port '{port}' published for {}", self.container);
        }
        lines.sort_by_key(|line| natural(line));
        lines.iter().for_each(|line| println!("{line}"));
        Ok(())
    }
}

/// `PORT[/PROTOCOL]`, in full.
fn port(text: &str) -> anyhow::Result<String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match number.parse::<u16>() {
        Ok(number) => Ok(format!("{number}/{}", protocol.to_lowercase())),
        Err(_) => bail!("invalid port '{number}': invalid syntax"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_named_in_full_and_sorted_as_people_count() {
        assert_eq!(port("80").unwrap(), "80/tcp");
        assert_eq!(port("53/UDP").unwrap(), "53/udp");
        assert_eq!(port("x").unwrap_err().to_string(), "invalid port 'x': invalid syntax");
        let mut lines = ["443/tcp -> [::]:9", "80/tcp -> 0.0.0.0:80", "9/tcp -> 0.0.0.0:1"];
        lines.sort_by_key(|line| natural(line));
        assert_eq!(lines, ["9/tcp -> 0.0.0.0:1", "80/tcp -> 0.0.0.0:80", "443/tcp -> [::]:9"]);
    }
}
