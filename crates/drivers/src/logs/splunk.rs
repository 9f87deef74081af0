//! The driver `splunk`: Splunk's HTTP Event Collector.

use std::{collections::BTreeMap, time::Duration};

use flate2::Compression;
use pintle_contract::{DriverError, LogDriver, LogEntry, LogStream, log::LogInfo};
use reqwest::{Client, Url};
use serde_json::{Map, Value, json};

use super::{
    batch::{Batches, Limits, Sink},
    connection::unavailable,
    identity,
    options::{ATTRIBUTES, Options},
    tls::Trust,
    web,
};

const OWN: &[&str] = &[
    "splunk-url",
    "splunk-token",
    "splunk-source",
    "splunk-sourcetype",
    "splunk-index",
    "splunk-capath",
    "splunk-caname",
    "splunk-insecureskipverify",
    "splunk-format",
    "splunk-verify-connection",
    "splunk-gzip",
    "splunk-gzip-level",
    "splunk-index-acknowledgment",
    "tag",
];
/// How long Splunk may take to index a batch that it is to acknowledge, and how often it is asked.
const INDEXED: Duration = Duration::from_secs(60);
const ASK: Duration = Duration::from_millis(500);

/// Sends lines to Splunk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Splunk;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Inline,
    Json,
    Raw,
}

#[derive(Debug)]
struct Settings {
    url: Url,
    token: String,
    trust: Trust,
    format: Format,
    gzip: Option<Compression>,
    verify: bool,
    acknowledge: bool,
}

impl Settings {
    fn read(options: &Options<'_>) -> Result<Self, DriverError> {
        identity::check(options)?;
        let url = web::url(options, "splunk-url", options.needed("splunk-url")?)?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            let why = "expected format scheme://dns_name_or_ip:port for splunk-url";
            return Err(DriverError::invalid(format!("splunk: {why}")));
        }
        if options.text("splunk-caname").is_some_and(|name| Some(name) != url.host_str()) {
            let why = "the certificate is checked for the host of splunk-url; give that name there";
            return Err(options.bad("splunk-caname", options.text("splunk-caname").unwrap_or_default(), why));
        }
        let trust = Trust {
            ca: options.text("splunk-capath").map(str::to_owned),
            own: None,
            anyone: options.flag("splunk-insecureskipverify", false)?,
        };
        trust.config()?;
        let format = match options.text("splunk-format") {
            None | Some("inline") => Format::Inline,
            Some("json") => Format::Json,
            Some("raw") => Format::Raw,
            Some(other) => {
                return Err(DriverError::invalid(format!(
                    "unknown format specified {other:.100}, supported formats are inline, json and raw"
                )));
            }
        };
        let level: i32 = options.number("splunk-gzip-level", -1, -1)?;
        let level = match u32::try_from(level) {
            Ok(level @ 0..=9) => Compression::new(level),
            Ok(level) => {
                let why = "not supported level for splunk-gzip-level (supported values between -1 and 9)";
                return Err(options.bad("splunk-gzip-level", &level.to_string(), why));
            }
            Err(_) => Compression::default(),
        };
        Ok(Self {
            url,
            token: options.needed("splunk-token")?.to_owned(),
            trust,
            format,
            gzip: options.flag("splunk-gzip", false)?.then_some(level),
            verify: options.flag("splunk-verify-connection", true)?,
            acknowledge: options.flag("splunk-index-acknowledgment", false)?,
        })
    }
}

#[async_trait::async_trait]
impl LogDriver for Splunk {
    fn check(&self, options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        Settings::read(&Options::new("splunk", options, &[OWN, ATTRIBUTES])?).map(drop)
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let options = Options::new("splunk", &info.options, &[OWN, ATTRIBUTES])?;
        let settings = Settings::read(&options)?;
        let client = web::client(settings.trust.clone()).await?;
        let mut about = Map::new();
        about.insert("host".to_owned(), identity::hostname().into());
        for key in ["source", "sourcetype", "index"] {
            if let Some(value) = options.text(&format!("splunk-{key}")) {
                about.insert(key.to_owned(), value.into());
            }
        }
        // An empty tag is none.
        let tag = if info.options.get("tag").is_some_and(String::is_empty) {
            String::new()
        } else {
            identity::tag(&options, &info, identity::DEFAULT)?
        };
        let attributes = identity::attributes(&options, &info)?;
        let channel = channel();
        let sink = Hec { settings, client, about, tag, attributes, channel };
        if sink.settings.verify {
            sink.verify().await?;
        }
        let limits = Limits { linger: Duration::from_secs(1), ..Limits::default() };
        Ok(Box::new(Batches::new(sink, limits)))
    }
}

