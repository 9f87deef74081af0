//! `network create`.

use std::net::IpAddr;

use anyhow::Result;
use clap::{ArgAction, Args};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use super::subnets;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::container::spec::labels;
use crate::context::Context;
use crate::json::Fields;

/// Create a network.
#[derive(Debug, Args)]
pub struct Create {
    /// Enable manual container attachment
    #[arg(long)]
    pub attachable: bool,
    /// Auxiliary IPv4 or IPv6 addresses used by Network driver
    #[arg(long = "aux-address", value_name = "NAME=IP")]
    pub aux_address: Vec<String>,
    /// The network from which to copy the configuration
    #[arg(long = "config-from", value_name = "NETWORK", add = ArgValueCompleter::new(names::networks))]
    pub config_from: Option<String>,
    /// Create a configuration only network
    #[arg(long = "config-only")]
    pub config_only: bool,
    /// Driver to manage the Network
    #[arg(short = 'd', long, default_value = "bridge", value_name = "DRIVER", add = ArgValueCompleter::new(names::network_drivers))]
    pub driver: String,
    /// IPv4 or IPv6 Gateway for the master subnet
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub gateway: Vec<IpAddr>,
    /// Create swarm routing-mesh network
    #[arg(long)]
    pub ingress: bool,
    /// Restrict external access to the network
    #[arg(long)]
    pub internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long = "ip-range", value_name = "CIDR", value_delimiter = ',')]
    pub ip_range: Vec<ipnet::IpNet>,
    /// IP Address Management Driver
    #[arg(long = "ipam-driver", default_value = "default", value_name = "DRIVER")]
    pub ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long = "ipam-opt", value_name = "K=V")]
    pub ipam_opt: Vec<String>,
    /// Enable or disable IPv4 address assignment
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ipv4: Option<bool>,
    /// Enable or disable IPv6 address assignment
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ipv6: Option<bool>,
    /// Set metadata on a network
    #[arg(long, value_name = "K[=V]")]
    pub label: Vec<String>,
    /// Set driver specific options
    #[arg(short = 'o', long, value_name = "K=V")]
    pub opt: Vec<String>,
    /// Control the network's scope
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub subnet: Vec<String>,
    /// Its name
    pub network: String,
}

impl Create {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let body = self.body()?;
        let client = context.client().await?;
        let made = client.post("/networks/create").json(&body).value().await?;
        if !made.text("Warning").is_empty() {
            eprintln!("WARNING: {}", made.text("Warning"));
        }
        println!("{}", made.text("Id"));
        Ok(())
    }

    fn body(&self) -> Result<Value> {
        let config = subnets::config(&self.subnet, &self.ip_range, &self.gateway, &self.aux_address)?;
        let mut body = json!({
            "Name": self.network,
            "CheckDuplicate": true,
            "Driver": self.driver,
            "Scope": self.scope.clone().unwrap_or_default(),
            "IPAM": {"Driver": self.ipam_driver, "Options": labels(&[], &self.ipam_opt)?, "Config": config},
            "Internal": self.internal,
            "Attachable": self.attachable,
            "Ingress": self.ingress,
            "ConfigOnly": self.config_only,
            "ConfigFrom": self.config_from.as_ref().map(|network| json!({"Network": network})),
            "Options": labels(&[], &self.opt)?,
            "Labels": labels(&[], &self.label)?,
        });
        if let Some(fields) = body.as_object_mut() {
            for (key, given) in [("EnableIPv4", self.ipv4), ("EnableIPv6", self.ipv6)] {
                if let Some(given) = given {
                    fields.insert(key.to_owned(), given.into());
                }
            }
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::commands::network::NetworkCommand;

    fn body(line: &[&str]) -> Value {
        let line = ["pintle", "network", "create"].iter().chain(line);
        let Command::Network(NetworkCommand::Create(create)) = Cli::parse_from(line).command else {
            unreachable!()
        };
        create.body().unwrap()
    }

    #[test]
    fn options_become_the_request_that_docker_sends() {
        let plain = body(&["n"]);
        assert_eq!((&plain["Name"], &plain["Driver"]), (&json!("n"), &json!("bridge")));
        assert_eq!(plain["IPAM"], json!({"Driver": "default", "Options": {}, "Config": []}));
        assert!(plain.get("EnableIPv6").is_none() && plain["ConfigFrom"].is_null());
        let line = "-d macvlan -o parent=eth0 --label a=b --label c --internal --ipv6 --ipv4=false --attachable \
            --subnet 10.1.0.0/16 --ip-range 10.1.1.0/24 --gateway 10.1.0.1 --aux-address r=10.1.0.2 \
            --subnet fd00::/64 --gateway fd00::1 --ipam-driver x --ipam-opt k=v --config-from base --scope local n";
        let full = body(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!((&full["EnableIPv4"], &full["EnableIPv6"]), (&json!(false), &json!(true)));
        assert_eq!(full["Options"], json!({"parent": "eth0"}));
        assert_eq!(full["Labels"], json!({"a": "b", "c": ""}));
        assert_eq!(
            full["IPAM"],
            json!({"Driver": "x", "Options": {"k": "v"}, "Config": [
                {"Subnet": "10.1.0.0/16", "IPRange": "10.1.1.0/24", "Gateway": "10.1.0.1",
                    "AuxiliaryAddresses": {"r": "10.1.0.2"}},
                {"Subnet": "fd00::/64", "Gateway": "fd00::1"}]})
        );
        assert_eq!(full["ConfigFrom"], json!({"Network": "base"}));
    }
}
