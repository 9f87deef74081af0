//! What an administrator writes for this plugin, and what a runtime adds.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use pintle_contract::network::{MacAddress, PortBinding};
use pintle_wire::{
    cni::{Attachment, Invocation, Success, Version, code, network_name},
    object::{DecodeError, Object},
};
use serde_json::Value;

use crate::failure::Failure;

/// One call's configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) version: Version,
    /// The network's name.
    pub(crate) name: String,
    /// The network driver.
    pub(crate) driver: String,
    /// What `-o` is to `docker network create`.
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) internal: bool,
    /// Whether the network's gateway becomes the container's default route.
    pub(crate) default_route: bool,
    /// The IPAM driver.
    pub(crate) ipam: String,
    pub(crate) ipam_options: BTreeMap<String, String>,
    pub(crate) pools: Vec<Pool>,
    /// How names are resolved, as the administrator says: handed on.
    pub(crate) dns: pintle_wire::cni::Dns,
    pub(crate) state: PathBuf,
    /// What was made before, for CHECK.
    pub(crate) previous: Option<Success>,
    /// Every attachment that there is, for GC.
    pub(crate) valid: Vec<Attachment>,
    pub(crate) wishes: Wishes,
}

/// A subnet, as typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Pool {
    pub(crate) subnet: Option<IpNet>,
    pub(crate) range: Option<IpNet>,
    pub(crate) gateway: Option<IpAddr>,
}

/// What the runtime wants of one attachment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wishes {
    pub(crate) ports: Vec<PortBinding>,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) aliases: Vec<String>,
    pub(crate) dns_servers: Vec<String>,
}

impl Config {
    /// The version alone, of whatever it can be read from.
    pub(crate) fn version(bytes: &[u8]) -> Option<Version> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        value.get("cniVersion")?.as_str()?.parse().ok()
    }

    pub(crate) fn parse(bytes: &[u8], call: &Invocation) -> Result<Self, Failure> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| Failure::new(code::DECODE, format!("the configuration is not JSON: {error}")))?;
        let root = Object::root(&value).map_err(decode)?;
        let version: Version = root.string("cniVersion").map_err(decode)?.parse()?;
        let name = root.string("name").map_err(decode)?;
        network_name(&name)?;
        let mut config = Self::read(&root, version, name).map_err(decode)?;
        config.wishes = Wishes::read(&root, call)?;
        Ok(config)
    }

    fn read(root: &Object<'_>, version: Version, name: String) -> Result<Self, DecodeError> {
        let ipam = root.object("ipam")?;
        let text = |key: &str, other: &str| {
            Ok::<_, DecodeError>(
                root.optional_string(key)?.filter(|text| !text.is_empty()).unwrap_or(other.into()),
            )
        };
        let (mut driver, mut ipam_options, mut pools) = ("default".to_owned(), BTreeMap::new(), Vec::new());
        if let Some(ipam) = &ipam {
            driver = ipam.optional_string("driver")?.filter(|text| !text.is_empty()).unwrap_or(driver);
            ipam_options = texts(ipam, "options")?;
            if ipam.get("subnet").is_some() {
                pools.push(Pool::read(ipam)?);
            }
            for pool in ipam.objects("pools")? {
                pools.push(Pool::read(&pool)?);
            }
        }
        let previous = root.get("prevResult").map(|value| Success::decode(value, version)).transpose()?;
        let mut valid = Vec::new();
        for one in root.objects("cni.dev/valid-attachments")? {
            let (container, interface) = (one.string("containerID")?, one.string("ifname")?);
            valid.push(Attachment { container, interface });
        }
        Ok(Self {
            version,
            name,
            driver: text("driver", "bridge")?,
            options: texts(root, "options")?,
            labels: texts(root, "labels")?,
            internal: root.bool("internal")?,
            default_route: root.optional_bool("defaultRoute")?.unwrap_or(true),
            ipam: driver,
            ipam_options,
            pools,
            dns: Success::decode(&serde_json::json!({"dns": root.get("dns")}), Version::V1_1_0)?.dns,
            state: root.optional_string("state")?.map_or_else(crate::default_state, PathBuf::from),
            previous,
            valid,
            wishes: Wishes::default(),
        })
    }
}

