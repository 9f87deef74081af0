//! One record of a log, and how it is sent.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::{BufMut, Bytes, BytesMut};
use chrono::{DateTime, SecondsFormat, Utc};
use pintle_contract::log::{LogEntry, Piece, Source};
use pintle_runtime::LogFormat;
use pintle_wire::log as wire;
use serde::Deserialize;

use crate::containers::LogOptions;

/// `{"log":"…\n","stream":"stdout","attrs":{…},"time":"…"}`. A piece of a long line has no newline.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow, default)]
    pub log: Cow<'a, str>,
    #[serde(borrow, default)]
    pub stream: Cow<'a, str>,
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
    pub time: DateTime<Utc>,
}

impl<'a> Line<'a> {
    /// `None` for what is not a record: a torn write after a crash, or somebody's edit.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    fn shown(&self) -> Shown<'_> {
        Shown {
            text: self.log.as_bytes(),
            newline: false,
            stderr: self.stream == "stderr",
            attrs: &self.attrs,
            time: self.time,
        }
    }
}

/// What is sent of a record, whatever its format.
struct Shown<'a> {
    text: &'a [u8],
    /// Whether one follows the text.
    newline: bool,
    stderr: bool,
    attrs: &'a BTreeMap<String, String>,
    time: DateTime<Utc>,
}

impl<'a> From<&'a LogEntry> for Shown<'a> {
    fn from(entry: &'a LogEntry) -> Self {
        Self {
            text: &entry.line,
            newline: entry.ends_line(),
            stderr: entry.source == Source::Stderr,
            attrs: &entry.attributes,
            time: DateTime::from_timestamp_nanos(entry.time),
        }
    }
}

impl Shown<'_> {
    /// Appends the record to `out` as the client wants it, with a frame header unless `tty`.
    fn send(&self, options: &LogOptions, tty: bool, out: &mut BytesMut) {
        let mut prefix = String::new();
        if options.timestamps {
            prefix.push_str(&self.time.to_rfc3339_opts(SecondsFormat::Nanos, true));
            prefix.push(' ');
        }
        if options.details {
            prefix.push_str(&attributes(self.attrs));
            prefix.push(' ');
        }
        if !tty {
            let length = prefix.len() + self.text.len() + usize::from(self.newline);
            out.put_u8(if self.stderr { 2 } else { 1 });
            out.put_bytes(0, 3);
            out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        }
        out.put_slice(prefix.as_bytes());
        out.put_slice(self.text);
        if self.newline {
            out.put_u8(b'\n');
        }
    }

    /// Whether the client wants it.
    fn wanted(&self, options: &LogOptions) -> bool {
        let stream = if self.stderr { options.stderr } else { options.stdout };
        stream
            && options.since.is_none_or(|since| self.time >= since)
            && options.grep.as_ref().is_none_or(|grep| grep.is_match(self.text.trim_ascii_end()))
    }
}

/// `a=1,b=2`, with what could be mistaken for a separator escaped.
fn attributes(attrs: &BTreeMap<String, String>) -> String {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    char::from(byte).to_string()
                }
                b' ' => "+".to_owned(),
                byte => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs: Vec<String> = attrs.iter().map(|(k, v)| format!("{}={}", escape(k), escape(v))).collect();
    pairs.join(",")
}

/// Turns a batch of raw records into what is sent.
pub(super) fn render(records: &[u8], format: LogFormat, options: &LogOptions, tty: bool) -> Rendered {
    let mut out = BytesMut::with_capacity(records.len());
    let mut ends = Vec::new();
    // Whether the client may want more.
    let mut take = |shown: Shown<'_>| {
        if options.until.is_some_and(|until| shown.time > until) {
            return false;
        }
        if shown.wanted(options) {
            shown.send(options, tty, &mut out);
            ends.push(out.len());
        }
        true
    };
    let more = match format {
        LogFormat::Json => {
            let mut lines = records.split(|&byte| byte == b'\n').filter(|raw| !raw.is_empty());
            lines.all(|raw| Line::parse(raw).is_none_or(|line| take(line.shown())))
        }
        LogFormat::Local => entries(records).all(|(entry, _)| take(Shown::from(&entry))),
    };
    Rendered { bytes: out.freeze(), ends, past_until: !more }
}

/// The entries of whole records of the `local` format, with their numbers.
pub(super) fn entries(mut records: &[u8]) -> impl Iterator<Item = (LogEntry, Option<u64>)> {
    std::iter::from_fn(move || {
        loop {
            let (message, length) = wire::record_at(records).ok().flatten()?;
            records = records.get(length..).unwrap_or_default();
            // A record that only its envelope knows is passed over.
            if let Ok(entry) = wire::decode(message) {
                return Some(entry);
            }
        }
    })
}

/// The entries of whole records of either format. Docker's JSON does not say which pieces are of one line; their order does.
#[derive(Default)]
pub(super) struct Pieces {
    /// The line that each stream is in: its id, and how many pieces it has by now.
    open: BTreeMap<&'static str, (String, i32)>,
}

