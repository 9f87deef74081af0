//! The one way to spell a request's target.
//!
//! Authorizers judge the target as it was sent, by its text. What this engine would understand all the same but others
//! may read otherwise is refused: letters of a route that are percent-encoded, an encoded slash that makes another
//! route of a name, a host in the target, a parameter of which there are two.

use std::collections::HashSet;

use http::header;
use pintle_api::ApiVersion;

use crate::{
    http::{Call, query, router::Route},
    status::Failure,
};

/// Parameters of which there may be several. Of all others the first would count.
const REPEATABLE: [&str; 5] = ["changes", "names", "platform", "t", "type"];

/// Refuses a target that is spelled in another way than the one.
pub(super) fn check(call: &Call, route: &Route) -> Result<(), Failure> {
    let head = &call.head;
    let types = head.headers.get_all(header::CONTENT_TYPE).iter().count();
    let query = head.uri.query().unwrap_or("");
    let why = if head.uri.authority().is_some() || head.uri.scheme().is_some() {
        Some("it names a host: send the path alone".to_owned())
    } else if types > 1 {
        Some("it has several Content-Type headers: send one".to_owned())
    } else {
        path(head.uri.path(), route).or_else(|| parameters(query))
    };
    match why {
        None => Ok(()),
        Some(why) => Err(Failure::invalid(format!(
            "the request can be read in two ways, and authorization plugins judge one of them: {why}"
        ))),
    }
}

fn path(raw: &str, route: &Route) -> Option<String> {
    if !is_encoded_well(raw) {
        return Some("the path has escapes that stand for nothing".to_owned());
    }
    let (_, rest) = ApiVersion::of_path(raw);
    if route.is_spelled_by(rest) {
        return None;
    }
    Some(format!("the path must spell {} as it is, without escapes in the fixed parts", route.pattern()))
}

fn parameters(query: &str) -> Option<String> {
    if !is_encoded_well(query) {
        return Some("the query has escapes that stand for nothing".to_owned());
    }
    if query.contains(';') {
        return Some("the query has a bare ';': write %3B".to_owned());
    }
    let mut seen = HashSet::new();
    let keys = query.split('&').filter(|pair| !pair.is_empty());
    let mut keys = keys.map(|pair| query::decode(pair.split('=').next().unwrap_or(""), true));
    let twice = keys.find(|key| !REPEATABLE.contains(&key.as_str()) && !seen.insert(key.clone()))?;
    Some(format!("the parameter {twice:?} comes twice: leave one of them out"))
}

/// Whether every `%` begins an escape, and all of them together are text.
fn is_encoded_well(text: &str) -> bool {
    let mut escapes = text.split('%').skip(1);
    let is_hex = |escape: &str| {
        escape.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    escapes.all(is_hex) && !query::decode(text, false).contains('\u{fffd}')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        app::App,
        http::router::{Outcome, handler, post},
    };

    async fn nothing(_: Arc<App>, _: Call) -> Outcome {
        Err(Failure::not_found(""))
    }

    #[test]
    fn fixed_parts_are_spelled_as_they_are() {
        let create = post("/containers/create", handler!(nothing));
        let start = post("/containers/{}/start", handler!(nothing));
        for (good, route) in [
            ("/containers/create", &create),
            ("/v1.41/containers/create", &create),
            ("/v1.41/containers/a%2Fb%20c/start", &start),
        ] {
            assert_eq!(path(good, route), None, "{good}");
        }
        for (bad, route) in [
            ("/containers/%63reate", &create),
            ("/%76%31.41/containers/create", &create),
            ("/v1%2E41/containers/create", &create),
            ("/containers%2Fcreate", &create),
            ("/containers/x%2Fstart", &start),
            ("/containers/x/%73tart", &start),
            ("/containers/%/start", &start),
            ("/containers/%zz/start", &start),
            ("/containers/%ff/start", &start),
        ] {
            assert!(path(bad, route).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_parameter_comes_once() {
        for good in ["", "a=1&b=2", "names=a&names=b&t=x&t=y", "a=1&&b=%C3%A9+x", "a"] {
            assert_eq!(parameters(good), None, "{good}");
        }
        for bad in ["a=1&a=1", "force=0&f%6frce=1", "a&a", "a=1;b=2", "a=%", "a=%f", "a=%ff", "%zz=1"] {
            assert!(parameters(bad).is_some(), "{bad}");
        }
    }
}
