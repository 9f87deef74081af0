//! The `filters` query parameter.

use std::collections::{BTreeMap, BTreeSet};

/// What the parameter asks for: for each key the values of which one has to match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

/// Why filters are refused. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterError {
    /// The parameter is not JSON of either form.
    Malformed(String),
    /// The resource has no such filter.
    Unknown(String),
    /// A value of the filter means nothing.
    Value {
        /// The filter.
        key: String,
        /// Its values.
        values: Vec<String>,
    },
}

impl std::fmt::Display for FilterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "invalid filter: {why}"),
            Self::Unknown(key) => write!(f, "invalid filter '{key}'"),
            Self::Value { key, values } => write!(f, "invalid filter '{key}=[{}]'", values.join(" ")),
        }
    }
}

impl std::error::Error for FilterError {}

impl Filters {
    /// Reads `{"key":{"value":true}}` and the older `{"key":["value"]}`. Nothing given is no filter.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Values {
            Set(BTreeMap<String, bool>),
            List(Vec<String>),
            None(()),
        }
        if text.is_empty() {
            return Ok(Self::default());
        }
        let read: Option<BTreeMap<String, Values>> =
            serde_json::from_str(text).map_err(|error| FilterError::Malformed(error.to_string()))?;
        let filters = read.unwrap_or_default().into_iter().map(|(key, values)| {
            let values = match values {
                Values::Set(set) => {
                    set.into_iter().filter(|(_, wanted)| *wanted).map(|(value, _)| value).collect()
                }
                Values::List(list) => list.into_iter().collect(),
                Values::None(()) => BTreeSet::new(),
            };
            (key, values)
        });
        Ok(Self(filters.collect()))
    }

    /// The filters as a client sends them.
    pub fn to_query(&self) -> String {
        let filters: BTreeMap<_, BTreeMap<_, bool>> = self
            .0
            .iter()
            .map(|(key, values)| (key, values.iter().map(|value| (value, true)).collect()))
            .collect();
        serde_json::to_string(&filters).unwrap_or_default()
    }

    /// Adds one.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().insert(value.into());
    }

    /// Refuses every key that is not in `known`.
    pub fn only(&self, known: &[&str]) -> Result<(), FilterError> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(FilterError::Unknown(key.clone())),
            None => Ok(()),
        }
    }

    /// No filter at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the key was given.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The values of `key`.
    pub fn get(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Every key with its values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        self.0.iter().map(|(key, values)| (key.as_str(), values.iter().map(String::as_str)))
    }

    /// `Some(value)` if the key was given and reads as a truth value.
    pub fn truth(&self, key: &str) -> Result<Option<bool>, FilterError> {
        let Some(values) = self.0.get(key) else { return Ok(None) };
        let yes = values.contains("1") || values.contains("true");
        let no = values.contains("0") || values.contains("false");
        match (yes, no) {
            (true, false) => Ok(Some(true)),
            (false, true) => Ok(Some(false)),
            _ => Err(FilterError::Value { key: key.to_owned(), values: values.iter().cloned().collect() }),
        }
    }

    /// Whether `key` was not given or has `value`.
    pub fn admits(&self, key: &str, value: &str) -> bool {
        self.0.get(key).is_none_or(|values| values.is_empty() || values.contains(value))
    }

    /// Whether `labels` has every label (`name` or `name=value`) of `key`.
    pub fn admits_labels(&self, key: &str, labels: &crate::StringMap) -> bool {
        self.get(key).all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_alike() {
        let new = Filters::parse(r#"{"label":{"a=b":true,"c":true},"dangling":{"true":true}}"#).unwrap();
        let old = Filters::parse(r#"{"label":["a=b","c"],"dangling":["true"]}"#).unwrap();
        assert_eq!(new, old);
        assert_eq!(Filters::parse(&new.to_query()).unwrap(), new);
        assert_eq!(new.truth("dangling").unwrap(), Some(true));
        assert_eq!(new.truth("other").unwrap(), None);
    }

    #[test]
    fn labels_must_all_match() {
        let filters = Filters::parse(r#"{"label":["a=b","c"]}"#).unwrap();
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        assert!(filters.admits_labels("label", &labels(&[("a", "b"), ("c", "")])));
        assert!(!filters.admits_labels("label", &labels(&[("a", "x"), ("c", "")])));
        assert!(!filters.admits_labels("label", &labels(&[("a", "b")])));
    }

    #[test]
    fn refusals_read_as_dockers() {
        let filters = Filters::parse(r#"{"nope":["x"],"dangling":["maybe"]}"#).unwrap();
        assert_eq!(filters.only(&["dangling"]).unwrap_err().to_string(), "invalid filter 'nope'");
        assert_eq!(filters.truth("dangling").unwrap_err().to_string(), "invalid filter 'dangling=[maybe]'");
        Filters::parse("[").unwrap_err();
        Filters::parse("7").unwrap_err();
    }
}
