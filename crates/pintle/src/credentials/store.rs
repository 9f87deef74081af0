//! Credentials of one registry: found, kept, forgotten.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value, json};

use super::ConfigFile;
use super::helper::{self, HelperError};
use crate::json::Fields;

/// The key of Docker Hub in every store.
pub const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The user name that marks a secret as an identity token.
const TOKEN_USER: &str = "<token>";

/// What a registry is shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The registry, as stores know it.
    pub server: String,
    /// User name, empty with an identity token.
    pub username: String,
    /// Password, empty with an identity token.
    pub password: String,
    /// Identity token, if that is what there is.
    pub identity_token: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Secrets have no business in logs.
        f.debug_struct("Credentials").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty() && self.password.is_empty() && self.identity_token.is_empty()
    }

    /// The document that the engine takes.
    pub fn document(&self) -> Value {
        if self.identity_token.is_empty() {
            json!({"username": self.username, "password": self.password, "serveraddress": self.server})
        } else {
            json!({"identitytoken": self.identity_token, "serveraddress": self.server})
        }
    }

    /// The value of `X-Registry-Auth`.
    pub fn header(&self) -> String {
        let document = if self.is_empty() { json!({}) } else { self.document() };
        URL_SAFE.encode(document.to_string())
    }
}

/// The registry that an image or plugin reference names: `docker.io`, `localhost:5000`.
pub fn registry_of(reference: &str) -> String {
    match reference.split_once('/') {
        Some((first, _))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(char::is_uppercase) =>
        {
            if first == "index.docker.io" {
                "docker.io".to_owned()
            } else {
                first.to_owned()
            }
        }
        _ => "docker.io".to_owned(),
    }
}

/// A registry's key in stores.
pub fn server_key(registry: &str) -> String {
    match registry {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" | DOCKER_HUB => DOCKER_HUB.to_owned(),
        other => other.to_owned(),
    }
}

/// The credentials for `registry`, empty if there are none.
pub async fn lookup(config: &ConfigFile, registry: &str) -> Result<Credentials, HelperError> {
    let server = server_key(registry);
    if let Some(found) = entry(environment()?.iter(), &server) {
        return Ok(found);
    }
    let Some(name) = config.helper(&server) else { return Ok(from_file(config, &server)) };
    let text = match helper::run(name, "get", &server).await {
        Ok(text) => text,
        Err(HelperError::NotFound(_)) => return Ok(Credentials { server, ..Credentials::default() }),
        Err(error) => return Err(error),
    };
    let failed = |reason: &str| HelperError::Failed {
        program: format!("docker-credential-{name}"),
        reason: reason.to_owned(),
    };
    let answer: Value =
        serde_json::from_str(&text).map_err(|_| failed("its answer is not the JSON that it owes"))?;
    let (username, secret) = (answer.text("Username").to_owned(), answer.text("Secret").to_owned());
    if username.is_empty() && secret.is_empty() {
        return Err(failed("its answer has neither Username nor Secret"));
    }
    let theirs = answer.text("ServerURL");
    if !theirs.is_empty() && host(theirs) != host(&server) {
        return Err(failed("it answered for another server than it was asked for"));
    }
    Ok(if username == TOKEN_USER {
        Credentials { server, identity_token: secret, ..Credentials::default() }
    } else {
        Credentials { server, username, password: secret, identity_token: String::new() }
    })
}

/// The credentials of every registry that there are any for, as a build needs them whose Dockerfile is not ours to
/// read; and what went wrong on the way, which concerns those registries alone. Each is asked for once.
pub async fn all(config: &ConfigFile) -> (Vec<Credentials>, Vec<HelperError>) {
    let (mut servers, mut failures) = (BTreeSet::new(), Vec::new());
    match environment() {
        Ok(known) => servers.extend(known.keys().cloned()),
        Err(error) => return (Vec::new(), vec![error]),
    }
    servers.extend(config.helped().cloned());
    match config.setting("credsStore") {
        None => servers.extend(config.auths().map(|(server, _)| server.clone())),
        Some(name) => match listed(name).await {
            Ok(known) => servers.extend(known),
            Err(error) => failures.push(error),
        },
    }
    let mut found = Vec::new();
    for server in servers {
        match lookup(config, &server).await {
            Ok(known) if known.is_empty() => {}
            Ok(known) => found.push(known),
            Err(error) => failures.push(error),
        }
    }
    (found, failures)
}

