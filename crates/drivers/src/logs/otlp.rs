//! The driver `otlp`: OpenTelemetry's logs over HTTP. In JSON, which every collector takes.

use std::{collections::BTreeMap, time::Duration};

use flate2::Compression;
use pintle_contract::{DriverError, LogDriver, LogEntry, LogStream, log::LogInfo};
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::{
    batch::{Batches, Limits, Sink},
    identity,
    options::{ATTRIBUTES, Options},
    tls::Trust,
    web,
};

const OWN: &[&str] = &[
    "otlp-endpoint",
    "otlp-headers",
    "otlp-service-name",
    "otlp-gzip",
    "otlp-batch-wait",
    "otlp-tls-ca-cert",
    "otlp-tls-skip-verify",
    "tag",
];

/// Sends lines to an OpenTelemetry collector.
#[derive(Debug, Clone, Copy, Default)]
pub struct Otlp;

#[derive(Debug)]
struct Settings {
    url: Url,
    headers: Vec<(String, String)>,
    gzip: bool,
    trust: Trust,
    limits: Limits,
}

fn read(options: &Options<'_>) -> Result<Settings, DriverError> {
    identity::check(options)?;
    let mut url =
        web::url(options, "otlp-endpoint", options.text("otlp-endpoint").unwrap_or("http://127.0.0.1:4318"))?;
    if matches!(url.path(), "" | "/") {
        url.set_path("/v1/logs");
    }
    let mut headers = Vec::new();
    let given = options.text("otlp-headers").unwrap_or_default();
    for pair in given.split(',').filter(|pair| !pair.trim().is_empty()) {
        let valid =
            pair.split_once('=').map(|(name, value)| (name.trim(), value.trim())).filter(|(name, value)| {
                reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
                    && reqwest::header::HeaderValue::from_str(value).is_ok()
            });
        let Some((name, value)) = valid else {
            return Err(options.bad("otlp-headers", "…", "it must be NAME=VALUE,NAME=VALUE"));
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let trust = Trust {
        ca: options.text("otlp-tls-ca-cert").map(str::to_owned),
        own: None,
        anyone: options.flag("otlp-tls-skip-verify", false)?,
    };
    trust.config()?;
    let linger = options.duration("otlp-batch-wait", Duration::from_secs(1))?;
    let gzip = options.flag("otlp-gzip", false)?;
    Ok(Settings { url, headers, gzip, trust, limits: Limits { linger, ..Limits::default() } })
}

#[async_trait::async_trait]
impl LogDriver for Otlp {
    fn check(&self, options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        read(&Options::new("otlp", options, &[OWN, ATTRIBUTES])?).map(drop)
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let options = Options::new("otlp", &info.options, &[OWN, ATTRIBUTES])?;
        let settings = read(&options)?;
        let client = web::client(settings.trust.clone()).await?;
        let service = options.text("otlp-service-name").unwrap_or("{{.Name}}");
        let mut resource = vec![
            attribute("service.name", &identity::fill(&options, "otlp-service-name", service, &info)?),
            attribute("container.id", &info.id),
            attribute("container.name", identity::name(&info)),
            attribute("container.image.name", &info.image_name),
            attribute("host.name", &identity::hostname()),
        ];
        if options.text("tag").is_some() {
            resource.push(attribute("tag", &identity::tag(&options, &info, identity::DEFAULT)?));
        }
        for (key, value) in identity::attributes(&options, &info)? {
            resource.push(attribute(&key, &value));
        }
        let limits = settings.limits;
        Ok(Box::new(Batches::new(Export { settings, client, resource }, limits)))
    }
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

struct Export {
    settings: Settings,
    client: Client,
    resource: Vec<Value>,
}

impl Export {
    fn record(entry: &LogEntry) -> Value {
        let mut attributes = vec![attribute("log.iostream", entry.source.name())];
        attributes.extend(entry.attributes.iter().map(|(key, value)| attribute(key, value)));
        if let Some(piece) = &entry.piece {
            attributes.push(attribute("log.partial.id", &piece.id));
            attributes.push(attribute("log.partial.ordinal", &piece.ordinal.to_string()));
            attributes.push(attribute("log.partial.last", &piece.last.to_string()));
        }
        let time = entry.time.to_string();
        json!({
            "timeUnixNano": time,
            "observedTimeUnixNano": time,
            "body": { "stringValue": String::from_utf8_lossy(&entry.line) },
            "attributes": attributes,
        })
    }
}

#[async_trait::async_trait]
impl Sink for Export {
    async fn post(&mut self, entries: &[LogEntry]) -> Result<(), DriverError> {
        let records: Vec<Value> = entries.iter().map(Self::record).collect();
        let body = json!({ "resourceLogs": [{
            "resource": { "attributes": self.resource },
            "scopeLogs": [{ "scope": { "name": "pintle" }, "logRecords": records }],
        }] });
        let mut body = body.to_string().into_bytes();
        let mut request =
            self.client.post(self.settings.url.clone()).header("Content-Type", "application/json");
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
