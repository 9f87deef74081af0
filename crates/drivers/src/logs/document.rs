//! A line as a document, for whoever takes JSON.

use chrono::{DateTime, SecondsFormat, Utc};
use pintle_contract::{DriverError, LogEntry, log::LogInfo};
use serde_json::{Map, Value};

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
