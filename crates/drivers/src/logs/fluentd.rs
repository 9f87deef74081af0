//! The driver `fluentd`: the forward protocol (v1) in its packed mode, with acknowledgement, compression, TLS, and
//! authorization by a shared key.

use std::{collections::BTreeMap, io::Write, path::PathBuf, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use pintle_contract::{DriverError, LogDriver, LogEntry, LogStream, log::LogInfo};
use sha2::{Digest, Sha512};

use super::{
    connection::{Address, Connection, unavailable},
    identity,
    msgpack::{self, Value},
    options::{ATTRIBUTES, Options},
    syslog::with_port,
    tls::Trust,
};

const OWN: &[&str] = &[
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-retry-wait",
    "fluentd-request-ack",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
    "fluentd-read-timeout",
    "tag",
];
/// What Docker's driver does not have.
const MORE: &[&str] = &[
    "compress",
    "fluentd-shared-key",
    "fluentd-username",
    "fluentd-password",
    "fluentd-tls-ca-cert",
    "fluentd-tls-cert",
    "fluentd-tls-key",
    "fluentd-tls-skip-verify",
];
/// A stream tries to connect this often at most; then it is said that lines wait, and another begins.
const TRIES: u32 = 10;
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What is sent before the next acknowledgement is waited for.
const CHUNK: usize = 64 << 10;

/// Sends lines to Fluentd, Fluent Bit, or whoever speaks their protocol.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fluentd;

#[derive(Debug)]
struct Settings {
    address: Address,
    ack: bool,
    precise: bool,
    compress: bool,
    tries: u32,
    wait: Duration,
    write: Duration,
    read: Duration,
    /// As many bytes are sent and not acknowledged at most; the rest waits on the disk.
    limit: usize,
    key: Option<String>,
    user: (String, String),
}

impl Settings {
    fn read(options: &Options<'_>) -> Result<Self, DriverError> {
        identity::check(options)?;
        for key in ["fluentd-async", "fluentd-async-connect"] {
            options.flag(key, false)?;
        }
        let interval = options.duration("fluentd-async-reconnect-interval", Duration::ZERO)?;
        let range = Duration::from_millis(100)..=Duration::from_secs(10);
        if !interval.is_zero() && !range.contains(&interval) {
            let text = "it must be between 100ms and 10s";
            return Err(options.bad("fluentd-async-reconnect-interval", &format!("{interval:?}"), text));
        }
        let text = |key| options.text(key).map(str::to_owned);
        let retries: u32 = options.number("fluentd-max-retries", i32::MAX.unsigned_abs(), 0)?;
        let none = Duration::ZERO;
        let timeout =
            |key| options.duration(key, none).map(|limit| if limit.is_zero() { None } else { Some(limit) });
        let wait = options.duration("fluentd-retry-wait", Duration::from_secs(1))?;
        Ok(Self {
            address: address(options)?,
            ack: options.flag("fluentd-request-ack", false)?,
            precise: options.flag("fluentd-sub-second-precision", false)?,
            compress: options.flag("compress", false)?,
            tries: retries.saturating_add(1).min(TRIES),
            wait: if interval.is_zero() { wait } else { interval },
            write: timeout("fluentd-write-timeout")?.unwrap_or(Duration::from_secs(30)),
            read: timeout("fluentd-read-timeout")?.unwrap_or(Duration::from_secs(60)),
            limit: usize::try_from(options.size("fluentd-buffer-limit", 1 << 20)?).unwrap_or(usize::MAX),
            key: text("fluentd-shared-key"),
            user: (
                text("fluentd-username").unwrap_or_default(),
                text("fluentd-password").unwrap_or_default(),
            ),
        })
    }
}

fn address(options: &Options<'_>) -> Result<Address, DriverError> {
    let given = options.text("fluentd-address").unwrap_or("tcp://127.0.0.1:24224");
    let bad = |why: &str| DriverError::invalid(format!("invalid fluentd-address ({given:.200}): {why}"));
    let (scheme, place) = given.split_once("://").unwrap_or(("tcp", given));
    if scheme == "unix" {
        return match place.trim_start_matches('/') {
            "" => Err(bad("path is empty")),
            _ => Ok(Address::Unix(PathBuf::from(place))),
        };
    }
    if !matches!(scheme, "tcp" | "tls") {
        return Err(bad(&format!("unsupported scheme: '{scheme}'")));
    }
    if place.contains('/') {
        return Err(bad("should not contain a path element"));
    }
    let place = with_port(if place.is_empty() { "127.0.0.1" } else { place }, 24224);
    let place = if place.starts_with(':') { format!("127.0.0.1{place}") } else { place };
    if place.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        return Err(bad("the port must be a number up to 65535"));
    }
    if scheme == "tcp" {
        return Ok(Address::Tcp(place));
    }
    let text = |key| options.text(key).map(str::to_owned);
    let trust = Trust {
        ca: text("fluentd-tls-ca-cert"),
        own: text("fluentd-tls-cert").zip(text("fluentd-tls-key")),
        anyone: options.flag("fluentd-tls-skip-verify", false)?,
    };
    trust.config()?;
    Ok(Address::Tls(place, trust))
}

