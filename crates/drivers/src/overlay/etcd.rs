//! What is needed of etcd: keys that live as long as a lease, transactions, and watches. Over its JSON gateway
//! (`/v3/…`, etcd 3.4 and later), so that one HTTP client does.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pintle_contract::{DriverError, ErrorKind};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// What one request may take. A watch may be silent for longer.
const REQUEST: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(2);
/// No answer of etcd's is larger than this.
const LARGEST: usize = 32 << 20;

/// How to reach etcd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcdConfig {
    /// `http://host:port` or `https://host:port`; tried in this order.
    pub endpoints: Vec<String>,
    /// Authorities that etcd's certificates come from, PEM; the system's if there is none.
    pub ca: Option<PathBuf>,
    /// This host's certificate and its key, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// User and password.
    pub user: Option<(String, String)>,
}

/// A client. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Etcd {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    config: EtcdConfig,
    /// The token of a user that has logged in.
    token: Mutex<Option<String>>,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
}

/// Everything below a prefix, as of one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) pairs: Vec<Pair>,
    pub(super) revision: i64,
}

/// A change below a prefix that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Put(Pair),
    Delete(String),
}

/// What a transaction that makes a key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Made {
    Ours,
    /// Somebody was first, with this value.
    Theirs(Vec<u8>),
}

