//! The driver `awslogs`: Amazon `CloudWatch` Logs.

use std::{collections::BTreeMap, time::Duration};

use chrono::Utc;
use pintle_contract::{DriverError, ErrorKind, LogDriver, LogEntry, LogStream, log::LogInfo};
use regex::bytes::Regex;
use reqwest::{Client, StatusCode, Url};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    aws::{Credentials, Provider, sign},
    identity,
    options::Options,
    tls::Trust,
    web,
};

const OWN: &[&str] = &[
    "awslogs-group",
    "awslogs-region",
    "awslogs-stream",
    "awslogs-endpoint",
    "awslogs-create-group",
    "awslogs-create-stream",
    "awslogs-datetime-format",
    "awslogs-multiline-pattern",
    "awslogs-credentials-endpoint",
    "awslogs-force-flush-interval-seconds",
    "awslogs-max-buffered-events",
    "awslogs-format",
    "tag",
];
/// `CloudWatch`'s own limits: of an event, of a batch, and what an event counts beside its text.
const LARGEST_EVENT: usize = 262_144 - OVERHEAD;
const LARGEST_BATCH: usize = 1_048_576;
const OVERHEAD: usize = 26;
const MOST: usize = 10_000;
/// Events of one batch are within a day.
const SPAN: i64 = 24 * 60 * 60 * 1000;

/// Sends lines to `CloudWatch` Logs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Awslogs;

#[derive(Debug)]
struct Settings {
    region: Option<String>,
    endpoint: Option<Url>,
    create_group: bool,
    create_stream: bool,
    /// Begins an event; lines that do not match belong to the one before.
    pattern: Option<Regex>,
    provider: Provider,
    linger: Duration,
    most: usize,
    emf: bool,
}

fn read(options: &Options<'_>) -> Result<Settings, DriverError> {
    identity::check(options)?;
    if options.text("awslogs-group").is_none() {
        return Err(DriverError::invalid("must specify a value for log opt 'awslogs-group'"));
    }
    let bool_of = |key: &str, default| {
        options.flag(key, default).map_err(|_| {
            let value = options.text(key).unwrap_or_default();
            DriverError::invalid(format!("must specify valid value for log opt '{key}': {value:.100}"))
        })
    };
    let (date, pattern) =
        (options.text("awslogs-datetime-format"), options.text("awslogs-multiline-pattern"));
    if date.is_some() && pattern.is_some() {
        return Err(DriverError::invalid(
            "you cannot configure log opt 'awslogs-datetime-format' and 'awslogs-multiline-pattern' at the same time",
        ));
    }
    let compile = |key: &str, text: &str| {
        Regex::new(text).map_err(|error| {
            DriverError::invalid(format!("awslogs could not parse {key} option {text:.100}: {error}"))
        })
    };
    let pattern = match (date, pattern) {
        (Some(format), _) => Some(compile("awslogs-datetime-format", &date_pattern(format))?),
        (_, Some(pattern)) => Some(compile("awslogs-multiline-pattern", pattern)?),
        _ => None,
    };
    let emf = match options.text("awslogs-format") {
        None => false,
        Some("json/emf") => {
            if pattern.is_some() {
                return Err(DriverError::invalid(
                    "you cannot configure log opt 'awslogs-datetime-format' or 'awslogs-multiline-pattern' when log \
                     opt 'awslogs-format' is set to 'json/emf'",
                ));
            }
            true
        }
        Some(other) => {
            return Err(DriverError::invalid(format!("unsupported log format '{other:.100}'")));
        }
    };
    let seconds: u64 = options.number("awslogs-force-flush-interval-seconds", 5, 1).map_err(|_| {
        DriverError::invalid(
            "must specify a positive integer for log opt 'awslogs-force-flush-interval-seconds'",
        )
    })?;
    let most: usize = options.number("awslogs-max-buffered-events", 4096, 1).map_err(|_| {
        DriverError::invalid("must specify a positive integer for log opt 'awslogs-max-buffered-events'")
    })?;
    let endpoint = match options.text("awslogs-endpoint") {
        None => None,
        Some(text) => Some(web::url(options, "awslogs-endpoint", text)?),
    };
    Ok(Settings {
        region: options.text("awslogs-region").map(str::to_owned),
        endpoint,
        create_group: bool_of("awslogs-create-group", false)?,
        create_stream: bool_of("awslogs-create-stream", true)?,
        pattern,
        provider: match options.text("awslogs-credentials-endpoint") {
            None => Provider::Usual,
            Some(path) => Provider::Endpoint(path.to_owned()),
        },
        linger: Duration::from_secs(seconds),
        most,
        emf,
    })
}

