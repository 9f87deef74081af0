//! Free-form values and JSON.

use pintle_contract::Value as Free;
use serde_json::Value;

/// A free-form value as JSON. A number that JSON cannot hold becomes `null`.
pub fn to_json(value: &Free) -> Value {
    match value {
        Free::Null => Value::Null,
        Free::Bool(truth) => (*truth).into(),
        Free::Int(number) => (*number).into(),
        Free::Float(number) => (*number).into(),
        Free::String(text) => text.clone().into(),
        Free::List(items) => items.iter().map(to_json).collect(),
        Free::Map(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), to_json(value))).collect())
        }
    }
}

/// JSON as a free-form value.
pub fn from_json(value: &Value) -> Free {
    match value {
        Value::Null => Free::Null,
        Value::Bool(truth) => Free::Bool(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Free::Int(whole),
            None => Free::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Free::String(text.clone()),
        Value::Array(items) => Free::List(items.iter().map(from_json).collect()),
        Value::Object(map) => {
            Free::Map(map.iter().map(|(key, value)| (key.clone(), from_json(value))).collect())
        }
    }
}

/// A message: one line.
pub(crate) fn line(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}