/// What a helper has: it answers `list` with users by server.
async fn listed(name: &str) -> Result<Vec<String>, HelperError> {
    // Docker's own clients write this word, since some helpers wait for input.
    let text = helper::run(name, "list", "unused").await?;
    let users: Map<String, Value> = serde_json::from_str(&text).map_err(|_| HelperError::Failed {
        program: format!("docker-credential-{name}"),
        reason: "its list is not the JSON that it owes".to_owned(),
    })?;
    Ok(users.into_iter().map(|(server, _)| server).collect())
}

/// `DOCKER_AUTH_CONFIG`: `{"auths": {server: {"auth": …}}}`, and nothing else.
fn environment() -> Result<Map<String, Value>, HelperError> {
    match std::env::var("DOCKER_AUTH_CONFIG") {
        Err(std::env::VarError::NotPresent) => Ok(Map::new()),
        Err(error) => Err(HelperError::Environment(error.to_string())),
        Ok(text) if text.trim().is_empty() => Ok(Map::new()),
        Ok(text) => auths(&text).map_err(HelperError::Environment),
    }
}

fn auths(text: &str) -> Result<Map<String, Value>, String> {
    let mut document: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("it is not a JSON object: {error}"))?;
    let known = document.remove("auths").unwrap_or_default();
    if let Some((key, _)) = document.iter().next() {
        return Err(format!("{key:?} has no meaning there"));
    }
    match known {
        Value::Null => Ok(Map::new()),
        Value::Object(known) => Ok(known),
        _ => Err("\"auths\" is not an object".to_owned()),
    }
}

fn from_file(config: &ConfigFile, server: &str) -> Credentials {
    entry(config.auths(), server)
        .unwrap_or_else(|| Credentials { server: server.to_owned(), ..Credentials::default() })
}

fn entry<'a>(entries: impl Iterator<Item = (&'a String, &'a Value)>, server: &str) -> Option<Credentials> {
    let entries: Vec<_> = entries.collect();
    // The exact key, then any old spelling with the same host.
    let (_, found) = entries
        .iter()
        .find(|(key, _)| key.as_str() == server)
        .or_else(|| entries.iter().find(|(key, _)| host(key) == host(server)))?;
    let mut out = Credentials {
        server: server.to_owned(),
        identity_token: found.text("identitytoken").to_owned(),
        ..Credentials::default()
    };
    if let Some((username, password)) = STANDARD
        .decode(found.text("auth"))
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .as_deref()
        .and_then(|text| text.split_once(':'))
    {
        out.username = username.to_owned();
        out.password = password.trim_end_matches('\0').to_owned();
    }
    (!out.is_empty()).then_some(out)
}

/// The host of a key: no scheme, no path.
fn host(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
}

/// Keeps credentials where config.json says; returns the place if it is the file itself, in clear text.
pub async fn save(config: &mut ConfigFile, credentials: &Credentials) -> anyhow::Result<bool> {
    if !config.contains_auth()
        && let Some(name) = default_store()
    {
        config.set_store(name);
    }
    let token = !credentials.identity_token.is_empty();
    let in_clear = match config.helper(&credentials.server).map(str::to_owned) {
        Some(name) => {
            let secret = if token { &credentials.identity_token } else { &credentials.password };
            let user = if token { TOKEN_USER } else { &credentials.username };
            let input =
                json!({"ServerURL": credentials.server, "Username": user, "Secret": secret}).to_string();
            helper::run(&name, "store", &input).await?;
            config.set_auth(&credentials.server, json!({}));
            false
        }
        None => {
            let pair = format!("{}:{}", credentials.username, if token { "" } else { &credentials.password });
            let mut entry = json!({"auth": STANDARD.encode(pair)});
            if token {
                entry["identitytoken"] = Value::from(credentials.identity_token.as_str());
            }
            config.set_auth(&credentials.server, entry);
            true
        }
    };
    config.store()?;
    Ok(in_clear)
}

