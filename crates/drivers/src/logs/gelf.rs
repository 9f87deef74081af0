//! The driver `gelf`: Graylog's format, compressed and in chunks over UDP, or over TCP.

use std::{collections::BTreeMap, io::Write, time::Duration};

use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use pintle_contract::{
    DriverError, LogDriver, LogEntry, LogStream,
    log::{LogInfo, Source},
};
use serde_json::{Map, Number, Value};

use super::{
    connection::{Address, Connection},
    datagram::Datagrams,
    identity,
    options::{ATTRIBUTES, Options},
};

const OWN: &[&str] = &[
    "gelf-address",
    "gelf-compression-type",
    "gelf-compression-level",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
    "tag",
];
/// A datagram, and the chunk of a message in one; a message has at most so many.
const DATAGRAM: usize = 1420;
const CHUNK: usize = DATAGRAM - 12;
const CHUNKS: usize = 128;
/// All attempts to connect share this, so that whoever asks hears in time.
const PATIENCE: Duration = Duration::from_secs(12);

/// Sends lines to Graylog, or to whoever speaks its format.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gelf;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gzip,
    Zlib,
    None,
}

#[derive(Debug)]
enum To {
    Udp { place: String, kind: Kind, level: Compression },
    Tcp { place: String, reconnects: u32, delay: Duration },
}

fn read(given: &BTreeMap<String, String>) -> Result<To, DriverError> {
    let options = Options::new("gelf", given, &[OWN, ATTRIBUTES])?;
    identity::check(&options)?;
    let Some(address) = options.text("gelf-address") else {
        return Err(DriverError::invalid("gelf-address is a required parameter"));
    };
    let Some((scheme, place)) = address.split_once("://") else {
        let text = format!("gelf-address should be in form proto://address, got {address:.200}");
        return Err(DriverError::invalid(text));
    };
    if !matches!(scheme, "udp" | "tcp") {
        return Err(DriverError::invalid("gelf: endpoint needs to be TCP or UDP"));
    }
    if place.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        return Err(DriverError::invalid("gelf: please provide gelf-address as proto://host:port"));
    }
    let place = place.to_owned();
    let count = |key: &str, default: u32| match options.text(key) {
        None => Ok(default),
        Some(value) => {
            value.parse().map_err(|_| DriverError::invalid(format!("{key:?} must be a positive integer")))
        }
    };
    let unknown = |key: &str, value: &str| {
        DriverError::invalid(format!("unknown value {value:?} for log opt {key:?} for gelf log driver"))
    };
    if scheme == "tcp" {
        if given.contains_key("gelf-compression-type") || given.contains_key("gelf-compression-level") {
            return Err(DriverError::invalid("compression is only supported on UDP"));
        }
        let delay = Duration::from_secs(count("gelf-tcp-reconnect-delay", 1)?.into());
        return Ok(To::Tcp { place, reconnects: count("gelf-tcp-max-reconnect", 3)?, delay });
    }
    for key in ["gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"] {
        if given.contains_key(key) {
            return Err(DriverError::invalid(format!("{key:?} is only valid for TCP")));
        }
    }
    let kind = match options.text("gelf-compression-type") {
        None | Some("gzip") => Kind::Gzip,
        Some("zlib") => Kind::Zlib,
        Some("none") => Kind::None,
        Some(other) => return Err(unknown("gelf-compression-type", other)),
    };
    let level = match options.text("gelf-compression-level") {
        None => Compression::new(1),
        Some("-1") => Compression::default(),
        Some(text) => match text.parse() {
            Ok(level @ 0..=9) => Compression::new(level),
            _ => return Err(unknown("gelf-compression-level", text)),
        },
    };
    Ok(To::Udp { place, kind, level })
}

#[async_trait::async_trait]
impl LogDriver for Gelf {
    fn check(&self, options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        read(options).map(drop)
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let to = read(&info.options)?;
        let constant = constant(&info)?;
        Ok(match to {
            To::Udp { place, kind, level } => {
                Box::new(Udp { socket: Datagrams::udp(&place).await?, kind, level, constant })
            }
            To::Tcp { place, reconnects, delay } => {
                let address = Address::Tcp(place);
                let deadline = tokio::time::Instant::now() + PATIENCE;
                let mut left = reconnects;
                let connection = loop {
                    match Connection::open(&address).await {
                        Ok(connection) => break connection,
                        Err(error) if left == 0 || tokio::time::Instant::now() + delay > deadline => {
                            return Err(error);
                        }
                        Err(_) => tokio::time::sleep(delay).await,
                    }
                    left -= 1;
                };
                Box::new(Tcp { connection, constant })
            }
        })
    }
}

