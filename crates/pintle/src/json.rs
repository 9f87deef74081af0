//! Reading the engine's documents: they come from engines of any age, so a missing key is an empty value.

use serde_json::Value;

/// Lenient access to a JSON object.
pub trait Fields {
    /// The text at `key`, or "".
    fn text(&self, key: &str) -> &str;
    /// The number at `key`, or 0.
    fn number(&self, key: &str) -> i64;
    /// The boolean at `key`, or false.
    fn flag(&self, key: &str) -> bool;
    /// The list at `key`, or nothing.
    fn list(&self, key: &str) -> &[Value];
    /// The value at `key`, or null.
    fn at(&self, key: &str) -> &Value;
    /// The list of texts at `key`.
    fn texts(&self, key: &str) -> Vec<String> {
        self.list(key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }
    /// `k=v,k=v` of the object at `key`, sorted.
    fn pairs(&self, key: &str) -> String;
}

static NULL: Value = Value::Null;

impl Fields for Value {
    fn text(&self, key: &str) -> &str {
        self.at(key).as_str().unwrap_or("")
    }

    fn number(&self, key: &str) -> i64 {
        let value = self.at(key);
        #[expect(clippy::cast_possible_truncation, reason = "engines send whole numbers here")]
        value.as_i64().or_else(|| value.as_f64().map(|f| f as i64)).unwrap_or(0)
    }

    fn flag(&self, key: &str) -> bool {
        self.at(key).as_bool().unwrap_or(false)
    }

    fn list(&self, key: &str) -> &[Value] {
        self.at(key).as_array().map(Vec::as_slice).unwrap_or_default()
    }

    fn at(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }

    fn pairs(&self, key: &str) -> String {
        let mut pairs: Vec<String> = self
            .at(key)
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
            .collect();
        pairs.sort();
        pairs.join(",")
    }
}
