// An authorization plugin: nobody does what DENIED says. It is asked before every request, and again before the answer
// is sent; an error, a panic and no answer all count as a no.

use std::env;
use std::process::ExitCode;

use pintle_sdk::authorization::{Request, Verdict};
use pintle_sdk::{Authorizer, DriverError, async_trait};

// Also called so in config.json, as `interface.socket`. A path to listen on in its place serves for trying it out.
const NAME: &str = "starter";
/// Methods and beginnings of paths, which stand for everything below them.
const DENIED: [(&str, &str); 2] = [("DELETE", "/volumes/"), ("POST", "/volumes/prune")];

struct Driver;

#[async_trait]
impl Authorizer for Driver {
    async fn authorize_request(&self, request: &Request) -> Result<Verdict, DriverError> {
        // Who asks is `request.user`; what the request says is `request.body.shown()`.
        let path = path(&request.uri);
        let is_denied = |(method, place): &(&str, &str)| request.method == *method && path.starts_with(place);
        Ok(match DENIED.iter().any(is_denied) {
            true => Verdict::deny(format!("{} {path} is not for you", request.method)),
            false => Verdict::allow(),
        })
    }
}

/// A target's path, without version and query: `/volumes/data` of `/v1.41/volumes/data?force=1`.
fn path(uri: &str) -> &str {
    let path = uri.split('?').next().unwrap_or(uri);
    let is_version = |step: &str| step.chars().all(|c| c.is_ascii_digit() || c == '.');
    match path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
        Some((version, rest)) if is_version(version) => &path[path.len() - rest.len() - 1..],
        _ => path,
    }
}

fn main() -> ExitCode {
    let name = env::var("PLUGIN_NAME").unwrap_or(NAME.to_owned());
    pintle_sdk::run(async move { Ok(pintle_sdk::serve_authorization(&name, Driver).await?) })
}