impl Pool {
    fn read(object: &Object<'_>) -> Result<Self, DecodeError> {
        fn optional<T: std::str::FromStr>(object: &Object<'_>, key: &str) -> Result<Option<T>, DecodeError> {
            let text = object.string(key)?;
            if text.is_empty() {
                return Ok(None);
            }
            text.parse().map(Some).map_err(|_| object.error(key, format!("{text:.64?} is none")))
        }
        Ok(Self {
            subnet: optional(object, "subnet")?,
            range: optional(object, "ipRange")?,
            gateway: optional(object, "gateway")?,
        })
    }
}

impl Wishes {
    fn read(root: &Object<'_>, call: &Invocation) -> Result<Self, Failure> {
        let mut wishes = Self::default();
        // The old way; what the new one says counts for more.
        for (key, text) in &call.args {
            match key.as_str() {
                "IP" => wishes.addresses = vec![address(text)?],
                "MAC" => wishes.mac = Some(text.parse()?),
                _ => {}
            }
        }
        let Some(said) = root.object("runtimeConfig").map_err(decode)? else { return Ok(wishes) };
        let mac = said.string("mac").map_err(decode)?;
        if !mac.is_empty() {
            wishes.mac = Some(mac.parse()?);
        }
        let addresses = said.strings("ips").map_err(decode)?;
        if !addresses.is_empty() {
            wishes.addresses = addresses.iter().map(|text| address(text)).collect::<Result<_, _>>()?;
        }
        wishes.aliases = said.strings("aliases").map_err(decode)?;
        if let Some(dns) = said.object("dns").map_err(decode)? {
            wishes.dns_servers = dns.strings("servers").map_err(decode)?;
        }
        for mapping in said.objects("portMappings").map_err(decode)? {
            wishes.ports.push(port(&mapping)?);
        }
        Ok(wishes)
    }
}

fn port(mapping: &Object<'_>) -> Result<PortBinding, Failure> {
    let number = |key: &str| -> Result<u16, Failure> {
        let number = mapping.u32(key).map_err(decode)?;
        u16::try_from(number).map_err(|_| decode(mapping.error(key, "not a port")))
    };
    let host_port = number("hostPort")?;
    if host_port == 0 {
        return Err(decode(mapping.error("hostPort", "missing")));
    }
    let ip = mapping.string("hostIP").map_err(decode)?;
    let protocol = mapping.string("protocol").map_err(decode)?;
    Ok(PortBinding {
        protocol: if protocol.is_empty() { "tcp" } else { &protocol }.parse()?,
        port: number("containerPort")?,
        host_ip: if ip.is_empty() { None } else { Some(address(&ip)?) },
        host_port,
        host_port_end: host_port,
    })
}

/// An address, with or without a prefix length.
fn address(text: &str) -> Result<IpAddr, Failure> {
    let plain = text.split('/').next().unwrap_or_default();
    plain.parse().map_err(|_| Failure::new(code::DECODE, format!("{text:.64?} is not an address")))
}

/// Options: text, numbers and truths.
fn texts(object: &Object<'_>, key: &str) -> Result<BTreeMap<String, String>, DecodeError> {
    let Some(map) = object.object(key)? else { return Ok(BTreeMap::new()) };
    let mut texts = BTreeMap::new();
    for (name, value) in map.fields() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return Err(map.error(name, "expected a string")),
        };
        texts.insert(name.clone(), text);
    }
    Ok(texts)
}

pub(crate) fn decode(error: DecodeError) -> Failure {
    Failure::new(code::DECODE, error.to_string())
}
