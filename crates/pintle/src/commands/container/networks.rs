//! `--network` and what goes with it: `--ip`, `--ip6`, `--link-local-ip`, `--mac-address`, `--network-alias`, `--link`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value, json};

use super::{mounts::csv, options::ContainerOptions};

/// What one `--network` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wish {
    target: String,
    aliases: Vec<String>,
    driver_opts: Map<String, Value>,
    links: Vec<String>,
    ip: Option<Ipv4Addr>,
    ip6: Option<Ipv6Addr>,
    link_local: Vec<IpAddr>,
    mac: Option<String>,
    gw_priority: i64,
}

/// `NetworkMode` and `EndpointsConfig`.
pub fn parse(options: &ContainerOptions) -> Result<(String, Map<String, Value>)> {
    let mut wishes = options.network.iter().map(|text| wish(text)).collect::<Result<Vec<_>>>()?;
    if wishes.is_empty() {
        wishes.push(Wish { target: "default".to_owned(), ..Wish::default() });
    }
    // What is not said of one network is said of the first, which once was the only one.
    if let Some(first) = wishes.first_mut() {
        first.take_in(options)?;
    }
    let only = wishes.len() == 1;
    let of_users = wishes.iter().filter(|wish| wish.is_users()).count();
    let mode = wishes.first().map(|wish| wish.target.clone()).unwrap_or_default();
    let mut endpoints = Map::new();
    for wish in &wishes {
        let endpoint = wish.endpoint()?;
        // A single network without a wish is what the mode says already.
        if only && endpoint.is_empty() {
            continue;
        }
        if endpoints.insert(wish.target.clone(), endpoint.into()).is_some() {
            bail!("network {:?} is specified multiple times", wish.target);
        }
    }
    if of_users != 0 && of_users != wishes.len() {
        bail!("conflicting options: cannot attach both user-defined and non-user-defined network-modes");
    }
    Ok((mode, endpoints))
}

/// Whether a name of a network is one of a user's.
fn is_users(target: &str) -> bool {
    !matches!(target, "default" | "bridge" | "host" | "none") && !target.starts_with("container:")
}

/// Docker takes anything with `word=word` in it for the long form.
fn is_long(text: &str) -> bool {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices('=')
        .any(|(at, _)| word(text[..at].chars().next_back()) && word(text[at + 1..].chars().next()))
}

fn wish(text: &str) -> Result<Wish> {
    if !is_long(text) {
        return Ok(Wish { target: text.to_owned(), ..Wish::default() });
    }
    let mut wish = Wish::default();
    for field in csv(text)? {
        let lower = field.to_lowercase();
        let (key, value) = lower
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| anyhow!("invalid field {field}"))?;
        let value = value.trim();
        match key.trim() {
            "name" => value.clone_into(&mut wish.target),
            "alias" => wish.aliases.push(value.to_owned()),
            "ip" => wish.ip = Some(address(value)?),
            "ip6" => wish.ip6 = Some(address(value)?),
            "mac-address" => wish.mac = Some(value.to_owned()),
            "link-local-ip" => wish.link_local.push(address(value)?),
            "driver-opt" => {
                let (key, value) = value
                    .split_once('=')
                    .filter(|(key, _)| !key.is_empty())
                    .ok_or_else(|| anyhow!("invalid key value pair format in driver options"))?;
                wish.driver_opts.insert(key.trim().to_owned(), value.trim().into());
            }
            "gw-priority" => {
                wish.gw_priority =
                    value.parse().map_err(|_| anyhow!("invalid gw-priority ({value}): invalid syntax"))?;
            }
            other => bail!("invalid field key {other}"),
        }
    }
    if wish.target.is_empty() {
        bail!("network name/id is not specified");
    }
    Ok(wish)
}

fn address<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| anyhow!("ParseAddr({text:?}): unable to parse IP"))
}

impl Wish {
    fn is_users(&self) -> bool {
        is_users(&self.target)
    }