/// Forgets credentials; whether there were any that we know of.
pub async fn erase(config: &mut ConfigFile, registry: &str) -> anyhow::Result<bool> {
    let server = server_key(registry);
    let helper = config.helper(&server).map(str::to_owned);
    let known = config.remove_auth(&server);
    if let Some(name) = helper {
        match helper::run(&name, "erase", &server).await {
            Ok(_) | Err(HelperError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    config.store()?;
    Ok(known)
}

/// Docker's choice on Linux when nothing is configured: `pass` if it is installed, else the Secret Service, and only
/// if the helper is there.
fn default_store() -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has_pass = std::env::split_paths(&path).any(|dir| dir.join("pass").is_file());
    let name = if has_pass { "pass" } else { "secretservice" };
    helper::exists(name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> (tempfile::TempDir, ConfigFile) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), text).unwrap();
        let config = ConfigFile::load(dir.path()).unwrap();
        (dir, config)
    }

    #[test]
    fn references_name_their_registry() {
        for (reference, registry) in [
            ("alpine", "docker.io"),
            ("me/app:1", "docker.io"),
            ("localhost/app", "localhost"),
            ("localhost:5000/app:1", "localhost:5000"),
            ("quay.io/a/b@sha256:00", "quay.io"),
            ("index.docker.io/library/x", "docker.io"),
        ] {
            assert_eq!(registry_of(reference), registry, "{reference}");
        }
    }

    #[tokio::test]
    async fn the_file_answers_for_its_own_hosts_only() {
        let (_dir, config) = config(
            r#"{"auths": {"https://index.docker.io/v1/": {"auth": "aHViOnB3"}, "http://old.example/v1/": {"auth": "bzpwOnE="}, "t.example": {"identitytoken": "tok"}}}"#,
        );
        let hub = lookup(&config, "docker.io").await.unwrap();
        assert_eq!((hub.username.as_str(), hub.password.as_str()), ("hub", "pw"));
        let old = lookup(&config, "old.example").await.unwrap();
        assert_eq!((old.username.as_str(), old.password.as_str()), ("o", "p:q"));
        assert_eq!(lookup(&config, "t.example").await.unwrap().identity_token, "tok");
        assert!(lookup(&config, "evil.example").await.unwrap().is_empty());
        assert!(lookup(&config, "old.example.evil.com").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_missing_helper_is_an_error_and_the_file_is_not_asked_instead() {
        let (_dir, config) = config(
            r#"{"credHelpers": {"a.example": "no-such-helper-here"}, "auths": {"a.example": {"auth": "dTpw"}, "b.example": {"auth": "dTpw"}}}"#,
        );
        assert!(matches!(lookup(&config, "a.example").await, Err(HelperError::Missing(_))));
        assert!(
            !lookup(&config, "b.example").await.unwrap().is_empty(),
            "other registries do not need the helper"
        );
    }

    #[tokio::test]
    async fn all_that_is_known_goes_along_but_what_failed() {
        let (_dir, config) = config(
            r#"{"credHelpers": {"a.example": "no-such-helper-here"}, "auths": {"a.example": {"auth": "dTpw"}, "b.example": {"auth": "dTpw"}, "c.example": {}}}"#,
        );
        let (found, failures) = all(&config).await;
        let servers: Vec<&str> = found.iter().map(|known| known.server.as_str()).collect();
        assert_eq!(servers, ["b.example"]);
        assert!(matches!(failures.as_slice(), [HelperError::Missing(_)]), "{failures:?}");
    }

    #[test]
    fn the_environment_is_read_to_the_letter() {
        assert_eq!(auths(r#"{"auths": {"a": {"auth": "dTpw"}}}"#).unwrap().len(), 1);
        assert!(auths("{}").unwrap().is_empty() && auths(r#"{"auths": null}"#).unwrap().is_empty());
        for bad in ["[]", "x", r#"{"auths": []}"#, r#"{"auths": {}, "credsStore": "pass"}"#] {
            auths(bad).unwrap_err();
        }
    }

    #[test]
    fn the_header_is_url_safe_and_empty_credentials_say_nothing() {
        assert_eq!(Credentials::default().header(), "e30=");
        let full = Credentials { username: "u".into(), password: "ÿÿ>".into(), ..Credentials::default() };
        assert!(full.header().chars().all(|c| c.is_ascii_alphanumeric() || "-_=".contains(c)));
        assert!(!format!("{full:?}").contains("ÿÿ"));
    }
}