#[async_trait::async_trait]
impl LogDriver for Fluentd {
    fn check(&self, options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        Settings::read(&Options::new("fluentd", options, &[OWN, MORE, ATTRIBUTES])?).map(drop)
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let options = Options::new("fluentd", &info.options, &[OWN, MORE, ATTRIBUTES])?;
        let settings = Settings::read(&options)?;
        let mut constant = vec![
            ("container_id".to_owned(), info.id.clone()),
            ("container_name".to_owned(), info.name.clone()),
        ];
        constant.extend(identity::attributes(&options, &info)?);
        let tag = identity::tag(&options, &info, identity::DEFAULT)?;
        Ok(Box::new(Stream {
            settings,
            tag,
            constant,
            connection: None,
            sent: 0,
            inbox: Vec::new(),
            window: 0,
        }))
    }
}

struct Stream {
    settings: Settings,
    tag: String,
    constant: Vec<(String, String)>,
    connection: Option<Connection>,
    /// Entries handed over; with acknowledgement all of them are acknowledged.
    sent: u64,
    inbox: Vec<u8>,
    /// Bytes sent since the last pause for an acknowledgement of the kernel's.
    window: usize,
}

impl Stream {
    /// The connection, made with as much patience as the options say.
    async fn connect(&mut self) -> Result<Connection, DriverError> {
        let mut wait = self.settings.wait;
        let mut left = self.settings.tries;
        loop {
            left = left.saturating_sub(1);
            match Connection::open(&self.settings.address).await {
                Ok(mut connection) => {
                    connection.limit_writes(self.settings.write);
                    self.inbox.clear();
                    if self.settings.key.is_some() {
                        self.greet(&mut connection).await?;
                    }
                    return Ok(connection);
                }
                Err(error) if left == 0 => return Err(error),
                Err(_) => tokio::time::sleep(wait).await,
            }
            wait = (wait * 3 / 2).min(LONGEST_WAIT);
        }
    }

    async fn answer(&mut self, connection: &mut Connection) -> Result<Value, DriverError> {
        loop {
            if let Some((value, length)) = msgpack::read(&self.inbox)? {
                self.inbox.drain(..length);
                return Ok(value);
            }
            connection.read(&mut self.inbox, self.settings.read).await?;
        }
    }

    /// HELO, PING, PONG: each side proves that it has the key without saying it.
    async fn greet(&mut self, connection: &mut Connection) -> Result<(), DriverError> {
        let key = self.settings.key.clone().unwrap_or_default();
        let to = self.settings.address.clone();
        let refused = |why: &str| unavailable(&to, &format!("the shared key: {why}"));
        let hello = self.answer(connection).await?;
        if hello.items().first().and_then(Value::bytes) != Some(b"HELO") {
            return Err(refused("it sends no greeting"));
        }
        let of =
            |name: &str| hello.items().get(1).and_then(|about| about.get(name)?.bytes()).unwrap_or_default();
        let (nonce, auth) = (of("nonce").to_vec(), of("auth").to_vec());
        let salt = hex::encode(rand::random::<[u8; 16]>()).into_bytes();
        let host = identity::hostname();
        let (user, password) = &self.settings.user;
        let mut ping = Vec::new();
        msgpack::array(&mut ping, 6);
        msgpack::string(&mut ping, b"PING");
        msgpack::string(&mut ping, host.as_bytes());
        msgpack::string(&mut ping, &salt);
        msgpack::string(&mut ping, &digest(&[&salt, host.as_bytes(), &nonce, key.as_bytes()]));
        msgpack::string(&mut ping, if auth.is_empty() { b"" } else { user.as_bytes() });
        let proof =
            if auth.is_empty() { Vec::new() } else { digest(&[&auth, user.as_bytes(), password.as_bytes()]) };
        msgpack::string(&mut ping, &proof);
        connection.write(&ping, 0).await?;
        let pong = self.answer(connection).await?;
        let text = |at: usize| pong.items().get(at).and_then(Value::bytes).unwrap_or_default();
        if pong.items().get(1) != Some(&Value::Flag(true)) {
            return Err(refused(&format!("refused: {}", String::from_utf8_lossy(text(2)))));
        }
        if text(4) != digest(&[&salt, text(3), &nonce, key.as_bytes()]) {
            return Err(refused("the other end does not have it"));
        }
        Ok(())
    }

