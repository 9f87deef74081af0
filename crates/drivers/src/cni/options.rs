//! What users say with `-o` and `--driver-opt`, and what plugins are told of it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use pintle_contract::{
    DriverError, Value,
    network::{IpamData, Options, PortBinding, label},
};
use pintle_wire::cni::{Invocation, NetworkConfig};
use serde_json::{Map, json};

const CONFIG: &str = "config";
const ARGS: &str = "args.";
const CAPABILITY: &str = "capability.";
/// What the engine says itself stands under names of this kind.
const ENGINES: &str = "com.docker.";

/// A network's options, or an endpoint's.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Words {
    /// The configuration's name.
    pub(super) config: Option<String>,
    /// For `CNI_ARGS`.
    pub(super) args: Vec<(String, String)>,
    /// For `runtimeConfig`.
    pub(super) capabilities: Map<String, serde_json::Value>,
}

impl Words {
    /// Reads options as typed: `config=NAME`, `args.KEY=TEXT`, `capability.NAME=JSON`, and
    /// `capability.NAME.FIELD=JSON` for fields of objects. Text that is not JSON is text.
    pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Self, DriverError> {
        let mut words = Self::default();
        for (key, text) in options {
            if let Some(name) = key.strip_prefix(ARGS) {
                let pair = format!("{name}={text}");
                let args = Invocation::parse_args(&pair).ok().filter(|args| args.len() == 1);
                let wrong = || {
                    DriverError::invalid(format!(
                        "option {key:.64}: neither name nor text may have '=' or ';'"
                    ))
                };
                words.args.extend(args.ok_or_else(wrong)?);
            } else if let Some(path) = key.strip_prefix(CAPABILITY) {
                put(&mut words.capabilities, key, path, read(text))?;
            } else if key == CONFIG {
                words.config = Some(text.clone());
            } else if !key.starts_with(ENGINES) {
                return Err(DriverError::invalid(format!(
                    "unknown option {key:.64} for driver cni: there are {CONFIG}, {ARGS}KEY, {CAPABILITY}NAME and \
                     {CAPABILITY}NAME.FIELD"
                )));
            }
        }
        Ok(words)
    }

    /// These, with those of an endpoint, which count for more.
    pub(super) fn with(&self, endpoint: &Self) -> Self {
        let mut both = self.clone();
        both.args.retain(|(key, _)| !endpoint.args.iter().any(|(other, _)| other == key));
        both.args.extend(endpoint.args.iter().cloned());
        for (name, value) in &endpoint.capabilities {
            merge(both.capabilities.entry(name).or_insert(serde_json::Value::Null), value);
        }
        both
    }
}

fn read(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn put(
    object: &mut Map<String, serde_json::Value>,
    key: &str,
    path: &str,
    value: serde_json::Value,
) -> Result<(), DriverError> {
    let wrong = |what: &str| Err(DriverError::invalid(format!("option {key:.64}: {what}")));
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    if name.is_empty() {
        return wrong("a name is missing");
    }
    let Some(rest) = rest else {
        object.insert(name.to_owned(), value);
        return Ok(());
    };
    match object.entry(name).or_insert_with(|| json!({})) {
        serde_json::Value::Object(inner) => put(inner, key, rest, value),
        _ => wrong("it is said to be no object elsewhere"),
    }
}

fn merge(own: &mut serde_json::Value, other: &serde_json::Value) {
    match (own, other) {
        (serde_json::Value::Object(own), serde_json::Value::Object(other)) => {
            for (name, value) in other {
                merge(own.entry(name).or_insert(serde_json::Value::Null), value);
            }
        }
        (own, other) => *own = other.clone(),
    }
}

/// Only texts: options of endpoints stand beside what the engine says.
pub(super) fn texts(options: &Options) -> BTreeMap<String, String> {
    let text = |(key, value): (&String, &Value)| match value {
        Value::String(text) => Some((key.clone(), text.clone())),
        Value::Int(number) => Some((key.clone(), number.to_string())),
        Value::Bool(truth) => Some((key.clone(), truth.to_string())),
        _ => None,
    };
    options.iter().filter_map(text).collect()
}

/// A list of texts among the options.
pub(super) fn list(options: &Options, key: &str) -> Vec<String> {
    let Some(Value::List(list)) = options.get(key) else { return Vec::new() };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    list.iter().filter_map(text).collect()
}

/// What is said of an attachment under the names of CNI's conventions. Each plugin is told what it declares.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    pub(super) ports: &'a [PortBinding],
    pub(super) mac: Option<String>,
    pub(super) addresses: Vec<IpNet>,
    pub(super) pools: Vec<&'a IpamData>,
    pub(super) aliases: Vec<String>,
    pub(super) dns_servers: Vec<String>,
}