/// strftime's fields as a regular expression.
fn date_pattern(format: &str) -> String {
    let mut pattern = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            pattern += &regex::escape(&c.to_string());
            continue;
        }
        pattern += match chars.next() {
            Some('Y') => r"\d{4}",
            Some('j') => r"\d{3}",
            Some('f') => r"\d{6}",
            Some('L') => r"\.\d{3}",
            Some('y' | 'm' | 'd' | 'H' | 'I' | 'M' | 'S') => r"\d{2}",
            Some('w') => r"\d",
            Some('a') => r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)",
            Some('A') => r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day",
            Some('b') => r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)",
            Some('B') => {
                r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
            }
            Some('p') => r"[A|P]M",
            Some('z') => r"[+-]\d{4}",
            Some('Z') => r"[A-Z]{1,4}",
            Some('%') => "%",
            _ => "",
        };
    }
    pattern
}

#[async_trait::async_trait]
impl LogDriver for Awslogs {
    fn check(&self, options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        read(&Options::new("awslogs", options, &[OWN])?).map(drop)
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let options = Options::new("awslogs", &info.options, &[OWN])?;
        let settings = read(&options)?;
        let client = web::client(Trust::default()).await?;
        let region = match &settings.region {
            Some(region) => region.clone(),
            None => super::aws::region(&client).await?,
        };
        let stream = match options.text("awslogs-stream") {
            Some(stream) => stream.to_owned(),
            // `:` and `*` may be in a tag, not in a stream's name.
            None => identity::tag(&options, &info, "{{.FullID}}")?.replace([':', '*'], "_"),
        };
        let usual = || Url::parse(&format!("https://logs.{region}.amazonaws.com"));
        let url = match &settings.endpoint {
            Some(url) => url.clone(),
            None => usual().map_err(|error| DriverError::invalid(format!("awslogs-region: {error}")))?,
        };
        let api = Api {
            client,
            url,
            region,
            provider: settings.provider.clone(),
            credentials: None,
            emf: settings.emf,
            group: options.text("awslogs-group").unwrap_or_default().to_owned(),
            stream,
        };
        let mut stream = Stream {
            api,
            settings,
            event: None,
            waiting: Vec::new(),
            bytes: 0,
            since: Instant::now(),
            taken: 0,
            acknowledged: 0,
        };
        stream.api.make(&stream.settings).await?;
        Ok(Box::new(stream))
    }
}

struct Api {
    client: Client,
    url: Url,
    region: String,
    provider: Provider,
    credentials: Option<Credentials>,
    emf: bool,
    group: String,
    stream: String,
}

impl Api {
    async fn call(
        &mut self,
        action: &str,
        body: &Value,
    ) -> Result<Result<Vec<u8>, (StatusCode, Vec<u8>)>, DriverError> {
        if self.credentials.as_ref().is_none_or(Credentials::is_stale) {
            self.credentials = Some(self.provider.get(&self.client).await?);
        }
        let Some(credentials) = &self.credentials else {
            return Err(DriverError::internal("no credentials"));
        };
        let body = body.to_string();
        let target = format!("Logs_20140328.{action}");
        let mut headers =
            vec![("content-type", "application/x-amz-json-1.1".to_owned()), ("x-amz-target", target)];
        if self.emf {
            headers.push(("x-amzn-logs-format", "json/emf".to_owned()));
        }
        let signed =
            sign(credentials, &self.region, "logs", &self.url, &headers, body.as_bytes(), Utc::now());
        let mut request = self.client.post(self.url.clone());
        for (name, value) in headers.into_iter().chain(signed) {
            request = request.header(name, value);
        }
        let (status, answer) = web::ask(request.body(body)).await?;
        if status == StatusCode::FORBIDDEN {
            self.credentials = None;
        }
        Ok(if status.is_success() { Ok(answer) } else { Err((status, answer)) })
    }

