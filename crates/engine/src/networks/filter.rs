//! Which networks to list and to prune.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Network;
use crate::EngineError;

/// Which networks to list. Values of one key are alternatives, except labels, which must all be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    /// Only those in which nobody is, or only those in which somebody is.
    pub dangling: Option<bool>,
    /// Drivers' names.
    pub drivers: Vec<String>,
    /// Regular expressions that match somewhere in the id.
    pub ids: Vec<String>,
    /// `key` or `key=value`.
    pub labels: Vec<String>,
    /// Regular expressions that match somewhere in the name.
    pub names: Vec<String>,
    /// `local`, `global`, `swarm`.
    pub scopes: Vec<String>,
    /// `custom` or `builtin`: whether the predefined ones are meant.
    pub predefined: Option<bool>,
}

impl Filters {
    /// Builds them from Docker's `filters` query; an unknown key is refused.
    pub fn new(filters: &BTreeMap<String, Vec<String>>) -> Result<Self, EngineError> {
        let mut parsed = Self::default();
        for (key, values) in filters {
            match key.as_str() {
                "dangling" => parsed.dangling = crate::volumes::truth(key, values)?,
                "driver" => parsed.drivers = values.clone(),
                "id" => parsed.ids = values.clone(),
                "label" => parsed.labels = values.clone(),
                "name" => parsed.names = values.clone(),
                "scope" => parsed.scopes = values.clone(),
                "type" => parsed.predefined = kind(values)?,
                _ => return Err(EngineError::invalid(format!("invalid filter '{key}'"))),
            }
        }
        Ok(parsed)
    }

    /// Whether a network passes.
    pub fn pass(&self, network: &Network) -> bool {
        let any = |wanted: &[String], holds: &dyn Fn(&String) -> bool| {
            wanted.is_empty() || wanted.iter().any(holds)
        };
        let scope = match network.scope {
            pintle_contract::Scope::Local => "local",
            pintle_contract::Scope::Global => "global",
        };
        let unused = !network.predefined && network.endpoints.is_empty();
        self.dangling.is_none_or(|dangling| dangling == unused)
            && any(&self.drivers, &|driver| *driver == network.driver)
            && any(&self.ids, &|pattern| matches(pattern, &network.id))
            && any(&self.names, &|pattern| matches(pattern, &network.name))
            && any(&self.scopes, &|wanted| wanted == scope)
            && self.predefined.is_none_or(|predefined| predefined == network.predefined)
            && self.labels.iter().all(|wanted| crate::volumes::has_label(&network.labels, wanted))
    }
}

/// `builtin` is the three predefined networks, `custom` all others; both together, or neither, is every one.
fn kind(values: &[String]) -> Result<Option<bool>, EngineError> {
    let mut kind = None;
    for (index, value) in values.iter().enumerate() {
        let builtin = match value.as_str() {
            "builtin" => true,
            "custom" => false,
            other => return Err(EngineError::invalid(format!("invalid filter: 'type'='{other}'"))),
        };
        kind = (index == 0 || kind == Some(builtin)).then_some(builtin);
    }
    Ok(kind)
}

fn matches(pattern: &str, text: &str) -> bool {
    text == pattern || regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

/// Which unused networks to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneFilters {
    /// Labels that must all be there, `key` or `key=value`.
    pub labels: Vec<String>,
    /// Labels of which none may be there.
    pub without_labels: Vec<String>,
    /// Only networks made before.
    pub until: Option<DateTime<Utc>>,
}

impl PruneFilters {
    /// Builds them from Docker's `filters` query; an unknown key is refused.
    pub fn new(filters: &BTreeMap<String, Vec<String>>) -> Result<Self, EngineError> {
        let mut parsed = Self::default();
        for (key, values) in filters {
            match key.as_str() {
                "label" => parsed.labels = values.clone(),
                "label!" => parsed.without_labels = values.clone(),
                "until" => match values.as_slice() {
                    [] => {}
                    [instant] => parsed.until = Some(crate::containers::until(instant, Utc::now())?),
                    _ => return Err(EngineError::invalid("more than one until filter specified")),
                },
                _ => return Err(EngineError::invalid(format!("invalid filter '{key}'"))),
            }
        }
        Ok(parsed)
    }

    /// Whether a network that nobody uses is to go.
    pub fn pass(&self, network: &Network) -> bool {
        self.until.is_none_or(|until| network.created < until)
            && self.labels.iter().all(|wanted| crate::volumes::has_label(&network.labels, wanted))
            && !self.without_labels.iter().any(|label| crate::volumes::has_label(&network.labels, label))
    }
}