impl Pieces {
    pub(super) fn entries(&mut self, records: &[u8], format: LogFormat) -> Vec<(LogEntry, Option<u64>)> {
        match format {
            LogFormat::Local => entries(records).collect(),
            LogFormat::Json => {
                let lines = records.split(|&byte| byte == b'\n').filter_map(Line::parse);
                lines.map(|line| (self.entry(&line), None)).collect()
            }
        }
    }

    fn entry(&mut self, line: &Line<'_>) -> LogEntry {
        let source = if line.stream == "stderr" { Source::Stderr } else { Source::Stdout };
        let text = line.log.strip_suffix('\n');
        let time = line.time.timestamp_nanos_opt().unwrap_or_default();
        let before = self.open.remove(source.name());
        let piece = (text.is_none() || before.is_some()).then(|| {
            let (id, count) = before.unwrap_or_else(|| (format!("{time:x}"), 0));
            if text.is_none() {
                self.open.insert(source.name(), (id.clone(), count + 1));
            }
            Piece { id, ordinal: count + 1, last: text.is_some() }
        });
        let line_text = text.unwrap_or(&line.log).as_bytes().to_vec();
        LogEntry { source, time, line: line_text, piece, attributes: line.attrs.clone() }
    }
}

pub(super) struct Rendered {
    pub bytes: Bytes,
    /// Where each record ends in `bytes`.
    pub ends: Vec<usize>,
    /// A later record than the client wants was seen.
    pub past_until: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str =
        r#"{"log":"hé\n","stream":"stderr","attrs":{"b":"x,y","a":"1"},"time":"2026-01-02T03:04:05.6Z"}"#;

    fn all() -> LogOptions {
        LogOptions { stdout: true, stderr: true, ..LogOptions::default() }
    }

    #[test]
    fn frames_and_raw() {
        let framed = render(RECORD.as_bytes(), LogFormat::Json, &all(), false).bytes;
        assert_eq!(&framed[..], b"\x02\0\0\0\0\0\0\x04h\xc3\xa9\n");
        assert_eq!(&render(RECORD.as_bytes(), LogFormat::Json, &all(), true).bytes[..], "hé\n".as_bytes());
        let none = LogOptions { stdout: true, ..LogOptions::default() };
        assert!(render(RECORD.as_bytes(), LogFormat::Json, &none, true).bytes.is_empty());
    }

    #[test]
    fn prefixes() {
        let options = LogOptions { timestamps: true, details: true, ..all() };
        let raw = render(RECORD.as_bytes(), LogFormat::Json, &options, true).bytes;
        assert_eq!(std::str::from_utf8(&raw).unwrap(), "2026-01-02T03:04:05.600000000Z a=1,b=x%2Cy hé\n");
    }

    #[test]
    fn a_pattern_sees_the_text_without_its_newline() {
        let sent = |pattern: &str| {
            let grep = Some(regex::bytes::Regex::new(pattern).unwrap());
            !render(RECORD.as_bytes(), LogFormat::Json, &LogOptions { grep, ..all() }, true).bytes.is_empty()
        };
        assert!(sent("^h.$") && sent("é"));
        assert!(!sent("stderr") && !sent("^é"));
    }

    #[test]
    fn since_and_until_include_their_instant() {
        let at: DateTime<Utc> = "2026-01-02T03:04:05.6Z".parse().unwrap();
        let later = at + chrono::TimeDelta::nanoseconds(1);
        let sent = |options: LogOptions| {
            !render(RECORD.as_bytes(), LogFormat::Json, &options, true).bytes.is_empty()
        };
        assert!(sent(LogOptions { since: Some(at), until: Some(at), ..all() }));
        assert!(!sent(LogOptions { since: Some(later), ..all() }));
        let rendered = render(
            RECORD.as_bytes(),
            LogFormat::Json,
            &LogOptions { until: Some(at - (later - at)), ..all() },
            true,
        );
        assert!(rendered.past_until && rendered.bytes.is_empty());
    }

    #[test]
    fn dockers_json_is_entries_again() {
        let record = |log: &str| {
            format!(r#"{{"log":"{log}","stream":"stdout","time":"2026-01-02T03:04:05Z"}}"#) + "\n"
        };
        let text = [r"long", r"er\n", r"short\n"].map(record).concat();
        let entries = Pieces::default().entries(text.as_bytes(), LogFormat::Json);
        let pieces: Vec<_> = entries
            .iter()
            .map(|(entry, _)| {
                let piece = entry.piece.as_ref().map(|piece| (piece.ordinal, piece.last));
                (std::str::from_utf8(&entry.line).unwrap(), piece)
            })
            .collect();
        assert_eq!(pieces, [("long", Some((1, false))), ("er", Some((2, true))), ("short", None)]);
    }

    #[test]
    fn what_is_not_a_record_is_passed_over() {
        let text = format!("{{\"log\":\"torn\n{RECORD}\nnonsense\n");
        assert_eq!(&render(text.as_bytes(), LogFormat::Json, &all(), true).bytes[..], "hé\n".as_bytes());
    }
}
