//! An authorization plugin: a text file says who may do what.
//!
//! Each line is `WHO METHOD PATH`; `*` stands for anything. Whoever no line fits is denied. `WHO` is the common name of a
//! client's certificate, or `-` where there is none, as on the unix socket. Of a path, version and query are left out.

use std::{env, fs, path::PathBuf, process::ExitCode};

use pintle_sdk::{
    Authorizer, DriverError, async_trait,
    authorization::{Request, Verdict},
};

struct Roles {
    file: PathBuf,
}

#[async_trait]
impl Authorizer for Roles {
    async fn authorize_request(&self, request: &Request) -> Result<Verdict, DriverError> {
        // Read anew for each request: an edit counts at once, and a file that cannot be read lets nobody in.
        let text = fs::read_to_string(&self.file)?;
        let who = if request.user.is_empty() { "-" } else { &request.user };
        let asked = [who, &request.method, path(&request.uri)];
        for line in text.lines() {
            let words: Vec<_> = line.split('#').next().unwrap_or("").split_whitespace().collect();
            match words[..] {
                [] => {}
                [one, two, three] => {
                    if asked.iter().zip([one, two, three]).all(|(text, pattern)| fits(pattern, text)) {
                        return Ok(Verdict::allow());
                    }
                }
                _ => return Err(DriverError::internal(format!("{line:?} is not WHO METHOD PATH"))),
            }
        }
        Ok(Verdict::deny(format!("no role lets {who} {} {}", asked[1], asked[2])))
    }
}

/// `/volumes/data` of `/v1.41/volumes/data?force=1`.
fn path(uri: &str) -> &str {
    let path = uri.split('?').next().unwrap_or(uri);
    let is_version = |step: &str| step.chars().all(|c| c.is_ascii_digit() || c == '.');
    match path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
        Some((version, rest)) if is_version(version) => &path[path.len() - rest.len() - 1..],
        _ => path,
    }
}

/// Whether all of `text` is what `pattern` says.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            rest.is_empty() || ends.into_iter().any(|at| fits(rest, &text[at..]))
        }),
    }
}

fn main() -> ExitCode {
    let name = env::var("PLUGIN_NAME").unwrap_or_else(|_| "authz-roles".to_owned());
    let file = PathBuf::from(env::var_os("ROLES").unwrap_or_else(|| "/etc/authz-roles".into()));
    pintle_sdk::run(async move { Ok(pintle_sdk::serve_authorization(&name, Roles { file }).await?) })
}
