//! Managed plugins.
#![expect(missing_docs, reason = "the fields are those of the Docker Engine API reference, by the same names")]

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A plugin in `GET /plugins` and `GET /plugins/{name}/json`. `Config` is canonical `config.json`.
///
/// The fields after `Settings` are pintle's own: other engines leave them out, other clients ignore them.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// What a plugin is doing, beside what it should do (`Enabled`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Status {
    /// `disabled`, `starting`, `ready`, `degraded`, `backing-off` or `failed`.
    pub state: String,
    /// Why, where the state has a reason.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When the next start is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<String>,
    /// How often it was started again after a crash.
    pub restarts: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Bytes on disk.
    pub size: u64,
    /// Who uses it.
    pub leases: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

/// One thing that a plugin asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Privilege {
    pub name: String,
    pub description: String,
    pub value: Option<Vec<String>>,
}
