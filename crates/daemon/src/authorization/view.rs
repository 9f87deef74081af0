//! A request and an answer, as authorizers are shown them.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use pintle_contract::authorization::{Body, Peer, Request};

use crate::{http::Call, identity::Client, peer::Process};

/// What Docker never shows, and what Go's server takes out of the headers of a request.
const UNSEEN: [&str; 5] =
    ["authorization", "x-registry-auth", "x-registry-config", "host", "transfer-encoding"];

/// The request.
pub(super) fn request(call: &Call, body: Body, client: &Client) -> Request {
    let head = &call.head;
    let mut headers = headers(&head.headers);
    if call.offer.was_added() {
        headers.remove("Upgrade");
    }
    let account = head.peer.account();
    Request {
        user: client.user.clone(),
        authentication: client.authentication.to_owned(),
        method: head.method.to_string(),
        uri: head.uri.to_string(),
        headers,
        body,
        peer_certificates: head.peer.certificates.clone(),
        peer: head.peer.process.zip(account).map(|(Process { uid, gid, pid }, account)| Peer {
            uid,
            name: account.name.clone(),
            gid,
            pid,
            executable: account.executable.clone(),
        }),
        context: None,
    }
}

/// Headers in Go's spelling, the last value of each.
pub(super) fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let seen = headers.iter().filter(|(name, _)| !UNSEEN.contains(&name.as_str()));
    seen.map(|(name, value)| (spelled(name), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

/// `content-type` as `Content-Type`.
fn spelled(name: &HeaderName) -> String {
    let mut upper = true;
    let letter = |letter: char| {
        let spelled = if upper { letter.to_ascii_uppercase() } else { letter };
        upper = letter == '-';
        spelled
    };
    name.as_str().chars().map(letter).collect()
}

/// A header's text, empty if there is none.
pub(super) fn header(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn headers_are_as_go_has_them_without_credentials() {
        let mut map = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("x-meta", "first"),
            ("x-meta", "last"),
            ("authorization", "Bearer secret"),
            ("x-registry-auth", "secret"),
            ("x-registry-config", "secret"),
            ("host", "docker"),
            ("transfer-encoding", "chunked"),
        ] {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let shown = headers(&map);
        let expected = [("Content-Type", "application/json"), ("X-Meta", "last")];
        assert_eq!(shown.len(), expected.len(), "{shown:?}");
        assert!(expected.iter().all(|(name, value)| shown[*name] == *value), "{shown:?}");
    }
}
