//! The driver `gcplogs`: Google Cloud Logging.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use pintle_contract::{DriverError, ErrorKind, LogDriver, LogEntry, LogStream, log::LogInfo};
use reqwest::{Client, Url};
use rustls::{
    SignatureScheme,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    batch::{Batches, Limits, Sink},
    document, identity,
    options::{ATTRIBUTES, Options},
    tls::Trust,
    web,
};

/// `gcp-endpoint` is ours: an address of Google's API that is reached otherwise.
const OWN: &[&str] =
    &["gcp-project", "gcp-log-cmd", "gcp-meta-zone", "gcp-meta-name", "gcp-meta-id", "gcp-endpoint"];
const ENDPOINT: &str = "https://logging.googleapis.com";
const SCOPE: &str = "https://www.googleapis.com/auth/logging.write";
const METADATA: Duration = Duration::from_secs(2);
/// Tokens are renewed this long before they end.
const EARLY: TimeDelta = TimeDelta::minutes(1);

/// Sends lines to Google Cloud Logging.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gcplogs;

fn read(given: &BTreeMap<String, String>) -> Result<(Options<'_>, Url), DriverError> {
    let options = Options::new("gcplogs", given, &[OWN, ATTRIBUTES])?;
    identity::check(&options)?;
    options.flag("gcp-log-cmd", false)?;
    let url = web::url(&options, "gcp-endpoint", options.text("gcp-endpoint").unwrap_or(ENDPOINT))?;
    Ok((options, url))
}

#[async_trait::async_trait]
impl LogDriver for Gcplogs {
    fn check(&self, options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        read(options).map(drop)
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let (options, url) = read(&info.options)?;
        let client = web::client(Trust::default()).await?;
        let account = crate::blocking(Account::find).await?;
        let project = match (options.text("gcp-project"), &account) {
            (Some(project), _) => project.to_owned(),
            (None, Some(Account { project_id: Some(project), .. })) => project.clone(),
            _ => metadata(&client, "project/project-id").await.map_err(|error| {
                let text = format!("no project: give gcp-project, or run on Google Cloud ({error})");
                DriverError::new(ErrorKind::Unavailable, text)
            })?,
        };
        let mut constant = Map::new();
        let mut instance = Map::new();
        for key in ["zone", "name", "id"] {
            if let Some(value) = options.text(&format!("gcp-meta-{key}")) {
                instance.insert(key.to_owned(), value.into());
            }
        }
        if !instance.is_empty() {
            constant.insert("instance".to_owned(), Value::Object(instance));
        }
        let mut container = json!({
            "name": identity::name(&info),
            "imageName": info.image_name,
            "imageId": info.image_id,
            "created": info.created,
        });
        if let Some(fields) = container.as_object_mut() {
            if options.flag("gcp-log-cmd", false)? {
                fields.insert("command".to_owned(), identity::command(&info).into());
            }
            let attributes: Map<String, Value> = identity::attributes(&options, &info)?
                .into_iter()
                .map(|(key, value)| (key, Value::String(value)))
                .collect();
            if !attributes.is_empty() {
                fields.insert("metadata".to_owned(), Value::Object(attributes));
            }
        }
        constant.insert("container".to_owned(), container);
        let sink = Write { client, url, account, token: None, project, constant, id: info.id };
        Ok(Box::new(Batches::new(sink, Limits::default())))
    }
}

/// A service account's key file.
#[derive(Clone, Deserialize)]
struct Account {
    client_email: String,
    private_key: String,
    #[serde(default)]
    private_key_id: String,
    token_uri: String,
    #[serde(default)]
    project_id: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
    #[serde(default)]
    expires_in: i64,
}