impl Etcd {
    /// Reads the certificates; connects to nothing.
    pub(super) fn new(config: EtcdConfig) -> Result<Self, DriverError> {
        if config.endpoints.is_empty() {
            return Err(DriverError::invalid("the overlay driver needs at least one etcd endpoint"));
        }
        for endpoint in &config.endpoints {
            let url = reqwest::Url::parse(endpoint)
                .map_err(|error| DriverError::invalid(format!("etcd endpoint {endpoint:.200}: {error}")))?;
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                let text = format!(
                    "etcd endpoint {endpoint:.200}: it must be http://HOST:PORT or https://HOST:PORT"
                );
                return Err(DriverError::invalid(text));
            }
        }
        let tls = tls(&config)?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| DriverError::internal(format!("an HTTP client for etcd: {error}")))?;
        Ok(Self { shared: Arc::new(Shared { client, config, token: Mutex::new(None) }) })
    }

    /// A lease that ends `ttl` after its last renewal.
    pub(super) async fn grant(&self, ttl: Duration) -> Result<i64, DriverError> {
        #[derive(Deserialize)]
        struct Granted {
            #[serde(rename = "ID")]
            id: Number,
        }
        let granted: Granted = self.call("lease/grant", &json!({ "TTL": ttl.as_secs().max(1) })).await?;
        Ok(granted.id.0)
    }

    /// Renews a lease. False if it has ended.
    pub(super) async fn renew(&self, lease: i64) -> Result<bool, DriverError> {
        #[derive(Deserialize)]
        struct Renewed {
            result: Rest,
        }
        #[derive(Deserialize)]
        struct Rest {
            #[serde(rename = "TTL", default)]
            ttl: Number,
        }
        let renewed: Renewed = self.call("lease/keepalive", &json!({ "ID": lease.to_string() })).await?;
        Ok(renewed.result.ttl.0 > 0)
    }

    /// Ends a lease, and with it its keys. One that has ended already is no error.
    pub(super) async fn revoke(&self, lease: i64) -> Result<(), DriverError> {
        let ended: Result<Value, _> = self.call("lease/revoke", &json!({ "ID": lease.to_string() })).await;
        match ended {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    /// Makes `key` for as long as `lease` lives, or for good, unless it exists.
    pub(super) async fn make(
        &self,
        key: &str,
        value: &[u8],
        lease: Option<i64>,
    ) -> Result<Made, DriverError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            succeeded: bool,
            #[serde(default)]
            responses: Vec<One>,
        }
        #[derive(Deserialize)]
        struct One {
            response_range: Option<Range>,
        }
        let mut put = json!({ "key": encode(key), "value": BASE64_STANDARD.encode(value) });
        if let (Some(lease), Some(put)) = (lease, put.as_object_mut()) {
            put.insert("lease".to_owned(), json!(lease.to_string()));
        }
        let request = json!({
            "compare": [{ "key": encode(key), "target": "CREATE", "create_revision": "0" }],
            "success": [{ "request_put": put }],
            "failure": [{ "request_range": { "key": encode(key) } }],
        });
        let answer: Answer = self.call("kv/txn", &request).await?;
        if answer.succeeded {
            return Ok(Made::Ours);
        }
        let found = answer.responses.into_iter().find_map(|one| one.response_range);
        match found.and_then(|range| range.kvs.into_iter().next()) {
            Some(pair) => Ok(Made::Theirs(pair.decode()?.value)),
            // It went away between the look and the answer.
            None => Err(DriverError::new(ErrorKind::Unavailable, format!("etcd: {key} is being changed"))),
        }
    }

    /// Removes a key, if it has this value.
    pub(super) async fn remove(&self, key: &str, value: &[u8]) -> Result<(), DriverError> {
        let request = json!({
            "compare": [{ "key": encode(key), "target": "VALUE", "value": BASE64_STANDARD.encode(value) }],
            "success": [{ "request_delete_range": { "key": encode(key) } }],
        });
        self.call::<Value>("kv/txn", &request).await.map(drop)
    }

    /// Everything below `prefix`.
    pub(super) async fn list(&self, prefix: &str) -> Result<Snapshot, DriverError> {
        let request = json!({ "key": encode(prefix), "range_end": encode_end(prefix) });
        let range: Range = self.call("kv/range", &request).await?;
        let pairs: Result<_, _> = range.kvs.into_iter().map(RawPair::decode).collect();
        Ok(Snapshot { pairs: pairs?, revision: range.header.revision.0 })
    }

    /// What changes below `prefix` after `revision`.
    pub(super) async fn watch(&self, prefix: &str, revision: i64) -> Result<Watch, DriverError> {
        let request = json!({ "create_request": {
            "key": encode(prefix),
            "range_end": encode_end(prefix),
            "start_revision": (revision + 1).to_string(),
        } });
        let response = tokio::time::timeout(REQUEST, self.send("watch", &request, None))
            .await
            .map_err(|_| DriverError::new(ErrorKind::Timeout, "etcd does not answer a watch"))??;
        Ok(Watch { response, buffer: Vec::new() })
    }

    async fn call<T: for<'a> Deserialize<'a>>(&self, verb: &str, body: &Value) -> Result<T, DriverError> {
        let response = self.send(verb, body, Some(REQUEST)).await?;
        let bytes = read(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            DriverError::internal(format!("etcd's answer to {verb} cannot be read: {error}"))
        })
    }

    /// Asks one endpoint after the other until one can be reached.
    async fn send(
        &self,
        verb: &str,
        body: &Value,
        timeout: Option<Duration>,
    ) -> Result<Response, DriverError> {
        let mut last = DriverError::new(ErrorKind::Unavailable, "etcd cannot be reached");
        for endpoint in &self.shared.config.endpoints {
            for fresh in [false, true] {
                let token = match self.token(endpoint, fresh).await {
                    Ok(token) => token,
                    Err(error) => {
                        last = error;
                        break;
                    }
                };
                let url = format!("{}/v3/{verb}", endpoint.trim_end_matches('/'));
                let mut request = self.shared.client.post(url).body(body.to_string());
                if let Some(timeout) = timeout {
                    request = request.timeout(timeout);
                }
                if let Some(token) = &token {
                    request = request.header("Authorization", token);
                }
                match request.send().await {
                    Err(error) => {
                        last = unreachable(endpoint, &error);
                        break;
                    }
                    Ok(response) if response.status() == StatusCode::OK => return Ok(response),
                    Ok(response)
                        if response.status() == StatusCode::UNAUTHORIZED && token.is_some() && !fresh => {}
                    Ok(response) => {
                        let error = refused(endpoint, response).await;
                        // A member without a leader; another may have one.
                        if error.kind != ErrorKind::Unavailable {
                            return Err(error);
                        }
                        last = error;
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    async fn token(&self, endpoint: &str, fresh: bool) -> Result<Option<String>, DriverError> {
        #[derive(Deserialize)]
        struct Authenticated {
            token: String,
        }
        let Some((name, password)) = &self.shared.config.user else { return Ok(None) };
        // Only logins wait for each other.
        let mut known = self.shared.token.lock().await;
        if known.is_none() || fresh {
            let url = format!("{}/v3/auth/authenticate", endpoint.trim_end_matches('/'));
            let body = json!({ "name": name, "password": password });
            let sent = self.shared.client.post(url).timeout(REQUEST).body(body.to_string()).send().await;
            let response = sent.map_err(|error| unreachable(endpoint, &error))?;
            if response.status() != StatusCode::OK {
                return Err(refused(endpoint, response).await);
            }
            let answer: Authenticated = serde_json::from_slice(&read(response).await?)
                .map_err(|error| DriverError::internal(format!("etcd's login cannot be read: {error}")))?;
            *known = Some(answer.token);
        }
        Ok(known.clone())
    }
}

/// A stream of changes, in the order in which they happened.
pub(super) struct Watch {
    response: Response,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next changes. `None` at the end of the stream: list again, then watch anew.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Change>>, DriverError> {
        #[derive(Deserialize)]
        struct Line {
            result: Option<Events>,
        }
        #[derive(Deserialize)]
        struct Events {
            #[serde(default)]
            events: Vec<Event>,
            #[serde(default)]
            canceled: bool,
        }
        #[derive(Deserialize)]
        struct Event {
            #[serde(rename = "type", default)]
            kind: String,
            kv: RawPair,
        }
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line: Line = serde_json::from_slice(&line).map_err(|error| {
                    DriverError::internal(format!("etcd's watch cannot be read: {error}"))
                })?;
                let Some(events) = line.result.filter(|events| !events.canceled) else { return Ok(None) };
                let change = |event: Event| {
                    let deleted = event.kind == "DELETE";
                    let pair = event.kv.decode()?;
                    Ok(if deleted { Change::Delete(pair.key) } else { Change::Put(pair) })
                };
                return events.events.into_iter().map(change).collect::<Result<_, _>>().map(Some);
            }
            if self.buffer.len() > LARGEST {
                return Err(DriverError::internal("etcd's watch sends a line without an end"));
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                Ok(None) => return Ok(None),
                Err(error) => return Err(DriverError::new(ErrorKind::Unavailable, format!("etcd: {error}"))),
            }
        }
    }
}

/// etcd's gateway writes 64-bit numbers as strings and leaves zeros out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Number(i64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = match Value::deserialize(deserializer)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.map(Self).ok_or_else(|| serde::de::Error::custom("not a number of 64 bits"))
    }
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    header: Header,
    #[serde(default)]
    kvs: Vec<RawPair>,
}

