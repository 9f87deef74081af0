//! What a trail says of a request's body and target: nothing that lets somebody in.

use pintle_contract::authorization::Body;
use serde_json::{Map, Value, json};

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";
/// A longer body is only declared.
const LONGEST: usize = 16 << 10;
/// Keys whose values are secrets, in any case.
const SECRET: [&str; 8] =
    ["auth", "identitytoken", "password", "registrytoken", "secret", "token", "unlockkey", "joinToken"];
/// Lists of `NAME=value`, of which the names stay.
const ENVIRONMENT: [&str; 1] = ["env"];
/// Objects of which the names stay.
const VALUES: [&str; 1] = ["buildargs"];

/// Which keys hold secrets.
#[derive(Debug, Clone, Default)]
pub(super) struct Redaction {
    more: Vec<String>,
}

impl Redaction {
    /// `more` keys besides the usual ones.
    pub(super) fn new(more: &[String]) -> Self {
        Self { more: more.to_vec() }
    }

    fn is_secret(&self, key: &str) -> bool {
        let same = |known: &str| known.eq_ignore_ascii_case(key);
        SECRET.iter().any(|known| same(known)) || self.more.iter().any(|known| same(known))
    }

    /// The body, as far as it may be known.
    pub(super) fn body(&self, body: &Body) -> Value {
        match body {
            Body::Empty => Value::Null,
            Body::Withheld { media_type, length } => json!({ "type": media_type, "length": length }),
            Body::Shown(bytes) if bytes.len() > LONGEST => {
                json!({ "type": "application/json", "length": bytes.len() })
            }
            Body::Shown(bytes) => match serde_json::from_slice(bytes) {
                Ok(value) => self.value(value),
                Err(_) => json!({ "type": "not JSON", "length": bytes.len() }),
            },
        }
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::Object(map) => {
                Value::Object(map.into_iter().map(|(key, value)| self.field(key, value)).collect())
            }
            Value::Array(list) => Value::Array(list.into_iter().map(|value| self.value(value)).collect()),
            other => other,
        }
    }

    fn field(&self, key: String, value: Value) -> (String, Value) {
        let is = |known: &[&str]| known.iter().any(|known| known.eq_ignore_ascii_case(&key));
        let value = match value {
            Value::Null => Value::Null,
            _ if self.is_secret(&key) => REDACTED.into(),
            Value::Array(list) if is(&ENVIRONMENT) => list.iter().map(name_only).collect(),
            Value::Object(map) if is(&VALUES) => names_only(map),
            other => self.value(other),
        };
        (key, value)
    }

    /// The target, without the values of parameters that hold secrets.
    pub(super) fn target(&self, target: &str) -> String {
        let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
        let parameters: Vec<String> = query
            .split('&')
            .map(|parameter| match parameter.split_once('=') {
                // Sources of builds and images are addresses, which may hold passwords.
                Some((key, value))
                    if self.is_secret(key)
                        || matches!(key, "buildargs")
                        || matches!(key, "remote" | "fromSrc") && value.contains('@') =>
                {
                    format!("{key}={REDACTED}")
                }
                _ => parameter.to_owned(),
            })
            .collect();
        format!("{path}?{}", parameters.join("&"))
    }
}

fn name_only(entry: &Value) -> Value {
    match entry.as_str().and_then(|entry| entry.split_once('=')) {
        Some((name, _)) => format!("{name}={REDACTED}").into(),
        None => entry.clone(),
    }
}

fn names_only(map: Map<String, Value>) -> Value {
    Value::Object(map.into_iter().map(|(key, _)| (key, REDACTED.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_and_values_go() {
        let redaction = Redaction::new(&["pin".to_owned()]);
        let body = json!({
            "Image": "x", "Env": ["A=b=c", "ONLY"], "PASSWORD": "p", "HostConfig": {"Pin": 1, "Binds": ["/a:/b"]},
            "list": [{"auth": "a", "IdentityToken": null}]
        });
        assert_eq!(
            redaction.body(&Body::Shown(body.to_string().into_bytes())),
            json!({
                "Image": "x", "Env": ["A=[redacted]", "ONLY"], "PASSWORD": "[redacted]",
                "HostConfig": {"Pin": "[redacted]", "Binds": ["/a:/b"]},
                "list": [{"auth": "[redacted]", "IdentityToken": null}]
            })
        );
        assert_eq!(
            redaction.target("/v1.41/build?t=a&buildargs=%7B%7D&remote=https://u:p@h/&pin=1"),
            "/v1.41/build?t=a&buildargs=[redacted]&remote=[redacted]&pin=[redacted]"
        );
        let long = Body::Shown(vec![b' '; LONGEST + 1]);
        assert_eq!(redaction.body(&long), json!({"type": "application/json", "length": LONGEST + 1}));
    }
}