    fn take_in(&mut self, options: &ContainerOptions) -> Result<()> {
        for (twice, what) in [
            (
                !self.aliases.is_empty() && !options.network_alias.is_empty(),
                "--network-alias and per-network alias",
            ),
            (self.ip.is_some() && options.ip.is_some(), "--ip and per-network IPv4 address"),
            (self.ip6.is_some() && options.ip6.is_some(), "--ip6 and per-network IPv6 address"),
            (
                self.mac.is_some() && options.mac_address.is_some(),
                "--mac-address and per-network MAC address",
            ),
            (
                !self.link_local.is_empty() && !options.link_local_ip.is_empty(),
                "--link-local-ip and per-network link-local IP addresses",
            ),
        ] {
            if twice {
                bail!("conflicting options: cannot specify both {what}");
            }
        }
        self.aliases.extend(options.network_alias.iter().cloned());
        // On the default bridge, a link is something else and not an endpoint's.
        if self.is_users() {
            self.links.extend(options.link.iter().cloned());
        }
        self.ip = self.ip.or(options.ip);
        self.ip6 = self.ip6.or(options.ip6);
        self.link_local.extend(&options.link_local_ip);
        if self.mac.is_none() {
            self.mac.clone_from(&options.mac_address);
        }
        Ok(())
    }

    fn endpoint(&self) -> Result<Map<String, Value>> {
        if self.target.trim().is_empty() {
            bail!("no name set for network");
        }
        if !self.is_users() && !self.aliases.is_empty() {
            bail!("network-scoped aliases are only supported for user-defined networks");
        }
        let mut endpoint = Map::new();
        let mut addresses = Map::new();
        for (key, ip) in [("IPv4Address", self.ip.map(IpAddr::V4)), ("IPv6Address", self.ip6.map(IpAddr::V6))]
        {
            if let Some(ip) = ip {
                addresses.insert(key.to_owned(), ip.to_string().into());
            }
        }
        if !self.link_local.is_empty() {
            let all: Vec<_> = self.link_local.iter().map(ToString::to_string).collect();
            addresses.insert("LinkLocalIPs".to_owned(), all.into());
        }
        let mut put = |key: &str, given: bool, value: Value| {
            if given {
                endpoint.insert(key.to_owned(), value);
            }
        };
        put("IPAMConfig", !addresses.is_empty(), addresses.clone().into());
        put("Links", !self.links.is_empty(), json!(self.links));
        put("Aliases", !self.aliases.is_empty(), json!(self.aliases));
        put("DriverOpts", !self.driver_opts.is_empty(), self.driver_opts.clone().into());
        put("GwPriority", self.gw_priority != 0, self.gw_priority.into());
        if let Some(mac) = &self.mac {
            put("MacAddress", true, mac_address(mac)?.into());
        }
        Ok(endpoint)
    }
}

/// In the form in which engines give it back.
fn mac_address(text: &str) -> Result<String> {
    let bad = || anyhow!("{text} is not a valid mac address");
    let bytes = text
        .trim()
        .split([':', '-'])
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
        .collect::<Option<Vec<_>>>()
        .filter(|bytes| bytes.len() == 6)
        .ok_or_else(bad)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
}

/// `--add-host`: `name:ip` or `name=ip`, as `name:ip`.
pub fn extra_host(text: &str) -> Result<String> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let (host, ip) = split
        .map(|(host, ip)| (host, ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip)))
        .filter(|(host, _)| !host.is_empty())
        .ok_or_else(|| anyhow!("bad format for add-host: {text:?}"))?;
    if ip != "host-gateway" && ip.parse::<IpAddr>().is_err() {
        bail!("invalid IP address in add-host: {ip:?}");
    }
    Ok(format!("{host}:{ip}"))
}