    /// The stream, and its group if the user wants that.
    async fn make(&mut self, settings: &Settings) -> Result<(), DriverError> {
        if !settings.create_stream {
            return Ok(());
        }
        let stream = json!({ "logGroupName": self.group, "logStreamName": self.stream });
        match self.call("CreateLogStream", &stream).await? {
            Ok(_) => Ok(()),
            Err((_, answer)) if is(&answer, "ResourceAlreadyExistsException") => Ok(()),
            Err((_, answer)) if is(&answer, "ResourceNotFoundException") && settings.create_group => {
                match self.call("CreateLogGroup", &json!({ "logGroupName": self.group })).await? {
                    Err((status, answer)) if !is(&answer, "ResourceAlreadyExistsException") => {
                        return Err(web::refused(status, &answer));
                    }
                    _ => {}
                }
                match self.call("CreateLogStream", &stream).await? {
                    Err((status, answer)) if !is(&answer, "ResourceAlreadyExistsException") => {
                        Err(web::refused(status, &answer))
                    }
                    _ => Ok(()),
                }
            }
            // To try again is right: somebody may make the group.
            Err((status, answer)) => {
                Err(DriverError { kind: ErrorKind::Unavailable, ..web::refused(status, &answer) })
            }
        }
    }

    async fn put(&mut self, events: &[Event]) -> Result<(), DriverError> {
        let log_events: Vec<Value> =
            events.iter().map(|event| json!({ "timestamp": event.time, "message": event.text })).collect();
        let body = json!({
            "logGroupName": self.group, "logStreamName": self.stream, "logEvents": log_events,
        });
        match self.call("PutLogEvents", &body).await? {
            Ok(answer) => {
                let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
                if let Some(info) = answer.get("rejectedLogEventsInfo").filter(|info| !info.is_null()) {
                    tracing::warn!(group = %self.group, %info, "CloudWatch left out lines that are too old or too new");
                }
                Ok(())
            }
            Err((_, answer)) if is(&answer, "DataAlreadyAcceptedException") => Ok(()),
            Err((_, answer)) if is(&answer, "InvalidParameterException") => {
                tracing::warn!(
                    group = %self.group, lines = events.len(), answer = %String::from_utf8_lossy(&answer),
                    "CloudWatch refused lines for what they are; they were left out"
                );
                Ok(())
            }
            Err((status, answer)) => {
                Err(DriverError { kind: ErrorKind::Unavailable, ..web::refused(status, &answer) })
            }
        }
    }
}

fn is(answer: &[u8], exception: &str) -> bool {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    answer.get("__type").and_then(Value::as_str).is_some_and(|kind| kind.ends_with(exception))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    time: i64,
    text: String,
    /// How many entries are done when this one is.
    entries: u64,
}

struct Stream {
    api: Api,
    settings: Settings,
    /// An event that may get more lines.
    event: Option<(i64, Vec<u8>)>,
    waiting: Vec<Event>,
    bytes: usize,
    since: Instant,
    taken: u64,
    acknowledged: u64,
}

