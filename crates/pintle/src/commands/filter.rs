//! `--filter key=value`, as the engine wants it.

use anyhow::{Result, bail};
use serde_json::{Map, Value};

/// The `filters` parameter; `None` without filters.
pub fn encode(filters: &[String]) -> Result<Option<String>> {
    let mut out = Map::new();
    for filter in filters.iter().filter(|f| !f.trim().is_empty()) {
        let Some((key, value)) = filter.split_once('=') else {
            bail!(
                "invalid argument {filter:?} for \"-f, --filter\" flag: bad format of filter (expected name=value)"
            );
        };
        let key = key.trim().to_lowercase();
        let values = out.entry(key).or_insert_with(|| Value::Object(Map::new()));
        if let Some(values) = values.as_object_mut() {
            values.insert(value.trim().to_owned(), Value::Bool(true));
        }
    }
    Ok((!out.is_empty()).then(|| Value::Object(out).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let given = ["label=a=b".to_owned(), "Status=exited".to_owned(), "status=created".to_owned()];
        assert_eq!(
            encode(&given).unwrap().unwrap(),
            r#"{"label":{"a=b":true},"status":{"exited":true,"created":true}}"#
        );
        assert_eq!(encode(&[]).unwrap(), None);
        assert!(encode(&["nope".to_owned()]).is_err());
    }
}