/// `--dns`.
pub fn server(text: &str) -> Result<String> {
    let ip: IpAddr =
        text.trim().parse().map_err(|_| anyhow!("IP address is not correctly formatted: {text}"))?;
    Ok(ip.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(networks: &[&str], change: impl FnOnce(&mut ContainerOptions)) -> Result<(String, Value)> {
        let mut options = ContainerOptions {
            network: networks.iter().map(|text| (*text).to_owned()).collect(),
            ..ContainerOptions::default()
        };
        change(&mut options);
        parse(&options).map(|(mode, endpoints)| (mode, endpoints.into()))
    }

    #[test]
    fn the_short_form() {
        assert_eq!(read(&[], |_| ()).unwrap(), ("default".to_owned(), json!({})));
        assert_eq!(read(&["host"], |_| ()).unwrap(), ("host".to_owned(), json!({})));
        assert_eq!(read(&["n"], |_| ()).unwrap(), ("n".to_owned(), json!({})));
        assert_eq!(read(&["n", "m"], |_| ()).unwrap(), ("n".to_owned(), json!({"n": {}, "m": {}})));
        let (_, endpoints) = read(&["n"], |options| {
            options.network_alias = vec!["a".into()];
            options.ip = Some([10, 1, 0, 9].into());
            options.ip6 = Some("fd00::9".parse().unwrap());
            options.mac_address = Some("02-42-00-00-00-0A".into());
            options.link = vec!["db:x".into()];
        })
        .unwrap();
        assert_eq!(
            endpoints,
            json!({"n": {"IPAMConfig": {"IPv4Address": "10.1.0.9", "IPv6Address": "fd00::9"}, "Links": ["db:x"],
                "Aliases": ["a"], "MacAddress": "02:42:00:00:00:0a"}})
        );
    }

    #[test]
    fn the_long_form() {
        let text = "name=n,alias=a,alias=b,ip=10.1.0.9,ip6=fd00::9,mac-address=02:42:00:00:00:0a,\
            link-local-ip=169.254.9.9,driver-opt=k=v,\"driver-opt=s=x=1,y=2\",gw-priority=-3";
        let (mode, endpoints) = read(&[text, "m"], |_| ()).unwrap();
        assert_eq!(mode, "n");
        assert_eq!(
            endpoints,
            json!({"m": {}, "n": {
                "IPAMConfig": {"IPv4Address": "10.1.0.9", "IPv6Address": "fd00::9", "LinkLocalIPs": ["169.254.9.9"]},
                "Aliases": ["a", "b"], "DriverOpts": {"k": "v", "s": "x=1,y=2"}, "GwPriority": -3,
                "MacAddress": "02:42:00:00:00:0a"}})
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused_in_dockers_words() {
        let alias = |options: &mut ContainerOptions| options.network_alias = vec!["x".into()];
        for (result, said) in [
            (read(&["name=n,alias=a"], alias), "cannot specify both --network-alias and per-network alias"),
            (read(&["n", "n"], |_| ()), "network \"n\" is specified multiple times"),
            (
                read(&["n", "host"], |_| ()),
                "cannot attach both user-defined and non-user-defined network-modes",
            ),
            (read(&[], alias), "network-scoped aliases are only supported for user-defined networks"),
            (read(&["alias=a"], |_| ()), "network name/id is not specified"),
            (read(&["name=n,colour=red"], |_| ()), "invalid field key colour"),
            (read(&["name=n,gw-priority=x"], |_| ()), "invalid gw-priority (x): invalid syntax"),
            (read(&["name=n,mac-address=x"], |_| ()), "x is not a valid mac address"),
        ] {
            assert!(result.unwrap_err().to_string().contains(said), "{said}");
        }
    }

    #[test]
    fn hosts_and_servers_are_checked() {
        assert_eq!(extra_host("db=10.0.0.1").unwrap(), "db:10.0.0.1");
        assert_eq!(extra_host("db:[fd00::1]").unwrap(), "db:fd00::1");
        assert_eq!(extra_host("h:host-gateway").unwrap(), "h:host-gateway");
        assert!(extra_host("db").is_err() && extra_host(":1.1.1.1").is_err() && extra_host("db:x").is_err());
        assert!(server("9.9.9.9").is_ok() && server("x").is_err());
    }
}
