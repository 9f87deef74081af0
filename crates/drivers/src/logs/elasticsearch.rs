//! The drivers `elasticsearch` and `opensearch`: the bulk API, which both have.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use pintle_contract::{DriverError, ErrorKind, LogDriver, LogEntry, LogStream, log::LogInfo};
use reqwest::{Client, Url};
use serde_json::{Map, Value, json};

use super::{
    batch::{Batches, Limits, Sink},
    document, identity,
    options::{ATTRIBUTES, Options},
    tls::Trust,
    web,
};

/// After the driver's name and a hyphen.
const OWN: [&str; 9] = [
    "url",
    "index",
    "username",
    "password",
    "api-key",
    "pipeline",
    "tls-ca-cert",
    "tls-skip-verify",
    "batch-wait",
];

/// Sends lines to Elasticsearch or OpenSearch.
#[derive(Debug, Clone, Copy)]
pub struct Elasticsearch {
    name: &'static str,
}

impl Elasticsearch {
    /// The driver of that name; its options begin with it.
    pub fn named(name: &'static str) -> Self {
        Self { name }
    }

    fn read<'a>(&self, given: &'a BTreeMap<String, String>) -> Result<(Options<'a>, Settings), DriverError> {
        let own = OWN.map(|key| format!("{}-{key}", self.name));
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let options = Options::new(self.name, given, &[&own, ATTRIBUTES, &["tag"]])?;
        identity::check(&options)?;
        let key = |key: &str| format!("{}-{key}", self.name);
        let text = |name: &str| options.text(&key(name)).map(str::to_owned);
        let url = web::url(&options, &key("url"), options.needed(&key("url"))?)?;
        let trust = Trust {
            ca: text("tls-ca-cert"),
            own: None,
            anyone: options.flag(&key("tls-skip-verify"), false)?,
        };
        trust.config()?;
        let settings = Settings {
            url,
            index: text("index").unwrap_or_else(|| "pintle-%Y.%m.%d".to_owned()),
            user: text("username").map(|user| (user, text("password").unwrap_or_default())),
            api_key: text("api-key"),
            pipeline: text("pipeline"),
            trust,
            linger: options.duration(&key("batch-wait"), Duration::from_secs(1))?,
        };
        if settings.index_of(DateTime::UNIX_EPOCH).is_none() {
            return Err(options.bad(
                &key("index"),
                &settings.index,
                "it must be a name with strftime's fields",
            ));
        }
        Ok((options, settings))
    }
}

#[derive(Debug)]
struct Settings {
    url: Url,
    index: String,
    user: Option<(String, String)>,
    api_key: Option<String>,
    pipeline: Option<String>,
    trust: Trust,
    linger: Duration,
}

impl Settings {
    fn index_of(&self, time: DateTime<Utc>) -> Option<String> {
        let mut name = String::new();
        std::fmt::write(&mut name, format_args!("{}", time.format(&self.index))).ok()?;
        Some(name)
    }
}

#[async_trait::async_trait]
impl LogDriver for Elasticsearch {
    fn check(&self, options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        self.read(options).map(drop)
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let (options, settings) = self.read(&info.options)?;
        let client = web::client(settings.trust.clone()).await?;
        let constant = document::constant(&options, &info)?;
        let limits = Limits { entries: 2000, bytes: 4 << 20, linger: settings.linger, ..Limits::default() };
        Ok(Box::new(Batches::new(Bulk { settings, client, constant, container: info.id }, limits)))
    }
}

struct Bulk {
    settings: Settings,
    client: Client,
    constant: Map<String, Value>,
    container: String,
}

#[async_trait::async_trait]
impl Sink for Bulk {
    async fn post(&mut self, entries: &[LogEntry]) -> Result<(), DriverError> {
        let mut body = String::new();
        for (entry, name) in entries.iter().zip(document::names(&self.container, entries)) {
            let index = self.settings.index_of(DateTime::from_timestamp_nanos(entry.time));
            // `create` is what data streams take, too.
            body += &json!({ "create": { "_index": index, "_id": name } }).to_string();
            body.push('\n');
            body += &Value::Object(document::of(&self.constant, entry)).to_string();
            body.push('\n');
        }
        let mut url = web::below(&self.settings.url, "_bulk");
        if let Some(pipeline) = &self.settings.pipeline {
            url.query_pairs_mut().append_pair("pipeline", pipeline);
        }
        let mut request = self.client.post(url).header("Content-Type", "application/x-ndjson");
        if let Some((user, password)) = &self.settings.user {
            request = request.basic_auth(user, Some(password));
        }
        if let Some(key) = &self.settings.api_key {
            request = request.header("Authorization", format!("ApiKey {key}"));
        }
        let answer = web::post(request.body(body)).await?;
        let answer: Value = serde_json::from_slice(&answer)
            .map_err(|error| DriverError::internal(format!("its answer to _bulk: {error}")))?;
        if answer.get("errors") != Some(&Value::Bool(true)) {
            return Ok(());
        }
        for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
            let Some(result) = item.get("create") else { continue };
            match result.get("status").and_then(Value::as_u64).unwrap_or_default() {
                // 409: it was there already.
                200..=299 | 409 => {}
                400 => return Err(DriverError::invalid(format!("{result:.300}"))),
                _ => return Err(DriverError::new(ErrorKind::Unavailable, format!("{result:.300}"))),
            }
        }
        Ok(())
    }
}