/// A name of our own for what Splunk is to acknowledge.
fn channel() -> String {
    let digits = hex::encode(rand::random::<[u8; 16]>());
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| digits.get(range).unwrap_or_default());
    parts.join("-")
}

struct Hec {
    settings: Settings,
    client: Client,
    about: Map<String, Value>,
    tag: String,
    attributes: Vec<(String, String)>,
    channel: String,
}

impl Hec {
    async fn verify(&self) -> Result<(), DriverError> {
        let url = web::below(&self.settings.url, "/services/collector/event/1.0");
        let (status, body) = web::ask(self.client.request(reqwest::Method::OPTIONS, url)).await?;
        if status.is_success() { Ok(()) } else { Err(web::refused(status, &body)) }
    }

    fn event(&self, entry: &LogEntry) -> Value {
        let line = String::from_utf8_lossy(&entry.line).into_owned();
        let event = match self.settings.format {
            Format::Raw => {
                let mut text = String::new();
                if !self.tag.is_empty() {
                    text = format!("{} ", self.tag);
                }
                for (key, value) in &self.attributes {
                    text += &format!("{key}={value} ");
                }
                Value::String(text + &line)
            }
            format => {
                let parsed = match format {
                    Format::Json => serde_json::from_slice(&entry.line).ok(),
                    _ => None,
                };
                let mut event = Map::new();
                event.insert("line".to_owned(), parsed.unwrap_or(Value::String(line)));
                event.insert("source".to_owned(), entry.source.name().into());
                if !self.tag.is_empty() {
                    event.insert("tag".to_owned(), self.tag.clone().into());
                }
                let attributes: Map<String, Value> = self
                    .attributes
                    .iter()
                    .cloned()
                    .chain(entry.attributes.clone())
                    .map(|(key, value)| (key, Value::String(value)))
                    .collect();
                if !attributes.is_empty() {
                    event.insert("attrs".to_owned(), Value::Object(attributes));
                }
                Value::Object(event)
            }
        };
        let mut whole = self.about.clone();
        let time = format!(
            "{}.{:06}",
            entry.time.div_euclid(1_000_000_000),
            entry.time.rem_euclid(1_000_000_000) / 1000
        );
        whole.insert("time".to_owned(), time.into());
        whole.insert("event".to_owned(), event);
        Value::Object(whole)
    }

    /// Waits until Splunk says that what it took is indexed.
    async fn indexed(&self, answer: &[u8]) -> Result<(), DriverError> {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let Some(id) = answer.get("ackId").and_then(Value::as_u64) else {
            return Err(unavailable(
                &self.settings.url,
                &"it gives no ackId: is acknowledgement on for this token?",
            ));
        };
        let deadline = tokio::time::Instant::now() + INDEXED;
        loop {
            let url = web::below(&self.settings.url, "/services/collector/ack");
            let request =
                self.client.post(url).header("Authorization", format!("Splunk {}", self.settings.token));
            let request = request
                .header("X-Splunk-Request-Channel", &self.channel)
                .header("Content-Type", "application/json")
                .body(json!({ "acks": [id] }).to_string());
            let body = web::post(request).await?;
            let acks: Value = serde_json::from_slice(&body).unwrap_or_default();
            if acks.get("acks").and_then(|acks| acks.get(id.to_string())) == Some(&Value::Bool(true)) {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(unavailable(&self.settings.url, &"it did not index what it was sent"));
            }
            tokio::time::sleep(ASK).await;
        }
    }
}

#[async_trait::async_trait]
impl Sink for Hec {
    async fn post(&mut self, entries: &[LogEntry]) -> Result<(), DriverError> {
        // Splunk refuses empty events.
        let events = entries.iter().filter(|entry| !entry.line.is_empty());
        let mut body = events.map(|entry| self.event(entry).to_string()).collect::<String>().into_bytes();
        if body.is_empty() {
            return Ok(());
        }
        let url = web::below(&self.settings.url, "/services/collector/event/1.0");
        let mut request =
            self.client.post(url).header("Authorization", format!("Splunk {}", self.settings.token));
        request = request.header("Content-Type", "application/json");
        if self.settings.acknowledge {
            request = request.header("X-Splunk-Request-Channel", &self.channel);
        }
        if let Some(level) = self.settings.gzip {
            request = request.header("Content-Encoding", "gzip");
            body = web::gzip(&body, level)?;
        }
        let answer = web::post(request.body(body)).await?;
        if self.settings.acknowledge { self.indexed(&answer).await } else { Ok(()) }
    }
}
