//! Values as Go's `fmt.Print` shows them.

use serde_json::Value;

/// A value on its own.
pub fn display(value: &Value) -> String {
    let mut out = String::new();
    append(&mut out, value);
    out
}

/// Adds `value` to `out`; a top-level null is `<no value>`, inside a collection `<nil>`.
pub fn append(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<no value>"),
        other => inner(out, other),
    }
}

fn inner(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => out.push_str(&n.to_string()),
        Value::String(s) => out.push_str(s),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                inner(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            out.push_str("map[");
            for (i, (key, item)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                inner(out, item);
            }
            out.push(']');
        }
    }
}

/// The word for a value's type in an error.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
