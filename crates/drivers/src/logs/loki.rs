//! The driver `loki`: Grafana Loki's push API.

use std::{collections::BTreeMap, time::Duration};

use flate2::Compression;
use pintle_contract::{DriverError, LogDriver, LogEntry, LogStream, log::LogInfo};
use reqwest::{Client, Url};
use serde_json::{Map, Value, json};

use super::{
    batch::{Batches, Limits, Sink},
    identity,
    options::{ATTRIBUTES, Options},
    tls::Trust,
    web,
};

/// The names are those of Grafana's own plugin.
const OWN: &[&str] = &[
    "loki-url",
    "loki-tenant-id",
    "loki-external-labels",
    "loki-batch-wait",
    "loki-batch-size",
    "loki-tls-ca-file",
    "loki-tls-cert-file",
    "loki-tls-key-file",
    "loki-tls-insecure-skip-verify",
    "tag",
];

/// Sends lines to Loki.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loki;

#[derive(Debug)]
struct Settings {
    url: Url,
    tenant: Option<String>,
    labels: Vec<(String, String)>,
    trust: Trust,
    limits: Limits,
}

impl Settings {
    fn read(options: &Options<'_>) -> Result<Self, DriverError> {
        identity::check(options)?;
        let mut url = web::url(options, "loki-url", options.needed("loki-url")?)?;
        if matches!(url.path(), "" | "/") {
            url.set_path("/loki/api/v1/push");
        }
        let mut labels = Vec::new();
        let given = options.text("loki-external-labels").unwrap_or("container_name={{.Name}}");
        for pair in given.split(',').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(options.bad("loki-external-labels", given, "it must be KEY=VALUE,KEY=VALUE"));
            };
            labels.push((label(key.trim()), value.to_owned()));
        }
        let text = |key| options.text(key).map(str::to_owned);
        let trust = Trust {
            ca: text("loki-tls-ca-file"),
            own: text("loki-tls-cert-file").zip(text("loki-tls-key-file")),
            anyone: options.flag("loki-tls-insecure-skip-verify", false)?,
        };
        trust.config()?;
        let limits = Limits {
            bytes: usize::try_from(options.size("loki-batch-size", 1 << 20)?).unwrap_or(usize::MAX),
            linger: options.duration("loki-batch-wait", Duration::from_secs(1))?,
            entries: 10_000,
            overhead: 32,
        };
        Ok(Self { url, tenant: text("loki-tenant-id"), labels, trust, limits })
    }
}

/// Letters, digits and underscores.
fn label(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[async_trait::async_trait]
impl LogDriver for Loki {
    fn check(&self, options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        Settings::read(&Options::new("loki", options, &[OWN, ATTRIBUTES])?).map(drop)
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let options = Options::new("loki", &info.options, &[OWN, ATTRIBUTES])?;
        let settings = Settings::read(&options)?;
        let client = web::client(settings.trust.clone()).await?;
        let mut labels = Map::new();
        labels.insert("host".to_owned(), identity::hostname().into());
        for (key, value) in &settings.labels {
            labels
                .insert(key.clone(), identity::fill(&options, "loki-external-labels", value, &info)?.into());
        }
        if options.text("tag").is_some() {
            labels.insert("tag".to_owned(), identity::tag(&options, &info, identity::DEFAULT)?.into());
        }
        for (key, value) in identity::attributes(&options, &info)? {
            labels.insert(label(&key), value.into());
        }
        let limits = settings.limits;
        Ok(Box::new(Batches::new(Push { settings, client, labels }, limits)))
    }
}

struct Push {
    settings: Settings,
    client: Client,
    labels: Map<String, Value>,
}

#[async_trait::async_trait]
impl Sink for Push {
    async fn post(&mut self, entries: &[LogEntry]) -> Result<(), DriverError> {
        // One stream for each set of labels.
        let mut streams: BTreeMap<String, (Map<String, Value>, Vec<Value>)> = BTreeMap::new();
        for entry in entries {
            let mut labels = self.labels.clone();
            labels.insert("source".to_owned(), entry.source.name().into());
            for (key, value) in &entry.attributes {
                labels.insert(label(key), value.clone().into());
            }
            let key = Value::Object(labels.clone()).to_string();
            let stream = streams.entry(key).or_insert_with(|| (labels, Vec::new()));
            stream.1.push(json!([entry.time.to_string(), String::from_utf8_lossy(&entry.line)]));
        }
        let streams: Vec<Value> = streams
            .into_values()
            .map(|(labels, values)| json!({ "stream": labels, "values": values }))
            .collect();
        let body = web::gzip(json!({ "streams": streams }).to_string().as_bytes(), Compression::fast())?;
        let mut request = self.client.post(self.settings.url.clone());
        request = request.header("Content-Type", "application/json").header("Content-Encoding", "gzip");
        if let Some(tenant) = &self.settings.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        web::post(request.body(body)).await.map(drop)
    }
}
