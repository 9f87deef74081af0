//! A network as the engine told of it.

use std::collections::BTreeMap;

use pintle_contract::{
    DriverError, Value,
    network::{CreateNetwork, IpamData, label},
};
use pintle_wire::cni::NetworkConfig;

use super::options::Words;

/// One network.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// The configuration's name.
    pub(super) config: String,
    pub(super) words: Words,
    pub(super) internal: bool,
    pub(super) pools: Vec<IpamData>,
}

impl Network {
    /// Without `-o config=NAME` the configuration is called as the network is.
    pub(super) fn read(request: &CreateNetwork) -> Result<Self, DriverError> {
        let words = Words::parse(&request.generic())?;
        let own = match request.options.get(label::NETWORK_NAME) {
            Some(Value::String(name)) if !name.is_empty() => Some(name.clone()),
            _ => None,
        };
        let config = words.config.clone().filter(|name| !name.is_empty()).or(own).ok_or_else(|| {
            DriverError::invalid("driver cni needs the name of a network configuration: -o config=NAME")
        })?;
        let pools = request.ipv4.iter().chain(&request.ipv6);
        Ok(Self {
            config,
            words,
            internal: request.internal(),
            pools: pools.filter(|data| data.pool.is_some()).cloned().collect(),
        })
    }

    /// Whether the configuration can do what the network asks for.
    pub(super) fn suits(&self, config: &NetworkConfig) -> Result<(), DriverError> {
        if !self.pools.is_empty() && !config.takes("ipRanges") && !config.takes("ips") {
            return Err(DriverError::invalid(format!(
                "the CNI configuration {} has its own subnets: no plugin of it declares the capability \"ipRanges\" or \
                 \"ips\"",
                config.name
            )));
        }
        match self.words.capabilities.keys().find(|name| !config.takes(name)) {
            Some(name) => Err(DriverError::invalid(format!(
                "no plugin of the CNI configuration {} declares the capability {name:.64?}",
                config.name
            ))),
            None => Ok(()),
        }
    }
}

/// The same value, as drivers report values.
pub(super) fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => Value::Bool(*truth),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => Value::String(text.clone()),
        serde_json::Value::Array(list) => Value::List(list.iter().map(value).collect()),
        serde_json::Value::Object(map) => {
            let map: BTreeMap<_, _> = map.iter().map(|(key, one)| (key.clone(), value(one))).collect();
            Value::Map(map)
        }
    }
}