impl Said<'_> {
    /// Adds to `words` what the user said in Docker's own ways. An address or a MAC address that no plugin takes as a
    /// capability goes the old way, into `CNI_ARGS`.
    pub(super) fn join(&self, words: &mut Words, config: &NetworkConfig) {
        let mut put = |name: &str, empty: bool, value: serde_json::Value| {
            let takes = config.takes(name);
            if !empty && takes {
                words.capabilities.insert(name.to_owned(), value);
            }
            takes
        };
        put("portMappings", self.ports.is_empty(), self.ports.iter().map(mapping).collect());
        put("aliases", self.aliases.is_empty(), json!(self.aliases));
        put("ipRanges", self.pools.is_empty(), self.pools.iter().filter_map(|pool| range(pool)).collect());
        let addresses: Vec<String> = self.addresses.iter().map(|address| plain(*address)).collect();
        let takes_ips = put("ips", addresses.is_empty(), json!(addresses));
        let takes_mac = put("mac", self.mac.is_none(), json!(self.mac));
        if !self.dns_servers.is_empty() && config.takes("dns") {
            let dns = words.capabilities.entry("dns").or_insert_with(|| json!({}));
            merge(dns, &json!({"servers": self.dns_servers}));
        }
        let old = [
            ("IP", addresses.first().filter(|_| !takes_ips).cloned()),
            ("MAC", self.mac.clone().filter(|_| !takes_mac)),
        ];
        for (key, text) in old.into_iter().filter_map(|(key, text)| Some((key, text?))) {
            for (key, text) in [(key, text.as_str()), ("IgnoreUnknown", "1")] {
                if !words.args.iter().any(|(known, _)| known == key) {
                    words.args.push((key.to_owned(), text.to_owned()));
                }
            }
        }
    }
}

/// An address outside every subnet has the length of a host, and then says nothing of a subnet.
fn plain(address: IpNet) -> String {
    if address.prefix_len() == address.max_prefix_len() {
        address.addr().to_string()
    } else {
        address.to_string()
    }
}

fn mapping(binding: &PortBinding) -> serde_json::Value {
    let mut mapping = json!({
        "hostPort": binding.host_port,
        "containerPort": binding.port,
        "protocol": binding.protocol.name(),
    });
    if let Some(ip) = binding.host_ip {
        mapping["hostIP"] = ip.to_string().into();
    }
    mapping
}

/// One of `host-local`'s ranges: a list of alternatives, here of one.
fn range(pool: &IpamData) -> Option<serde_json::Value> {
    let subnet = pool.pool?.trunc();
    let mut range = json!({"subnet": subnet.to_string()});
    if let Some(part) = pool.sub_pool.map(|part| part.trunc()).filter(|part| *part != subnet) {
        let (first, last) = (part.hosts().next()?, part.hosts().last()?);
        range["rangeStart"] = first.to_string().into();
        range["rangeEnd"] = last.to_string().into();
    }
    if let Some(gateway) = pool.gateway {
        range["gateway"] = gateway.addr().to_string().into();
    }
    Some(json!([range]))
}

/// The interface's name, if the user insists on one.
pub(super) fn interface_name(options: &Options) -> Option<String> {
    match options.get(label::IFNAME) {
        Some(Value::String(name)) if !name.is_empty() => Some(name.clone()),
        _ => None,
    }
}
