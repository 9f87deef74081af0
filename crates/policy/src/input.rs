//! What a policy sees of a request: the names of Open Policy Agent's plugin for Docker, and a few more.
//!
//! | name | what |
//! |---|---|
//! | `Method`, `Path`, `PathPlain`, `PathArr`, `Query` | the target as it was sent; its path without the query, and cut at slashes; the parameters, each a list |
//! | `Headers`, `Body` | without credentials; a body that is JSON, else null. What is null in it is left out: to Docker it is the same |
//! | `User`, `AuthMethod` | the name in the client's certificate, and `TLS` |
//! | `BindMounts` | of a container that is created: `Source`, `ReadOnly`, and `Resolved`, where links lead to on this host |
//! | `Route` | the path without the API's version: `/containers/create`. Not OPA's |
//! | `Peer` | on a unix socket `Uid`, `Gid`, `Pid`, `Name` and `Executable`; else null. Not OPA's |
//! | `Context` | what the engine knows besides ([`pintle_wire::authorization::context`]); null under an engine that does not tell. Not OPA's |
//! | `Recent` | how much this user asked before this request ([`crate::recent`]). Not OPA's |
//! | `Response` | of an answer: `Status`, `Headers`, `Body` |

use std::path::Path;

use pintle_contract::{
    authorization::{Answer, Bind, Body, Request},
    path::clean,
};
use pintle_wire::authorization::{context, peer};
use serde_json::{Map, Value, json};

use crate::recent::Recent;

/// What is asked about a request.
pub fn of_request(request: &Request, recent: Recent) -> Value {
    let (path, query) = request.uri.split_once('?').unwrap_or((&request.uri, ""));
    let path = decoded(path, false);
    let body = without_nulls(parsed(&request.body));
    let binds = match &request.context {
        Some(context) => context.binds.clone(),
        None => binds(&body),
    };
    let binds: Vec<_> = binds.iter().map(mount).collect();
    json!({
        "Method": request.method,
        "Path": request.uri,
        "PathPlain": path,
        "PathArr": path.split('/').collect::<Vec<_>>(),
        "Query": parameters(query),
        "Headers": request.headers,
        "User": request.user,
        "AuthMethod": request.authentication,
        "BindMounts": binds,
        "Body": body,
        "Route": route(&path),
        "Peer": request.peer.as_ref().map(peer),
        "Context": context(request),
        "Recent": recent.to_value(),
    })
}

/// What is asked about an answer.
pub fn of_answer(request: &Request, answer: &Answer) -> Value {
    let mut input = of_request(request, Recent::default());
    let response = json!({
        "Status": answer.status,
        "Headers": answer.headers,
        "Body": without_nulls(parsed(&answer.body)),
    });
    if let Value::Object(input) = &mut input {
        input.insert("Response".to_owned(), response);
    }
    input
}

/// A body that is JSON, else null.
pub(crate) fn parsed(body: &Body) -> Value {
    serde_json::from_slice(body.shown()).unwrap_or(Value::Null)
}

/// Clients write null for an empty list, which rules would have to tell from a list each time.
fn without_nulls(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(|value| *value = without_nulls(value.take()));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| *value = without_nulls(value.take())),
        _ => {}
    }
    value
}

/// The path without `/v1.41`.
fn route(path: &str) -> &str {
    let is_version = |step: &str| step.chars().all(|c| c.is_ascii_digit() || c == '.');
    match path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
        Some((version, rest)) if is_version(version) => {
            path.get(path.len() - rest.len() - 1..).unwrap_or(path)
        }
        _ => path,
    }
}

fn parameters(query: &str) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let values = all.entry(decoded(key, true)).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(decoded(value, true).into());
        }
    }
    Value::Object(all)
}

/// Without escapes; a plus is a space in a query.
fn decoded(text: &str, in_query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| after.split_at_checked(2)).flatten();
        let code = escaped.and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits)
                .ok()
                .filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        match code {
            Some((code, after)) => {
                bytes.push(code);
                rest = after;
            }
            None => {
                bytes.push(if in_query && byte == b'+' { b' ' } else { byte });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The host's paths that a container gets that is created by this body, and where they lead to now.
pub fn binds(body: &Value) -> Vec<Bind> {
    let host = &body["HostConfig"];
    let list = |list: &'static str| host[list].as_array().into_iter().flatten();
    let binds = list("Binds").filter_map(|bind| {
        let mut parts = bind.as_str()?.split(':');
        let source = clean(parts.next().filter(|source| source.starts_with('/'))?);
        let read_only = parts.nth(1).is_some_and(|options| options.split(',').any(|option| option == "ro"));
        Some((source, read_only))
    });
    let mounts = list("Mounts").filter_map(|entry| {
        let source = clean(entry["Source"].as_str().filter(|_| entry["Type"] == "bind")?);
        Some((source, entry["ReadOnly"] == true))
    });
    let bind = |(source, read_only): (String, bool)| Bind {
        resolved: resolved(Path::new(&source)).unwrap_or_default(),
        source,
        read_only,
    };
    binds.chain(mounts).map(bind).collect()
}

/// What does not exist yet is where its nearest parent that does would have it.
fn resolved(path: &Path) -> Option<String> {
    let found = path.ancestors().find_map(|parent| {
        let found = parent.canonicalize().ok()?;
        Some(path.strip_prefix(parent).map_or(found.clone(), |rest| found.join(rest)))
    })?;
    let found = found.to_string_lossy().trim_end_matches('/').to_owned();
    Some(if found.is_empty() { "/".to_owned() } else { found })
}

fn mount(bind: &Bind) -> Value {
    json!({ "Source": bind.source, "ReadOnly": bind.read_only, "Resolved": bind.resolved })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_seen_as_opas_plugin_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let body = json!({"Image": "x", "HostConfig": {
            "Binds": [format!("{}:/d:ro,z", link.display()), "volume:/v"],
            "Mounts": [{"Type": "bind", "Source": format!("{}/new/dir", link.display()), "Target": "/t"}, {"Type": "volume", "Source": "v"}]
        }});
        let request = Request {
            method: "POST".to_owned(),
            uri: "/v1.41/containers/create?name=a%2Fb&x=1+2&x=3".to_owned(),
            body: Body::Shown(body.to_string().into_bytes()),
            ..Request::default()
        };
        let input = of_request(&request, Recent::default());
        assert_eq!(input["PathArr"], json!(["", "v1.41", "containers", "create"]));
        assert_eq!(input["Query"], json!({"name": ["a/b"], "x": ["1 2", "3"]}));
        assert_eq!((&input["Route"], &input["Body"]["Image"]), (&json!("/containers/create"), &json!("x")));
        assert_eq!(
            input["BindMounts"],
            json!([
                {"Source": link, "ReadOnly": true, "Resolved": real},
                {"Source": format!("{}/new/dir", link.display()), "ReadOnly": false, "Resolved": real.join("new/dir")}
            ])
        );
        let archive = Request {
            body: Body::Withheld { media_type: "application/x-tar".to_owned(), length: None },
            ..Request::default()
        };
        assert_eq!(of_request(&archive, Recent::default())["Body"], Value::Null);
        assert_eq!(route("/volumes/v1.41/x"), "/volumes/v1.41/x");
    }

    proptest! {
        #[test]
        fn hostile_targets_and_bodies_never_panic(uri in ".{0,60}", body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let request = Request { uri, body: Body::Shown(body), ..Request::default() };
            let _ = of_request(&request, Recent::default());
        }
    }
}