/// What is the same in every message.
fn constant(info: &LogInfo) -> Result<Map<String, Value>, DriverError> {
    let options = Options::new("gelf", &info.options, &[OWN, ATTRIBUTES])?;
    let text = |value: &str| Value::String(value.to_owned());
    let mut fields = Map::new();
    fields.insert("version".to_owned(), text("1.1"));
    fields.insert("host".to_owned(), Value::String(identity::hostname()));
    fields.insert("_container_id".to_owned(), text(&info.id));
    fields.insert("_container_name".to_owned(), text(identity::name(info)));
    fields.insert("_image_id".to_owned(), text(&info.image_id));
    fields.insert("_image_name".to_owned(), text(&info.image_name));
    fields.insert("_command".to_owned(), Value::String(identity::command(info)));
    fields.insert("_tag".to_owned(), Value::String(identity::tag(&options, info, identity::DEFAULT)?));
    fields.insert("_created".to_owned(), text(&info.created));
    for (key, value) in identity::attributes(&options, info)? {
        fields.insert(format!("_{}", key.trim_start_matches('_')), Value::String(value));
    }
    Ok(fields)
}

fn message(constant: &Map<String, Value>, entry: &LogEntry) -> Vec<u8> {
    let mut fields = constant.clone();
    for (key, value) in &entry.attributes {
        fields.insert(format!("_{}", key.trim_start_matches('_')), Value::String(value.clone()));
    }
    let line = String::from_utf8_lossy(&entry.line).into_owned();
    fields.insert("short_message".to_owned(), Value::String(line));
    let level = if entry.source == Source::Stderr { 3 } else { 6 };
    fields.insert("level".to_owned(), level.into());
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this age fit a double exactly")]
    let time = entry.time.div_euclid(1_000_000) as f64 / 1000.0;
    fields.insert("timestamp".to_owned(), Number::from_f64(time).map_or(Value::Null, Value::Number));
    Value::Object(fields).to_string().into_bytes()
}

struct Udp {
    socket: Datagrams,
    kind: Kind,
    level: Compression,
    constant: Map<String, Value>,
}

impl Udp {
    fn compress(&self, message: Vec<u8>) -> Result<Vec<u8>, DriverError> {
        Ok(match self.kind {
            Kind::None => message,
            Kind::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), self.level);
                encoder.write_all(&message)?;
                encoder.finish()?
            }
            Kind::Zlib => {
                let mut encoder = ZlibEncoder::new(Vec::new(), self.level);
                encoder.write_all(&message)?;
                encoder.finish()?
            }
        })
    }
}

#[async_trait::async_trait]
impl LogStream for Udp {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        for entry in batch.iter().filter(|entry| !entry.line.is_empty()) {
            let bytes = self.compress(message(&self.constant, entry))?;
            if bytes.len() <= DATAGRAM {
                self.socket.send(&bytes).await?;
                continue;
            }
            let chunks: Vec<&[u8]> = bytes.chunks(CHUNK).collect();
            let Some(count) = u8::try_from(chunks.len()).ok().filter(|_| chunks.len() <= CHUNKS) else {
                tracing::warn!(
                    bytes = bytes.len(),
                    "a message is too large for GELF over UDP and was left out"
                );
                continue;
            };
            let id: [u8; 8] = rand::random();
            for (number, chunk) in (0..count).zip(chunks) {
                let mut datagram = vec![0x1e, 0x0f];
                datagram.extend_from_slice(&id);
                datagram.extend_from_slice(&[number, count]);
                datagram.extend_from_slice(chunk);
                self.socket.send(&datagram).await?;
            }
        }
        self.socket.sent(batch.len());
        self.socket.settled()
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        self.socket.finish().await
    }
}

struct Tcp {
    connection: Connection,
    constant: Map<String, Value>,
}

#[async_trait::async_trait]
impl LogStream for Tcp {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        let mut bytes = Vec::new();
        for entry in batch.iter().filter(|entry| !entry.line.is_empty()) {
            bytes.append(&mut message(&self.constant, entry));
            bytes.push(0);
        }
        if !bytes.is_empty() {
            self.connection.write(&bytes, batch.len()).await?;
        }
        self.connection.settled().await
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        self.connection.finish().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_dockers() {
        for (options, text) in [
            (vec![], "gelf-address is a required parameter"),
            (vec![("gelf-address", "x")], "gelf-address should be in form proto://address, got x"),
            (vec![("gelf-address", "http://x:1")], "gelf: endpoint needs to be TCP or UDP"),
            (vec![("gelf-address", "udp://x")], "gelf: please provide gelf-address as proto://host:port"),
            (
                vec![("gelf-address", "udp://x:1"), ("gelf-compression-type", "lz4")],
                "unknown value \"lz4\" for log opt \"gelf-compression-type\" for gelf log driver",
            ),
            (
                vec![("gelf-address", "tcp://x:1"), ("gelf-compression-level", "1")],
                "compression is only supported on UDP",
            ),
            (
                vec![("gelf-address", "udp://x:1"), ("gelf-tcp-max-reconnect", "1")],
                "\"gelf-tcp-max-reconnect\" is only valid for TCP",
            ),
        ] {
            let given = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            assert_eq!(read(&given).unwrap_err().message, text);
        }
    }
}
