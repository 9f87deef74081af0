//! Managed plugins.
#![expect(
    missing_docs,
    reason = "the fields are those of the Docker Engine API reference, by the same names"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A plugin in `GET /plugins` and `GET /plugins/{name}/json`. `Config` is canonical `config.json`.
///
/// The fields after `Settings` are pintle's own; other engines leave them out, other clients ignore them. So are
/// three endpoints: `GET /plugins/{name}/top` ([`crate::container::Top`]), `GET /plugins/{name}/stats`
/// ([`crate::stats::Stats`]) and `GET /plugins/{name}/logs?follow=&since=&until=&tail=&timestamps=` (frames, as of
/// a container without a terminal).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Plugin {
    pub config: Value,
    pub enabled: bool,
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub plugin_reference: String,
    pub settings: Value,
    /// The networks that it was put in.
    pub networks: Vec<String>,
    /// What it is doing, beside what it should do (`Enabled`): `disabled`, `starting`, `ready`, `degraded`,
    /// `backing-off`, `failed` or `stopping`.
    pub state: String,
    /// Why, where the state has a reason.
    pub reason: String,
    /// Seconds until the next start is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<f64>,
    /// How often it was started again without being asked.
    pub restarts: u64,
    /// How many of those because it did not answer.
    pub unhealthy_restarts: u64,
    /// The last thing that went wrong, also after it was overcome.
    pub last_error: String,
    /// How its process last ended.
    pub exit_code: Option<i64>,
    /// Bytes on disk.
    pub size: u64,
    /// Who uses it, in words.
    pub leases: Vec<String>,
    /// The manifest that it was pulled by or pushed as.
    pub manifest_digest: String,
    /// What the operator granted, when it was installed and since.
    pub granted: Vec<Privilege>,
    /// Its process on the host, 0 if there is none.
    pub pid: u32,
    /// Seconds that it may take to start, if `enable` asked for a time.
    pub timeout: Option<u64>,
    /// How its calls go, by method.
    pub calls: BTreeMap<String, Calls>,
}

/// How one method of a plugin has been doing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Calls {
    pub calls: u64,
    pub failures: u64,
    pub last_error: String,
    /// Seconds.
    pub last_duration: f64,
}

/// One thing that a plugin asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Privilege {
    pub name: String,
    pub description: String,
    pub value: Option<Vec<String>>,
}
