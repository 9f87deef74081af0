//! Volumes in the API's shape.

use pintle_api::{
    time,
    volume::{UsageData, Volume},
};
use pintle_contract::{Scope, Value};
use pintle_engine::volumes;
use serde_json::json;

/// A volume; its status only where it was asked for.
pub(crate) fn volume(volume: volumes::Volume, with_status: bool) -> Volume {
    let status: serde_json::Map<_, _> =
        volume.status.into_iter().map(|(key, value)| (key, json_of(value))).collect();
    Volume {
        created_at: Some(volume.created_at.unwrap_or_else(|| time::NEVER.to_owned())),
        driver: volume.driver,
        // Docker keeps null where nothing was given.
        labels: (!volume.labels.is_empty()).then_some(volume.labels),
        mountpoint: volume.mountpoint.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        name: volume.name,
        options: (!volume.options.is_empty()).then_some(volume.options),
        scope: match volume.scope {
            Scope::Local => "local",
            Scope::Global => "global",
        }
        .to_owned(),
        status: (with_status && !status.is_empty()).then_some(status),
        usage_data: None,
    }
}

/// A volume and what it costs.
pub(crate) fn usage(usage: volumes::Usage) -> Volume {
    let data = UsageData {
        ref_count: i64::try_from(usage.references).unwrap_or(i64::MAX),
        size: usage.size.map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX)),
    };
    Volume { usage_data: Some(data), ..volume(usage.volume, false) }
}

fn json_of(value: Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => truth.into(),
        Value::Int(number) => number.into(),
        Value::Float(number) => number.into(),
        Value::String(text) => text.into(),
        Value::List(items) => items.into_iter().map(json_of).collect(),
        Value::Map(entries) => {
            let entries: serde_json::Map<_, _> =
                entries.into_iter().map(|(key, value)| (key, json_of(value))).collect();
            json!(entries)
        }
    }
}
