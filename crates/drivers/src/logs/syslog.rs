//! The driver `syslog`: UDP, TCP, TLS and unix sockets, in the formats of RFC 3164 and RFC 5424.

use std::{collections::BTreeMap, path::PathBuf};

use chrono::{DateTime, Local, SecondsFormat};
use pintle_contract::{
    DriverError, LogDriver, LogEntry, LogStream,
    log::{LogInfo, Source},
};

use super::{
    connection::{Address, Connection, unavailable},
    datagram::Datagrams,
    identity,
    options::{ATTRIBUTES, Options},
    tls::Trust,
};

const OWN: &[&str] = &[
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
    "tag",
];
const FACILITIES: [&str; 20] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// Where a syslog daemon of this host listens.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// Sends lines to a syslog daemon.
#[derive(Debug, Clone, Copy, Default)]
pub struct Syslog;

#[derive(Debug, Clone)]
enum To {
    /// The first socket of this host's that is there.
    Local,
    Udp(String),
    Unixgram(PathBuf),
    Stream(Address),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// As the C library writes to the local daemon: no host name.
    Unix,
    Rfc3164,
    Rfc5424,
    Rfc5424Micro,
}

#[derive(Debug)]
struct Settings {
    to: To,
    format: Format,
    facility: usize,
    /// Each message with its length before it (RFC 5425), not a newline behind it.
    counted: bool,
}

impl Settings {
    fn read(given: &BTreeMap<String, String>) -> Result<Self, DriverError> {
        let options = Options::new("syslog", given, &[OWN, ATTRIBUTES])?;
        identity::check(&options)?;
        let format = match options.text("syslog-format") {
            None => Format::Unix,
            Some("rfc3164") => Format::Rfc3164,
            Some("rfc5424") => Format::Rfc5424,
            Some("rfc5424micro") => Format::Rfc5424Micro,
            Some(_) => return Err(DriverError::invalid("Invalid syslog format")),
        };
        let to = to(&options)?;
        let secure = matches!(to, To::Stream(Address::Tls(..)));
        let counted = secure && matches!(format, Format::Rfc5424 | Format::Rfc5424Micro);
        Ok(Self { to, format, facility: facility(options.text("syslog-facility"))?, counted })
    }
}

fn facility(text: Option<&str>) -> Result<usize, DriverError> {
    let Some(text) = text else { return Ok(3) };
    // 12 to 15 have no names.
    let named = FACILITIES.iter().position(|name| *name == text);
    let named = named.map(|at| if at >= 12 { at + 4 } else { at });
    let numbered = text.parse().ok().filter(|number| *number <= 23);
    named.or(numbered).ok_or_else(|| DriverError::invalid("invalid syslog facility"))
}

fn to(options: &Options<'_>) -> Result<To, DriverError> {
    let Some(address) = options.text("syslog-address") else { return Ok(To::Local) };
    let form = || {
        DriverError::invalid(format!("syslog-address should be in form proto://address, got {address:.200}"))
    };
    let (scheme, place) = address.split_once("://").ok_or_else(form)?;
    if matches!(scheme, "unix" | "unixgram") {
        let path = PathBuf::from(place);
        if let Err(error) = std::fs::metadata(&path) {
            return Err(DriverError::invalid(format!("syslog-address: {place:.200}: {error}")));
        }
        return Ok(if scheme == "unix" { To::Stream(Address::Unix(path)) } else { To::Unixgram(path) });
    }
    if place.is_empty() || place.contains('/') {
        return Err(form());
    }
    let place = with_port(place, 514);
    match scheme {
        "udp" => Ok(To::Udp(place)),
        "tcp" => Ok(To::Stream(Address::Tcp(place))),
        "tcp+tls" => {
            let text = |key| options.text(key).map(str::to_owned);
            let own = match (text("syslog-tls-cert"), text("syslog-tls-key")) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                _ => {
                    return Err(DriverError::invalid(
                        "syslog-tls-cert and syslog-tls-key go together: give both or none",
                    ));
                }
            };
            // Whatever its value is, as in Docker.
            let anyone = options.text("syslog-tls-skip-verify").is_some();
            let trust = Trust { ca: text("syslog-tls-ca-cert"), own, anyone };
            trust.config()?;
            Ok(To::Stream(Address::Tls(place, trust)))
        }
        _ => Err(form()),
    }
}

/// `place` with a port if it has none.
pub(super) fn with_port(place: &str, port: u16) -> String {
    let bracketed = place.ends_with(']');
    let has = !bracketed
        && place.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    match (has, place.contains(':') && !place.starts_with('[')) {
        (true, _) => place.to_owned(),
        (false, true) => format!("[{place}]:{port}"),
        (false, false) => format!("{place}:{port}"),
    }
}

#[async_trait::async_trait]
impl LogDriver for Syslog {
    fn check(&self, options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        Settings::read(options).map(drop)
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let settings = Settings::read(&info.options)?;
        let options = Options::new("syslog", &info.options, &[OWN, ATTRIBUTES])?;
        let head = Head {
            format: settings.format,
            facility: settings.facility,
            hostname: identity::hostname(),
            tag: identity::tag(&options, &info, identity::DEFAULT)?,
            pid: std::process::id(),
        };
        let link = match &settings.to {
            To::Local => local().await?,
            To::Udp(place) => Link::Datagrams(Datagrams::udp(place).await?),
            To::Unixgram(path) => Link::Datagrams(Datagrams::unix(path)?),
            To::Stream(address) => Link::Stream(Box::new(Connection::open(address).await?)),
        };
        Ok(Box::new(Stream { head, link, counted: settings.counted }))
    }
}

