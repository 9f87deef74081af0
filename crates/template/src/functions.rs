//! The functions a template may call: Go's built-ins and Docker's additions.

use std::cmp::Ordering;

use serde_json::Value;

use super::eval::truth;
use super::print;
use super::printf::printf;

const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "slice", "split", "table", "title", "truncate", "upper",
    "urlquery",
];

/// The most that `pad` adds.
const MAX_PAD: usize = 4096;

pub fn known(name: &str) -> bool {
    NAMES.contains(&name)
}

pub fn call(name: &str, args: Vec<Value>) -> Result<Value, String> {
    let text = |at: usize| args.get(at).map(print::display).ok_or_else(|| wrong_count(at + 1, args.len()));
    Ok(match name {
        "json" => {
            let value = args.first().ok_or_else(|| wrong_count(1, 0))?;
            Value::String(serde_json::to_string(value).map_err(|e| e.to_string())?)
        }
        "lower" => Value::String(text(0)?.to_lowercase()),
        "upper" => Value::String(text(0)?.to_uppercase()),
        "title" => Value::String(title(&text(0)?)),
        "table" => Value::String(text(0)?),
        "join" => match args.first() {
            Some(Value::Array(items)) => {
                Value::String(items.iter().map(print::display).collect::<Vec<_>>().join(&text(1)?))
            }
            Some(Value::Null) => Value::String(String::new()),
            _ => return Err("wrong type for value; expected []string".to_owned()),
        },
        "split" => {
            let (subject, separator) = (text(0)?, text(1)?);
            if separator.is_empty() {
                Value::Array(subject.chars().map(|c| Value::String(c.to_string())).collect())
            } else {
                Value::Array(subject.split(separator.as_str()).map(Value::from).collect())
            }
        }
        "pad" => {
            let subject = text(0)?;
            if subject.is_empty() {
                Value::String(subject)
            } else {
                let spaces = |at| number(&args, at).map(|n| " ".repeat(n.min(MAX_PAD)));
                Value::String(format!("{}{subject}{}", spaces(1)?, spaces(2)?))
            }
        }
        "truncate" => Value::String(text(0)?.chars().take(number(&args, 1)?).collect()),
        "len" => Value::from(match args.first() {
            Some(Value::String(s)) => s.len(),
            Some(Value::Array(a)) => a.len(),
            Some(Value::Object(o)) => o.len(),
            Some(Value::Null) => 0,
            Some(other) => return Err(format!("len of type {}", print::type_name(other))),
            None => return Err(wrong_count(1, 0)),
        }),
        "index" => index(&args)?,
        "slice" => slice(&args)?,
        "not" => Value::Bool(!truth(args.first().ok_or_else(|| wrong_count(1, 0))?)),
        "and" | "or" => args.into_iter().next_back().unwrap_or(Value::Null),
        "eq" => {
            let (first, rest) = args.split_first().ok_or_else(|| wrong_count(1, 0))?;
            if rest.is_empty() {
                return Err("missing argument for comparison".to_owned());
            }
            let mut equal = false;
            for other in rest {
                equal |= same(first, other)?;
            }
            Value::Bool(equal)
        }
        "ne" => Value::Bool(!same(two(&args)?.0, two(&args)?.1)?),
        "lt" => Value::Bool(order(&args)? == Ordering::Less),
        "le" => Value::Bool(order(&args)? != Ordering::Greater),
        "gt" => Value::Bool(order(&args)? == Ordering::Greater),
        "ge" => Value::Bool(order(&args)? != Ordering::Less),
        "print" => Value::String(go_print(&args)),
        "println" => Value::String(args.iter().map(print::display).collect::<Vec<_>>().join(" ") + "\n"),
        "printf" => Value::String(printf(&text(0)?, args.get(1..).unwrap_or_default())),
        "html" => Value::String(html(&go_print(&args))),
        "js" => {
            Value::String(go_print(&args).replace('\\', "\\\\").replace('\'', "\\'").replace('"', "\\\""))
        }
        "urlquery" => Value::String(encode_query(&go_print(&args))),
        other => return Err(format!("function {other:?} not defined")),
    })
}

fn wrong_count(want: usize, got: usize) -> String {
    format!("wrong number of args: want {want} got {got}")
}

fn two(args: &[Value]) -> Result<(&Value, &Value), String> {
    match args {
        [a, b] => Ok((a, b)),
        _ => Err(wrong_count(2, args.len())),
    }
}

fn number(args: &[Value], at: usize) -> Result<usize, String> {
    args.get(at)
        .and_then(Value::as_u64)
        .and_then(|n| usize::try_from(n).ok())
        .ok_or_else(|| "wrong type for value; expected int".to_owned())
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let out = if start { c.to_uppercase().next().unwrap_or(c) } else { c };
            start = !(c.is_alphanumeric() || c == '_' || c == '\'');
            out
        })
        .collect()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// `fmt.Sprint`: a space between operands when neither is a string.
fn go_print(args: &[Value]) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for (i, value) in args.iter().enumerate() {
        let is_text = value.is_string();
        if i > 0 && !is_text && !after_text {
            out.push(' ');
        }
        out.push_str(&print::display(value));
        after_text = is_text;
    }
    out
}

fn index(args: &[Value]) -> Result<Value, String> {
    let (mut at, keys) = args.split_first().ok_or_else(|| wrong_count(1, 0))?;
    for key in keys {
        at = match (at, key) {
            (Value::Object(map), Value::String(key)) => match map.get(key) {
                Some(value) => value,
                // As in Go, the zero value of a map of strings.
                None if map.values().all(Value::is_string) => return Ok(Value::String(String::new())),
                None => return Ok(Value::Null),
            },
            (Value::Array(items), Value::Number(n)) => {
                let wanted = n.as_i64().unwrap_or(-1);
                usize::try_from(wanted)
                    .ok()
                    .and_then(|i| items.get(i))
                    .ok_or_else(|| format!("error calling index: index out of range: {wanted}"))?
            }
            (Value::Null, _) => return Err("index of untyped nil".to_owned()),
            (other, key) => {
                return Err(format!(
                    "can't index item of type {} with {}",
                    print::type_name(other),
                    print::type_name(key)
                ));
            }
        };
    }
    Ok(at.clone())
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let subject = args.first().ok_or_else(|| wrong_count(1, 0))?;
    let length = match subject {
        Value::String(s) => s.len(),
        Value::Array(a) => a.len(),
        other => return Err(format!("can't slice item of type {}", print::type_name(other))),
    };
    let from = if args.len() > 1 { number(args, 1)? } else { 0 };
    let to = if args.len() > 2 { number(args, 2)? } else { length };
    let out_of_range = || format!("index out of range: {to}");
    Ok(match subject {
        Value::String(s) => Value::from(s.get(from..to).ok_or_else(out_of_range)?),
        Value::Array(a) => Value::Array(a.get(from..to).ok_or_else(out_of_range)?.to_vec()),
        _ => Value::Null,
    })
}

fn same(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Ok(a.as_f64() == b.as_f64()),
        (Value::Null, _) | (_, Value::Null) => Ok(a == b),
        _ if std::mem::discriminant(a) == std::mem::discriminant(b) => Ok(a == b),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn order(args: &[Value]) -> Result<Ordering, String> {
    match two(args)? {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().partial_cmp(&b.as_f64()).ok_or_else(|| "incomparable numbers".to_owned())
        }
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

/// Escapes a query value, a space as `+`.
fn encode_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => out += &format!("%{byte:02X}"),
        }
    }
    out
}
