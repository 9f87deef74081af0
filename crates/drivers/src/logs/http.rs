//! The driver `http`: JSON documents, a line for each or in an array, to any address.

use std::{collections::BTreeMap, time::Duration};

use flate2::Compression;
use pintle_contract::{DriverError, LogDriver, LogEntry, LogStream, log::LogInfo};
use reqwest::{Client, Url};
use serde_json::{Map, Value};

use super::{
    batch::{Batches, Limits, Sink},
    document, identity,
    options::{ATTRIBUTES, Options},
    tls::Trust,
    web,
};

const OWN: &[&str] = &[
    "http-url",
    "http-format",
    "http-header",
    "http-gzip",
    "http-batch-size",
    "http-batch-wait",
    "http-tls-ca-cert",
    "http-tls-cert",
    "http-tls-key",
    "http-tls-skip-verify",
    "tag",
];

/// Posts lines to an address.
#[derive(Debug, Clone, Copy, Default)]
pub struct Http;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Ndjson,
    Json,
    Text,
}

#[derive(Debug)]
struct Settings {
    url: Url,
    format: Format,
    headers: Vec<(String, String)>,
    gzip: bool,
    trust: Trust,
    limits: Limits,
}

fn read(options: &Options<'_>) -> Result<Settings, DriverError> {
    identity::check(options)?;
    let url = web::url(options, "http-url", options.needed("http-url")?)?;
    let format = match options.text("http-format") {
        None | Some("ndjson") => Format::Ndjson,
        Some("json") => Format::Json,
        Some("text") => Format::Text,
        Some(other) => return Err(options.bad("http-format", other, "it must be ndjson, json or text")),
    };
    let mut headers = Vec::new();
    let given = options.text("http-header").unwrap_or_default();
    for header in given.split(';').filter(|header| !header.trim().is_empty()) {
        let parsed = header.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
        let valid = parsed.filter(|(name, value)| {
            reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
                && reqwest::header::HeaderValue::from_str(value).is_ok()
        });
        let Some((name, value)) = valid else {
            // The value may be a secret.
            return Err(options.bad("http-header", "…", "it must be NAME: VALUE; NAME: VALUE"));
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let text = |key| options.text(key).map(str::to_owned);
    let trust = Trust {
        ca: text("http-tls-ca-cert"),
        own: text("http-tls-cert").zip(text("http-tls-key")),
        anyone: options.flag("http-tls-skip-verify", false)?,
    };
    trust.config()?;
    let limits = Limits {
        bytes: usize::try_from(options.size("http-batch-size", 1 << 20)?).unwrap_or(usize::MAX),
        linger: options.duration("http-batch-wait", Duration::from_secs(1))?,
        ..Limits::default()
    };
    Ok(Settings { url, format, headers, gzip: options.flag("http-gzip", false)?, trust, limits })
}

#[async_trait::async_trait]
impl LogDriver for Http {
    fn check(&self, options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        read(&Options::new("http", options, &[OWN, ATTRIBUTES])?).map(drop)
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let options = Options::new("http", &info.options, &[OWN, ATTRIBUTES])?;
        let settings = read(&options)?;
        let client = web::client(settings.trust.clone()).await?;
        let limits = settings.limits;
        let constant = document::constant(&options, &info)?;
        Ok(Box::new(Batches::new(Post { settings, client, constant }, limits)))
    }
}

struct Post {
    settings: Settings,
    client: Client,
    constant: Map<String, Value>,
}

#[async_trait::async_trait]
impl Sink for Post {
    async fn post(&mut self, entries: &[LogEntry]) -> Result<(), DriverError> {
        let documents = entries.iter().map(|entry| Value::Object(document::of(&self.constant, entry)));
        let (kind, mut body) = match self.settings.format {
            Format::Json => ("application/json", Value::Array(documents.collect()).to_string().into_bytes()),
            Format::Ndjson => {
                let text: String = documents.map(|document| format!("{document}\n")).collect();
                ("application/x-ndjson", text.into_bytes())
            }
            Format::Text => {
                let mut text = Vec::new();
                for entry in entries {
                    text.extend_from_slice(&entry.line);
                    text.push(b'\n');
                }
                ("text/plain", text)
            }
        };
        let mut request = self.client.post(self.settings.url.clone()).header("Content-Type", kind);
        for (name, value) in &self.settings.headers {
            request = request.header(name, value);
        }
        if self.settings.gzip {
            request = request.header("Content-Encoding", "gzip");
            body = web::gzip(&body, Compression::fast())?;
        }
        web::post(request.body(body)).await.map(drop)
    }
}