    fn entry(&self, entry: &LogEntry, out: &mut Vec<u8>) {
        msgpack::array(out, 2);
        let seconds = u32::try_from(entry.time.div_euclid(1_000_000_000)).unwrap_or_default();
        if self.settings.precise {
            out.extend_from_slice(&[0xd7, 0]);
            out.extend_from_slice(&seconds.to_be_bytes());
            let rest = u32::try_from(entry.time.rem_euclid(1_000_000_000)).unwrap_or_default();
            out.extend_from_slice(&rest.to_be_bytes());
        } else {
            msgpack::number(out, seconds.into());
        }
        let own = ["log", "source"].len();
        let pieces = if entry.piece.is_some() { 4 } else { 0 };
        msgpack::map(out, self.constant.len() + entry.attributes.len() + own + pieces);
        let mut pair = |key: &str, value: &[u8]| {
            msgpack::string(out, key.as_bytes());
            msgpack::string(out, value);
        };
        let constant = self.constant.iter().map(|(key, value)| (key, value));
        for (key, value) in constant.chain(&entry.attributes) {
            pair(key, value.as_bytes());
        }
        pair("source", entry.source.name().as_bytes());
        pair("log", &entry.line);
        if let Some(piece) = &entry.piece {
            pair("partial_message", b"true");
            pair("partial_id", piece.id.as_bytes());
            pair("partial_ordinal", piece.ordinal.to_string().as_bytes());
            pair("partial_last", piece.last.to_string().as_bytes());
        }
    }

    async fn chunk(&mut self, connection: &mut Connection, entries: &[LogEntry]) -> Result<(), DriverError> {
        let mut packed = Vec::new();
        for entry in entries {
            self.entry(entry, &mut packed);
        }
        if self.settings.compress {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&packed)?;
            packed = encoder.finish()?;
        }
        let id = BASE64_STANDARD.encode(rand::random::<[u8; 16]>());
        let mut bytes = Vec::with_capacity(packed.len() + 128);
        msgpack::array(&mut bytes, 3);
        msgpack::string(&mut bytes, self.tag.as_bytes());
        msgpack::binary(&mut bytes, &packed);
        msgpack::map(&mut bytes, 1 + usize::from(self.settings.compress) + usize::from(self.settings.ack));
        msgpack::string(&mut bytes, b"size");
        msgpack::number(&mut bytes, entries.len() as u64);
        if self.settings.compress {
            msgpack::string(&mut bytes, b"compressed");
            msgpack::string(&mut bytes, b"gzip");
        }
        if self.settings.ack {
            msgpack::string(&mut bytes, b"chunk");
            msgpack::string(&mut bytes, id.as_bytes());
        }
        connection.write(&bytes, entries.len()).await?;
        self.window += bytes.len();
        if self.settings.ack {
            let answer = self.answer(connection).await?;
            if answer.get("ack").and_then(Value::bytes) != Some(id.as_bytes()) {
                return Err(unavailable(&self.settings.address, &"it acknowledged something else"));
            }
            self.window = 0;
        } else if self.window > self.settings.limit {
            // The rest waits on the disk.
            connection.drained(self.settings.write).await?;
            self.window = 0;
        }
        self.sent += entries.len() as u64;
        Ok(())
    }
}

fn digest(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    hex::encode(hash.finalize()).into_bytes()
}

#[async_trait::async_trait]
impl LogStream for Stream {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut rest = batch;
        while !rest.is_empty() {
            let mut size = 0;
            let count = rest.iter().take_while(|entry| {
                size += entry.line.len() + 64;
                size <= CHUNK.min(self.settings.limit)
            });
            let count = count.count().max(1);
            let (chunk, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            self.chunk(&mut connection, chunk).await?;
            rest = after;
        }
        // Between chunks nothing is to be read, so that a closed connection is seen before the next one.
        let settled = connection.settled().await?;
        self.connection = Some(connection);
        Ok(if self.settings.ack { self.sent } else { settled })
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        match &mut self.connection {
            Some(connection) if !self.settings.ack => connection.finish().await,
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<Settings, DriverError> {
        let given = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::read(&Options::new("fluentd", &given, &[OWN, MORE, ATTRIBUTES])?)
    }

    #[test]
    fn options_are_dockers() {
        for (given, place) in [
            ("localhost:24224", "tcp://localhost:24224"),
            ("localhost", "tcp://localhost:24224"),
            ("tls://h:1", "tls://h:1"),
            ("unix:///run/f.sock", "unix:///run/f.sock"),
        ] {
            let settings = read(&[("fluentd-address", given), ("fluentd-tls-skip-verify", "true")]).unwrap();
            assert_eq!(settings.address.to_string(), place);
        }
        for (key, value) in [
            ("fluentd-address", "udp://h:1"),
            ("fluentd-address", "tcp://h:1/path"),
            ("fluentd-address", "unix://"),
            ("fluentd-address", "h:x"),
            ("fluentd-async", "perhaps"),
            ("fluentd-buffer-limit", "many"),
            ("fluentd-max-retries", "-1"),
            ("fluentd-retry-wait", "1"),
            ("fluentd-async-reconnect-interval", "1h"),
            ("fluentd-nonsense", "1"),
        ] {
            read(&[(key, value)]).unwrap_err();
        }
    }
}
