//! A line as a document, for whoever takes JSON.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use pintle_contract::{DriverError, LogEntry, log::LogInfo};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{identity, options::Options};

/// What is the same in every document of a container.
pub(super) fn constant(options: &Options<'_>, info: &LogInfo) -> Result<Map<String, Value>, DriverError> {
    let mut fields = Map::new();
    let mut put = |key: &str, value: String| fields.insert(key.to_owned(), Value::String(value));
    put("container_id", info.id.clone());
    put("container_name", identity::name(info).to_owned());
    put("image_name", info.image_name.clone());
    put("host", identity::hostname());
    put("tag", identity::tag(options, info, identity::DEFAULT)?);
    for (key, value) in identity::attributes(options, info)? {
        put(&key, value);
    }
    Ok(fields)
}

/// The instant of a line, to the nanosecond.
pub(super) fn instant(entry: &LogEntry) -> String {
    DateTime::<Utc>::from_timestamp_nanos(entry.time).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// The document of a line.
pub(super) fn of(constant: &Map<String, Value>, entry: &LogEntry) -> Map<String, Value> {
    let mut fields = constant.clone();
    fields.insert("@timestamp".to_owned(), instant(entry).into());
    fields.insert("stream".to_owned(), entry.source.name().into());
    fields.insert("message".to_owned(), String::from_utf8_lossy(&entry.line).into());
    if let Some(piece) = &entry.piece {
        fields.insert("partial_id".to_owned(), piece.id.clone().into());
        fields.insert("partial_ordinal".to_owned(), piece.ordinal.into());
        fields.insert("partial_last".to_owned(), piece.last.into());
    }
    for (key, value) in &entry.attributes {
        fields.insert(key.clone(), value.clone().into());
    }
    fields
}

/// A name for each line that is the same whenever it is sent, so that what arrives twice is there once. Equal lines of one
/// instant cannot be told apart but by their place among each other.
pub(super) fn names(container: &str, entries: &[LogEntry]) -> Vec<String> {
    let mut seen: BTreeMap<(i64, &[u8]), u64> = BTreeMap::new();
    let name = |entry: &LogEntry, before: u64| {
        let mut hash = Sha256::new();
        hash.update(container);
        hash.update(entry.time.to_be_bytes());
        hash.update(entry.source.name());
        hash.update(entry.piece.as_ref().map_or(0, |piece| piece.ordinal).to_be_bytes());
        hash.update(before.to_be_bytes());
        hash.update(&entry.line);
        hex::encode(hash.finalize().get(..16).unwrap_or_default())
    };
    let mut names = Vec::with_capacity(entries.len());
    for entry in entries {
        let before = seen.entry((entry.time, &entry.line)).and_modify(|count| *count += 1).or_default();
        names.push(name(entry, *before));
    }
    names
}
