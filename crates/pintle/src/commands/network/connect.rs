//! `network connect` and `network disconnect`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Map, Value, json};

use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;

/// Connect a container to a network.
#[derive(Debug, Args)]
pub struct Connect {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub alias: Vec<String>,
    /// Driver options for the network
    #[arg(long = "driver-opt", value_name = "K=V", value_delimiter = ',')]
    pub driver_opt: Vec<String>,
    /// Highest gw-priority provides the default gateway. Accepts positive and negative values
    #[arg(long = "gw-priority", value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub gw_priority: i64,
    /// IPv4 address (e.g., "172.30.100.104")
    #[arg(long, value_name = "IP")]
    pub ip: Option<Ipv4Addr>,
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(long, value_name = "IP")]
    pub ip6: Option<Ipv6Addr>,
    /// Add link to another container
    #[arg(long, value_name = "NAME[:ALIAS]")]
    pub link: Vec<String>,
    /// Add a link-local address for the container
    #[arg(long = "link-local-ip", value_name = "IP", value_delimiter = ',')]
    pub link_local_ip: Vec<IpAddr>,
    /// The network
    #[arg(add = ArgValueCompleter::new(names::networks))]
    pub network: String,
    /// The container
    #[arg(add = ArgValueCompleter::new(names::containers))]
    pub container: String,
}

impl Connect {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let body = json!({"Container": self.container, "EndpointConfig": self.endpoint()?});
        let client = context.client().await?;
        Ok(client.post(format!("/networks/{}/connect", self.network)).json(&body).done().await?)
    }

    fn endpoint(&self) -> Result<Value> {
        let list = |list: Vec<String>| if list.is_empty() { Value::Null } else { list.into() };
        let mut addresses = Map::new();
        for (key, ip) in [("IPv4Address", self.ip.map(IpAddr::V4)), ("IPv6Address", self.ip6.map(IpAddr::V6))]
        {
            if let Some(ip) = ip {
                addresses.insert(key.to_owned(), ip.to_string().into());
            }
        }
        if !self.link_local_ip.is_empty() {
            let all: Vec<_> = self.link_local_ip.iter().map(ToString::to_string).collect();
            addresses.insert("LinkLocalIPs".to_owned(), all.into());
        }
        let mut options = Map::new();
        for text in &self.driver_opt {
            match text.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some((key, value)) if !key.is_empty() => options.insert(key.to_owned(), value.into()),
                _ => bail!("invalid key/value pair format in driver options"),
            };
        }
        Ok(json!({
            "IPAMConfig": addresses,
            "Links": list(self.link.clone()),
            "Aliases": list(self.alias.clone()),
            "DriverOpts": options,
            "GwPriority": self.gw_priority,
        }))
    }
}

/// Disconnect a container from a network.
#[derive(Debug, Args)]
pub struct Disconnect {
    /// Force the container to disconnect from a network
    #[arg(short = 'f', long)]
    pub force: bool,
    /// The network
    #[arg(add = ArgValueCompleter::new(names::networks))]
    pub network: String,
    /// The container
    #[arg(add = ArgValueCompleter::new(names::containers))]
    pub container: String,
}

impl Disconnect {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let body = json!({"Container": self.container, "Force": self.force});
        let client = context.client().await?;
        Ok(client.post(format!("/networks/{}/disconnect", self.network)).json(&body).done().await?)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::commands::network::NetworkCommand;

    #[test]
    fn options_become_the_endpoint_that_docker_sends() {
        let line = "pintle network connect --ip 10.1.0.9 --ip6 fd00::9 --alias a --alias b,c --link db:x \
            --link-local-ip 169.254.9.9 --driver-opt k=v --gw-priority -5 net box";
        let Command::Network(NetworkCommand::Connect(connect)) =
            Cli::parse_from(line.split_whitespace()).command
        else {
            unreachable!()
        };
        assert_eq!((connect.network.as_str(), connect.container.as_str()), ("net", "box"));
        assert_eq!(
            connect.endpoint().unwrap(),
            json!({
                "IPAMConfig": {"IPv4Address": "10.1.0.9", "IPv6Address": "fd00::9", "LinkLocalIPs": ["169.254.9.9"]},
                "Links": ["db:x"], "Aliases": ["a", "b", "c"], "DriverOpts": {"k": "v"}, "GwPriority": -5,
            })
        );
        let bad = ["pintle", "network", "connect", "--driver-opt", "k", "net", "box"];
        let Command::Network(NetworkCommand::Connect(bad)) = Cli::parse_from(bad).command else {
            unreachable!()
        };
        assert!(bad.endpoint().is_err());
    }
}