impl Account {
    /// What the engine's environment names; none means that the machine has an account.
    fn find() -> Result<Option<Self>, DriverError> {
        let Some(path) = std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from) else {
            return Ok(None);
        };
        let bad = |error: &dyn std::fmt::Display| {
            DriverError::invalid(format!("GOOGLE_APPLICATION_CREDENTIALS, {}: {error}", path.display()))
        };
        let text = std::fs::read(&path).map_err(|error| bad(&error))?;
        serde_json::from_slice(&text).map(Some).map_err(|error| bad(&error))
    }

    /// A statement by which Google gives a token (RFC 7523), signed with RS256.
    fn assertion(&self, now: DateTime<Utc>) -> Result<String, DriverError> {
        let bad = |error: &dyn std::fmt::Display| {
            DriverError::invalid(format!("the key of {}: {error}", self.client_email))
        };
        let head = json!({ "alg": "RS256", "typ": "JWT", "kid": self.private_key_id });
        let claims = json!({
            "iss": self.client_email, "scope": SCOPE, "aud": self.token_uri,
            "iat": now.timestamp(), "exp": now.timestamp() + 3600,
        });
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(&head), encode(&claims));
        let key = PrivateKeyDer::from_pem_slice(self.private_key.as_bytes()).map_err(|error| bad(&error))?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|error| bad(&error))?;
        let signer = key
            .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
            .ok_or_else(|| bad(&"it is no RSA key"))?;
        let signature = signer.sign(text.as_bytes()).map_err(|error| bad(&error))?;
        Ok(format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// What the machine knows of itself.
async fn metadata(client: &Client, path: &str) -> Result<String, DriverError> {
    let host = std::env::var("GCE_METADATA_HOST").unwrap_or_else(|_| "metadata.google.internal".to_owned());
    let request = client.get(format!("http://{host}/computeMetadata/v1/{path}"));
    let body = web::post(request.header("Metadata-Flavor", "Google").timeout(METADATA)).await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

struct Write {
    client: Client,
    url: Url,
    account: Option<Account>,
    token: Option<(String, DateTime<Utc>)>,
    project: String,
    constant: Map<String, Value>,
    id: String,
}

impl Write {
    async fn token(&mut self) -> Result<String, DriverError> {
        let now = Utc::now();
        if let Some((token, until)) = &self.token
            && *until - EARLY > now
        {
            return Ok(token.clone());
        }
        let answer = match &self.account {
            Some(account) => {
                let assertion = account.assertion(now)?;
                let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
                let request = self.client.post(&account.token_uri);
                let request = request.header("Content-Type", "application/x-www-form-urlencoded");
                web::post(request.body(format!("grant_type={grant}&assertion={assertion}"))).await
            }
            None => metadata(&self.client, "instance/service-accounts/default/token")
                .await
                .map(String::into_bytes),
        };
        // Whatever it is, it is no fault of the lines.
        let unavailable = |error: &dyn std::fmt::Display| {
            DriverError::new(ErrorKind::Unavailable, format!("no token: {error}"))
        };
        let answer = answer.map_err(|error| unavailable(&error))?;
        let token: Token = serde_json::from_slice(&answer).map_err(|error| unavailable(&error))?;
        self.token = Some((token.access_token.clone(), now + TimeDelta::seconds(token.expires_in)));
        Ok(token.access_token)
    }
}

#[async_trait::async_trait]
impl Sink for Write {
    async fn post(&mut self, entries: &[LogEntry]) -> Result<(), DriverError> {
        let token = self.token().await?;
        let mut list = Vec::with_capacity(entries.len());
        for (entry, name) in entries.iter().zip(document::names(&self.id, entries)) {
            let mut payload = self.constant.clone();
            payload.insert("message".to_owned(), String::from_utf8_lossy(&entry.line).into());
            let mut one = json!({
                "timestamp": document::instant(entry),
                "insertId": name,
                "jsonPayload": payload,
            });
            if !entry.attributes.is_empty()
                && let Some(fields) = one.as_object_mut()
            {
                fields.insert("labels".to_owned(), json!(entry.attributes));
            }
            list.push(one);
        }
        let body = json!({
            "logName": format!("projects/{}/logs/gcplogs-docker-driver", self.project),
            "resource": { "type": "global" },
            "entries": list,
        });
        let mut url = self.url.clone();
        url.set_path("/v2/entries:write");
        let request = self.client.post(url).bearer_auth(token).header("Content-Type", "application/json");
        let answer = web::post(request.body(body.to_string())).await;
        if answer.as_ref().is_err_and(|error| error.kind == ErrorKind::PermissionDenied) {
            self.token = None;
        }
        answer.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_dockers() {
        read(&[("gcp-project".to_owned(), "p".to_owned())].into()).unwrap();
        for (key, value) in [("gcp-nonsense", "1"), ("gcp-log-cmd", "perhaps"), ("gcp-endpoint", "ftp://x")] {
            read(&[(key.to_owned(), value.to_owned())].into()).unwrap_err();
        }
    }
}
