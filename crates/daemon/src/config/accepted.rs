use serde_json::Value;

use super::raw::Raw;

/// Flags of dockerd's that change nothing here, each with a warning, and those that are refused where they ask for what is
/// not there.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AcceptedOptions {
    /// Accepted with a warning where the kernel has no SELinux, refused where it has: containers are not labelled
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub selinux_enabled: Option<bool>,
    /// Refused: the engine needs root
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub rootless: Option<bool>,
    /// Refused if not empty: users are not remapped
    #[arg(long, value_name = "USER[:GROUP]")]
    pub userns_remap: Option<String>,
    /// Refused: removed, as from Docker
    #[arg(long, value_name = "HEADER")]
    pub api_cors_header: Option<String>,
    /// Accepted with a warning (repeatable)
    #[arg(long = "allow-nondistributable-artifacts", value_name = "REGISTRY")]
    pub allow_nondistributable_artifacts: Vec<String>,
    /// Accepted with a warning: containers say it for themselves
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<i64>,
    /// Accepted with a warning: containers say it for themselves
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// Accepted with a warning: there is no swarm mode (repeatable)
    #[arg(long = "node-generic-resource", value_name = "RESOURCE")]
    pub node_generic_resources: Vec<String>,
    /// Accepted with a warning: there is no swarm mode
    #[arg(long, value_name = "ADDRESS")]
    pub swarm_default_advertise_addr: Option<String>,
    /// Accepted with a warning: there is no swarm mode
    #[arg(long, value_name = "BYTES")]
    pub network_control_plane_mtu: Option<i64>,
    /// Accepted with a warning: there is no userland proxy
    #[arg(long, value_name = "FILE")]
    pub userland_proxy_path: Option<String>,
}

impl AcceptedOptions {
    /// The flags that were given, as settings.
    pub(super) fn to_raw(&self) -> Raw {
        let given = |list: &[String]| (!list.is_empty()).then(|| Value::from(list.to_vec()));
        let text = |text: &Option<String>| text.clone().map(Value::String);
        Raw {
            selinux_enabled: self.selinux_enabled,
            rootless: self.rootless,
            userns_remap: self.userns_remap.clone(),
            api_cors_header: text(&self.api_cors_header),
            allow_nondistributable_artifacts: given(&self.allow_nondistributable_artifacts),
            cpu_rt_period: self.cpu_rt_period.map(Value::from),
            cpu_rt_runtime: self.cpu_rt_runtime.map(Value::from),
            node_generic_resources: given(&self.node_generic_resources),
            swarm_default_advertise_addr: text(&self.swarm_default_advertise_addr),
            network_control_plane_mtu: self.network_control_plane_mtu.map(Value::from),
            userland_proxy_path: text(&self.userland_proxy_path),
            ..Raw::default()
        }
    }
}