#[derive(Default, Deserialize)]
struct Header {
    #[serde(default)]
    revision: Number,
}

#[derive(Deserialize)]
struct RawPair {
    key: String,
    #[serde(default)]
    value: String,
}

impl RawPair {
    fn decode(self) -> Result<Pair, DriverError> {
        let wrong = |_| DriverError::internal("etcd sent a key that is not base64");
        let key = BASE64_STANDARD.decode(self.key).map_err(wrong)?;
        let value = BASE64_STANDARD.decode(self.value).map_err(wrong)?;
        Ok(Pair { key: String::from_utf8_lossy(&key).into_owned(), value })
    }
}

fn encode(key: &str) -> String {
    BASE64_STANDARD.encode(key)
}

/// The first key behind all that begin with `prefix`, which must not be empty nor end in the largest byte.
fn encode_end(prefix: &str) -> String {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    BASE64_STANDARD.encode(end)
}

async fn read(mut response: Response) -> Result<Vec<u8>, DriverError> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= LARGEST => bytes.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(DriverError::internal("etcd's answer is too large")),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err(DriverError::new(ErrorKind::Unavailable, format!("etcd: {error}"))),
        }
    }
}

fn unreachable(endpoint: &str, error: &reqwest::Error) -> DriverError {
    let mut text = format!("etcd at {endpoint} cannot be reached");
    // The innermost cause says it best.
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    text += &format!(": {cause}");
    let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Unavailable };
    DriverError::new(kind, text)
}

/// What the gateway says in place of an answer, with the kind that its gRPC code stands for.
async fn refused(endpoint: &str, response: Response) -> DriverError {
    let status = response.status();
    let body = read(response).await.unwrap_or_default();
    let fields: BTreeMap<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
    let said = fields.get("message").or_else(|| fields.get("error")).and_then(Value::as_str);
    let said = said.map_or_else(|| String::from_utf8_lossy(&body).chars().take(200).collect(), str::to_owned);
    let kind = match (fields.get("code").and_then(Value::as_i64), status) {
        (Some(5), _) => ErrorKind::NotFound,
        (Some(7 | 16), _) | (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            ErrorKind::PermissionDenied
        }
        (Some(4), _) => ErrorKind::Timeout,
        (Some(14), _) | (_, StatusCode::SERVICE_UNAVAILABLE) => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    DriverError::new(kind, format!("etcd at {endpoint}: {said} ({status})"))
}

fn tls(config: &EtcdConfig) -> Result<rustls::ClientConfig, DriverError> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let unusable = |what: &dyn std::fmt::Display, error: &dyn std::fmt::Display| {
        DriverError::invalid(format!("the overlay driver's TLS: {what}: {error}"))
    };
    let chain = |path: &PathBuf| {
        CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unusable(&path.display(), &error))
    };
    let mut roots = rustls::RootCertStore::empty();
    match &config.ca {
        Some(path) => {
            for authority in chain(path)? {
                roots.add(authority).map_err(|error| unusable(&path.display(), &error))?;
            }
        }
        None if config.endpoints.iter().any(|endpoint| endpoint.starts_with("https:")) => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        None => {}
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&"versions", &error))?
        .with_root_certificates(roots);
    match &config.certificate {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let private =
                PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(&key.display(), &error))?;
            builder
                .with_client_auth_cert(chain(certificate)?, private)
                .map_err(|error| unusable(&certificate.display(), &error))
        }
    }
}