async fn local() -> Result<Link, DriverError> {
    for path in LOCAL.map(PathBuf::from) {
        if let Ok(socket) = Datagrams::unix(&path) {
            return Ok(Link::Datagrams(socket));
        }
        if let Ok(stream) = Connection::open(&Address::Unix(path)).await {
            return Ok(Link::Stream(Box::new(stream)));
        }
    }
    Err(unavailable(
        &"syslog",
        &"no syslog daemon listens on this host: tried /dev/log, /var/run/syslog, /var/run/log",
    ))
}

/// What stands before each line.
struct Head {
    format: Format,
    facility: usize,
    hostname: String,
    tag: String,
    pid: u32,
}

impl Head {
    fn message(&self, entry: &LogEntry) -> Vec<u8> {
        let severity = if entry.source == Source::Stderr { 3 } else { 6 };
        let priority = self.facility * 8 + severity;
        let Self { hostname, tag, pid, .. } = self;
        let time: DateTime<Local> = DateTime::from_timestamp_nanos(entry.time).into();
        let stamp = time.format("%b %e %H:%M:%S");
        let text = match self.format {
            Format::Unix => format!("<{priority}>{stamp} {tag}[{pid}]: "),
            Format::Rfc3164 => format!("<{priority}>{stamp} {hostname} {tag}[{pid}]: "),
            Format::Rfc5424 => {
                let stamp = time.to_rfc3339_opts(SecondsFormat::Secs, true);
                format!("<{priority}>1 {stamp} {hostname} {tag} {pid} {tag} - ")
            }
            Format::Rfc5424Micro => {
                let stamp = time.to_rfc3339_opts(SecondsFormat::Micros, true);
                format!("<{priority}>1 {stamp} {hostname} {tag} {pid} {tag} - ")
            }
        };
        let mut message = text.into_bytes();
        message.extend_from_slice(&entry.line);
        message
    }
}

enum Link {
    Datagrams(Datagrams),
    Stream(Box<Connection>),
}

struct Stream {
    head: Head,
    link: Link,
    counted: bool,
}

#[async_trait::async_trait]
impl LogStream for Stream {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        // Docker's driver says nothing of empty lines.
        let messages =
            batch.iter().filter(|entry| !entry.line.is_empty()).map(|entry| self.head.message(entry));
        match &mut self.link {
            Link::Datagrams(socket) => {
                for mut message in messages {
                    message.push(b'\n');
                    socket.send(&message).await?;
                }
                socket.sent(batch.len());
                socket.settled()
            }
            Link::Stream(connection) => {
                let mut bytes = Vec::new();
                for mut message in messages {
                    message.push(b'\n');
                    if self.counted {
                        bytes.extend_from_slice(format!("{} ", message.len()).as_bytes());
                    }
                    bytes.append(&mut message);
                }
                if !bytes.is_empty() {
                    connection.write(&bytes, batch.len()).await?;
                }
                connection.settled().await
            }
        }
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        match &mut self.link {
            Link::Datagrams(socket) => socket.finish().await,
            Link::Stream(connection) => connection.finish().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(options: &[(&str, &str)]) -> BTreeMap<String, String> {
        options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_are_dockers() {
        for (options, text) in [
            (vec![("syslog-facility", "nope")], "invalid syslog facility"),
            (vec![("syslog-format", "nope")], "Invalid syslog format"),
            (vec![("syslog-address", "nope")], "syslog-address should be in form proto://address, got nope"),
            (vec![("bogus", "1")], "unknown log opt 'bogus' for syslog log driver"),
        ] {
            assert_eq!(Settings::read(&given(&options)).unwrap_err().message, text);
        }
        Settings::read(&given(&[("syslog-address", "unix:///nonexistent/socket")])).unwrap_err();
        let settings = Settings::read(&given(&[("syslog-facility", "local0")])).unwrap();
        assert_eq!((settings.facility, settings.format), (16, Format::Unix));
        assert_eq!(with_port("host", 514), "host:514");
        assert_eq!(with_port("[::1]", 514), "[::1]:514");
        assert_eq!(with_port("::1", 514), "[::1]:514");
        assert_eq!(with_port("[::1]:1", 514), "[::1]:1");
        assert_eq!(with_port("host:1", 514), "host:1");
    }

    #[test]
    fn formats() {
        let head = |format| Head { format, facility: 3, hostname: "h".into(), tag: "t".into(), pid: 7 };
        let entry = LogEntry { line: b"x".to_vec(), source: Source::Stderr, ..LogEntry::default() };
        let text = |format| String::from_utf8(head(format).message(&entry)).unwrap();
        assert!(text(Format::Unix).starts_with("<27>") && text(Format::Unix).ends_with(" t[7]: x"));
        assert!(text(Format::Rfc3164).ends_with(" h t[7]: x"));
        assert!(
            text(Format::Rfc5424).ends_with(" h t 7 t - x") && text(Format::Rfc5424).starts_with("<27>1 ")
        );
        assert!(text(Format::Rfc5424Micro).contains(".000000"));
    }
}
