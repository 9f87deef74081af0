//! Plugins in the API's shape.

use pintle_api::plugin::{Calls, Plugin, Privilege};
use pintle_host::{self as host, PluginState};
use serde_json::json;

/// A plugin with its observed state.
pub(crate) fn plugin(plugin: host::Plugin) -> Plugin {
    let (state, reason, next_attempt) = match plugin.state {
        PluginState::Disabled => ("disabled", String::new(), None),
        PluginState::Starting => ("starting", String::new(), None),
        PluginState::Ready => ("ready", String::new(), None),
        PluginState::Degraded { why } => ("degraded", why, None),
        PluginState::BackingOff { why, next } => ("backing-off", why, Some(next.as_secs_f64())),
        PluginState::Failed { why } => ("failed", why, None),
        PluginState::Stopping => ("stopping", String::new(), None),
    };
    Plugin {
        config: plugin.config.to_value(plugin.config_text.as_bytes()),
        enabled: plugin.enabled,
        id: plugin.id,
        // One that was made here came from nowhere else: Docker then names it by itself.
        plugin_reference: if plugin.reference.is_empty() { plugin.name.clone() } else { plugin.reference },
        name: plugin.name,
        settings: json!(plugin.settings),
        networks: plugin.networks,
        state: state.to_owned(),
        reason,
        next_attempt,
        restarts: u64::from(plugin.restarts),
        unhealthy_restarts: u64::from(plugin.unhealthy_restarts),
        last_error: plugin.last_error.unwrap_or_default(),
        exit_code: plugin.exit_code.map(i64::from),
        size: plugin.size,
        leases: plugin.leases,
        manifest_digest: plugin.manifest_digest.unwrap_or_default(),
        granted: plugin
            .granted
            .into_iter()
            .map(|granted| Privilege {
                name: granted.name,
                description: granted.description,
                value: Some(granted.value),
            })
            .collect(),
        pid: plugin.pid.unwrap_or(0),
        timeout: plugin.timeout,
        calls: plugin
            .calls
            .into_iter()
            .map(|(method, stats)| {
                let calls = Calls {
                    calls: stats.calls,
                    failures: stats.failures,
                    last_error: stats.last_error.unwrap_or_default(),
                    last_duration: stats.last_duration.as_secs_f64(),
                };
                (method, calls)
            })
            .collect(),
    }
}
