//! Amazon's signatures (version 4), and where credentials come from.

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use pintle_contract::{DriverError, ErrorKind};
use reqwest::{Client, Url};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::web;

/// Where tasks of ECS ask, and where instances of EC2 do.
const TASKS: &str = "http://169.254.170.2";
const INSTANCES: &str = "http://169.254.169.254/latest";
const METADATA: Duration = Duration::from_secs(2);
/// Credentials are renewed this long before they end.
const EARLY: TimeDelta = TimeDelta::minutes(5);

/// What requests are signed with.
#[derive(Clone, Deserialize)]
pub(super) struct Credentials {
    #[serde(rename = "AccessKeyId")]
    key: String,
    #[serde(rename = "SecretAccessKey")]
    secret: String,
    #[serde(rename = "Token", default)]
    token: Option<String>,
    #[serde(rename = "Expiration", default)]
    until: Option<DateTime<Utc>>,
}

impl Credentials {
    /// Whether they are about to end.
    pub(super) fn is_stale(&self) -> bool {
        self.until.is_some_and(|until| until - EARLY < Utc::now())
    }
}

/// Where they come from.
#[derive(Debug, Clone)]
pub(super) enum Provider {
    /// The engine's environment, its shared file, then what the instance or the task offers.
    Usual,
    /// A path below the address that tasks ask.
    Endpoint(String),
}

impl Provider {
    /// Gets them anew.
    pub(super) async fn get(&self, client: &Client) -> Result<Credentials, DriverError> {
        if let Self::Endpoint(path) = self {
            return fetch(client.get(format!("{TASKS}/{}", path.trim_start_matches('/')))).await;
        }
        if let Some(found) = environment().or_else(file) {
            return Ok(found);
        }
        let none = |error: DriverError| {
            DriverError::new(
                ErrorKind::Unavailable,
                format!(
                    "no AWS credentials: give the engine AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a shared credentials \
                     file, or a role ({error})"
                ),
            )
        };
        if let Ok(path) = std::env::var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            return fetch(client.get(format!("{TASKS}{path}"))).await.map_err(none);
        }
        let role = metadata(client, "meta-data/iam/security-credentials/").await.map_err(none)?;
        let role = role.lines().next().unwrap_or_default().to_owned();
        let text =
            metadata(client, &format!("meta-data/iam/security-credentials/{role}")).await.map_err(none)?;
        parse(text.as_bytes())
    }
}

fn environment() -> Option<Credentials> {
    let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Some(Credentials {
        key: get("AWS_ACCESS_KEY_ID")?,
        secret: get("AWS_SECRET_ACCESS_KEY")?,
        token: get("AWS_SESSION_TOKEN"),
        until: None,
    })
}

fn file() -> Option<Credentials> {
    let path = std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").map_or_else(
        || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".aws/credentials")),
        |path| Some(PathBuf::from(path)),
    )?;
    let text = std::fs::read_to_string(path).ok()?;
    profile(&text, &std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".to_owned()))
}

fn profile(text: &str, name: &str) -> Option<Credentials> {
    let wanted = format!("[{name}]");
    let lines = text.lines().map(str::trim).skip_while(|line| *line != wanted).skip(1);
    let pairs: Vec<(&str, &str)> = lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let get = |key: &str| pairs.iter().find(|(have, _)| *have == key).map(|(_, value)| (*value).to_owned());
    Some(Credentials {
        key: get("aws_access_key_id")?,
        secret: get("aws_secret_access_key")?,
        token: get("aws_session_token"),
        until: None,
    })
}

/// The region of the engine's environment, or of the instance that it runs on.
pub(super) async fn region(client: &Client) -> Result<String, DriverError> {
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if let Ok(region) = std::env::var(name) {
            return Ok(region);
        }
    }
    metadata(client, "meta-data/placement/region").await.map_err(|error| {
        DriverError::new(
            ErrorKind::Unavailable,
            format!("no AWS region: give awslogs-region, or the engine AWS_REGION ({error})"),
        )
    })
}

/// An instance's metadata, version 2.
async fn metadata(client: &Client, path: &str) -> Result<String, DriverError> {
    let token = client
        .put(format!("{INSTANCES}/api/token"))
        .header("X-aws-ec2-metadata-token-ttl-seconds", "300")
        .timeout(METADATA);
    let token = String::from_utf8_lossy(&web::post(token).await?).into_owned();
    let request =
        client.get(format!("{INSTANCES}/{path}")).header("X-aws-ec2-metadata-token", token).timeout(METADATA);
    Ok(String::from_utf8_lossy(&web::post(request).await?).into_owned())
}

async fn fetch(request: reqwest::RequestBuilder) -> Result<Credentials, DriverError> {
    parse(&web::post(request.timeout(METADATA)).await?)
}

fn parse(text: &[u8]) -> Result<Credentials, DriverError> {
    serde_json::from_slice(text)
        .map_err(|error| DriverError::new(ErrorKind::Unavailable, format!("AWS credentials: {error}")))
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        let hash = Sha256::digest(key);
        block.iter_mut().zip(hash.iter()).for_each(|(to, from)| *to = *from);
    } else {
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    }
    let mut inner = Sha256::new();
    inner.update(block.map(|byte| byte ^ 0x36));
    inner.update(text);
    let mut outer = Sha256::new();
    outer.update(block.map(|byte| byte ^ 0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// The headers that sign a POST with these headers and this body.
pub(super) fn sign(
    credentials: &Credentials,
    region: &str,
    service: &str,
    url: &Url,
    headers: &[(&'static str, String)],
    body: &[u8],
    now: DateTime<Utc>,
) -> Vec<(&'static str, String)> {
    let stamp = now.format("%Y%m%dT%H%M%SZ").to_string();
    let day = now.format("%Y%m%d").to_string();
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let mut signed: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    signed.push(("host", &host));
    signed.push(("x-amz-date", &stamp));
    if let Some(token) = &credentials.token {
        signed.push(("x-amz-security-token", token));
    }
    signed.sort_unstable();
    let canonical: String = signed.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let path = if url.path().is_empty() { "/" } else { url.path() };
    let request = format!("POST\n{path}\n\n{canonical}\n{names}\n{}", hex::encode(Sha256::digest(body)));
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex::encode(Sha256::digest(request)));
    let mut key = hmac(format!("AWS4{}", credentials.secret).as_bytes(), day.as_bytes());
    for part in [region, service, "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    let signature = hex::encode(hmac(&key, text.as_bytes()));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.key
    );
    let mut out = vec![("x-amz-date", stamp), ("authorization", authorization)];
    if let Some(token) = &credentials.token {
        out.push(("x-amz-security-token", token.clone()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_rfc_4231s() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(hmac(b"Jefe", b"what do ya want for nothing?")), expected);
    }

    #[test]
    fn profiles_are_found() {
        let text = "[a]\naws_access_key_id = no\n[b]\naws_access_key_id=K\naws_secret_access_key = S\n";
        let found = profile(text, "b").unwrap();
        assert_eq!((found.key.as_str(), found.secret.as_str()), ("K", "S"));
        assert!(profile(text, "c").is_none());
    }
}