impl Stream {
    async fn take(&mut self, entry: &LogEntry) -> Result<(), DriverError> {
        let begins = match (&self.settings.pattern, &entry.piece) {
            // The pieces of a long line are one event.
            (_, Some(piece)) if piece.ordinal > 1 => false,
            (None, _) => true,
            (Some(pattern), _) => pattern.is_match(&entry.line),
        };
        if begins {
            self.close().await?;
        }
        if self.event.as_ref().is_some_and(|(_, text)| text.len() + entry.line.len() > LARGEST_EVENT) {
            self.close().await?;
        }
        self.taken += 1;
        if self.event.is_none() && self.waiting.is_empty() {
            self.since = Instant::now();
        }
        let event = self.event.get_or_insert_with(|| (entry.time / 1_000_000, Vec::new()));
        event.1.extend_from_slice(&entry.line);
        let closes = self.settings.pattern.is_none() && entry.ends_line();
        if self.settings.pattern.is_some() && entry.ends_line() {
            event.1.push(b'\n');
        }
        if closes { self.close_at(self.taken).await } else { Ok(()) }
    }

    /// The open event is complete; the entry at hand is not part of it.
    async fn close(&mut self) -> Result<(), DriverError> {
        self.close_at(self.taken).await
    }

    async fn close_at(&mut self, entries: u64) -> Result<(), DriverError> {
        let Some((time, text)) = self.event.take() else { return Ok(()) };
        let text = String::from_utf8_lossy(&text).trim_end_matches('\n').to_owned();
        if text.is_empty() {
            return Ok(());
        }
        // Cut between characters, so that each part is within the limit.
        let mut rest = &text[..];
        while !rest.is_empty() {
            let end = rest.floor_char_boundary(LARGEST_EVENT);
            let (part, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            let size = part.len() + OVERHEAD;
            if self.waiting.len() >= self.settings.most.min(MOST) || self.bytes + size > LARGEST_BATCH {
                self.flush().await?;
            }
            self.bytes += size;
            self.waiting.push(Event {
                time,
                text: part.to_owned(),
                entries: if after.is_empty() { entries } else { 0 },
            });
            rest = after;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), DriverError> {
        let mut events = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let done = events.iter().map(|event| event.entries).max().unwrap_or_default();
        // CloudWatch wants them in order; those of one millisecond stay as they came.
        events.sort_by_key(|event| event.time);
        for part in events.chunk_by(|first, second| second.time - first.time < SPAN) {
            self.api.put(part).await?;
        }
        self.acknowledged = self.acknowledged.max(done);
        Ok(())
    }
}

#[async_trait::async_trait]
impl LogStream for Stream {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        for entry in batch {
            self.take(entry).await?;
        }
        if self.since.elapsed() >= self.settings.linger && (self.event.is_some() || !self.waiting.is_empty())
        {
            self.close().await?;
            self.flush().await?;
        }
        // Nothing waits: what made no event, as empty lines do, is done, too.
        if self.event.is_none() && self.waiting.is_empty() {
            self.acknowledged = self.taken;
        }
        Ok(self.acknowledged)
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        self.close().await?;
        self.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_dockers() {
        for (options, text) in [
            (vec![], "must specify a value for log opt 'awslogs-group'"),
            (
                vec![("awslogs-create-group", "perhaps")],
                "must specify valid value for log opt 'awslogs-create-group': perhaps",
            ),
            (
                vec![("awslogs-datetime-format", "%Y"), ("awslogs-multiline-pattern", "x")],
                "you cannot configure log opt 'awslogs-datetime-format' and 'awslogs-multiline-pattern' at the same time",
            ),
            (vec![("labels", "a")], "unknown log opt 'labels' for awslogs log driver"),
        ] {
            let mut given: BTreeMap<String, String> =
                options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            if !given.is_empty() {
                given.insert("awslogs-group".to_owned(), "g".to_owned());
            }
            let error =
                Options::new("awslogs", &given, &[OWN]).and_then(|options| read(&options)).unwrap_err();
            assert_eq!(error.message, text);
        }
    }

    #[test]
    fn dates_are_patterns() {
        let pattern = Regex::new(&date_pattern("[%b %d, %Y %H:%M:%S]")).unwrap();
        assert!(pattern.is_match(b"[May 01, 2017 19:00:01] A message"));
        assert!(!pattern.is_match(b"  a line of a stack trace"));
    }
}
