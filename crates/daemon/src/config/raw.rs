//! Settings as they were written, in flags or in the file: one table of keys, what each holds, and how the two
//! sources meet.

use std::collections::BTreeMap;

use pintle_wire::{
    jsonc,
    object::{DecodeError, Segment},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{StringMap, proxies};

/// One entry of `runtimes`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RuntimeEntry {
    /// The binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_args: Option<Vec<String>>,
    /// A containerd shim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_type: Option<String>,
    /// That shim's options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Value>,
}

/// One entry of `default-ulimits`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UlimitEntry {
    /// Its name; the key of the entry if empty.
    pub name: String,
    /// The hard limit.
    pub hard: i64,
    /// The soft limit.
    pub soft: i64,
}

/// One entry of `more-log-drivers`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogEntry {
    /// A built-in driver, or a plugin.
    pub driver: String,
    /// Its options.
    pub options: StringMap,
}

/// `policy`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct PolicyEntry {
    /// Files, folders, and names of ready policies.
    pub sources: Vec<String>,
    /// The package that decides: docker.authz.
    pub package: Option<String>,
    /// What a decision may take, in milliseconds: 100.
    pub decision_timeout_ms: Option<u64>,
    /// A server that decides, and not the sources.
    pub opa: Option<OpaEntry>,
}

/// `policy.opa`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct OpaEntry {
    /// Its address.
    pub url: String,
    /// How long an answer is remembered for the same question, in milliseconds: 1000.
    pub cache_ms: Option<u64>,
    /// A file with what is sent in `Authorization: Bearer`.
    pub token_file: Option<String>,
}

/// `identity`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct IdentityEntry {
    /// On unix sockets, who asks is whose process it is.
    pub unix: bool,
    /// What counts in a certificate: `cn` or `san`.
    pub certificate: Option<String>,
    /// Tokens that are understood.
    pub jwt: Option<JwtEntry>,
}

/// `identity.jwt`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct JwtEntry {
    /// Who must have issued a token.
    pub issuer: String,
    /// For whom it must be.
    pub audience: String,
    /// A file, or an address, with the issuer's keys.
    pub jwks: String,
    /// The authority of that address's certificate.
    pub jwks_ca: Option<String>,
    /// The claim that names the user: sub.
    pub user_claim: Option<String>,
    /// The claim that has the user's groups: groups.
    pub groups_claim: Option<String>,
    /// Over TCP nothing is done without one.
    pub required: bool,
}

/// `audit`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct AuditEntry {
    /// The file that is written, an absolute path.
    pub file: Option<String>,
    /// Bytes after which another file is begun: 100m.
    pub max_size: Option<String>,
    /// Full files that are kept: 10.
    pub max_file: Option<u32>,
    /// Nothing is done that is not written.
    pub required: bool,
    /// Whether bodies are written: true.
    pub bodies: Option<bool>,
    /// Log drivers that take every line besides, by name.
    pub log_drivers: BTreeMap<String, LogEntry>,
    /// Keys whose values are secrets, besides the usual ones.
    pub redact: Vec<String>,
    /// Requests that are not written: `METHOD ROUTE`.
    pub exclude: Vec<String>,
}

/// One entry of `default-address-pools`: a network, and the prefix length of the subnets that it is cut into.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolEntry {
    /// The network.
    pub base: String,
    /// The prefix length.
    pub size: i64,
}

/// `plugins`: what is configured of whole kinds of plugins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginsEntry {
    /// Networks from CNI's configuration files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cni: Option<CniEntry>,
    /// Networks across hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<OverlayEntry>,
    /// Runtimes of managed plugins that do not run on the default one, by the plugin's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub runtimes: BTreeMap<String, String>,
}

/// `proxies`: through whom registries are reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct ProxiesEntry {
    /// For `http://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_proxy: Option<String>,
    /// For `https://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_proxy: Option<String>,
    /// For whom there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_proxy: Option<String>,
}

impl ProxiesEntry {
    /// The flags' proxies with the file's, and which keys both have.
    fn meet(self, file: Self) -> (Self, Vec<String>) {
        let mut clashes = Vec::new();
        let mut one = |key: &str, flag: Option<String>, file: Option<String>| {
            if let (Some(flag), Some(file)) = (&flag, &file) {
                let (flag, file) = (proxies::masked(flag), proxies::masked(file));
                clashes.push(format!("{key}: (from flag: {flag}, from file: {file})"));
            }
            flag.or(file)
        };
        let met = Self {
            http_proxy: one("http-proxy", self.http_proxy, file.http_proxy),
            https_proxy: one("https-proxy", self.https_proxy, file.https_proxy),
            no_proxy: one("no-proxy", self.no_proxy, file.no_proxy),
        };
        (met, clashes)
    }
}

/// `plugins.overlay`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct OverlayEntry {
    /// Whether the network driver `overlay` is there.
    pub enabled: bool,
    /// etcd's addresses.
    pub etcd: Vec<String>,
    /// Authorities of etcd's certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_ca: Option<String>,
    /// This host's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_cert: Option<String>,
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_key: Option<String>,
    /// `USER:PASSWORD`.
    #[serde(skip_serializing)]
    pub etcd_user: Option<String>,
    /// Below which key everything stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The interface that carries the tunnels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// This host's address for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The WireGuard interface that carries them instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<String>,
    /// The UDP port of the tunnels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
    /// How long a host that is not heard of keeps its part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

/// `plugins.cni`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct CniEntry {
    /// Whether the network driver `cni` is there.
    pub enabled: bool,
    /// Where the network configurations are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_path: Option<String>,
    /// Where the plugins are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary_path: Option<String>,
}

macro_rules! settings {
    ($($field:ident: $type:ty = $key:literal;)*) => {
        /// Settings as written. `None`: not given.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct Raw {
            $(pub(crate) $field: Option<$type>,)*
        }

        /// Every key that the file may have.
        pub(crate) const KEYS: &[&str] = &[$($key),*];

        impl Raw {
            fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
                match key {
                    $($key => self.$field = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?,)*
                    _ => return Err(unknown(&[key])),
                }
                Ok(())
            }

            /// Which keys both have, and what each says.
            fn clashes(&self, file: &Self) -> Vec<String> {
                let mut clashes = Vec::new();
                $(if let (Some(flag), Some(file)) = (&self.$field, &file.$field) {
                    clashes.push(format!("{}: (from flag: {}, from file: {})", $key, show(flag), show(file)));
                })*
                clashes
            }

            /// These, and where they are silent, those.
            pub(crate) fn or(self, other: Self) -> Self {
                Self { $($field: self.$field.or(other.$field),)* }
            }

            /// Every setting that was given.
            pub(crate) fn given(&self) -> Vec<&'static str> {
                let mut given = Vec::new();
                $(if self.$field.is_some() { given.push($key); })*
                given
            }
        }
    };
}

settings! {
    hosts: Vec<String> = "hosts";
    data_root: String = "data-root";
    exec_root: String = "exec-root";
    pidfile: String = "pidfile";
    debug: bool = "debug";
    log_level: String = "log-level";
    group: String = "group";
    insecure_registries: Vec<String> = "insecure-registries";
    registry_mirrors: Vec<String> = "registry-mirrors";
    max_concurrent_downloads: u32 = "max-concurrent-downloads";
    max_concurrent_uploads: u32 = "max-concurrent-uploads";
    max_download_attempts: u32 = "max-download-attempts";
    runtimes: BTreeMap<String, RuntimeEntry> = "runtimes";
    default_runtime: String = "default-runtime";
    live_restore: bool = "live-restore";
    storage_driver: String = "storage-driver";
    userland_proxy: bool = "userland-proxy";
    bridge: String = "bridge";
    bip: String = "bip";
    bip6: String = "bip6";
    fixed_cidr: String = "fixed-cidr";
    fixed_cidr_v6: String = "fixed-cidr-v6";
    default_gateway: String = "default-gateway";
    default_gateway_v6: String = "default-gateway-v6";
    bridge_accept_fwmark: String = "bridge-accept-fwmark";
    allow_direct_routing: bool = "allow-direct-routing";
    mtu: i64 = "mtu";
    ip: String = "ip";
    ipv6: bool = "ipv6";
    icc: bool = "icc";
    iptables: bool = "iptables";
    ip6tables: bool = "ip6tables";
    ip_forward: bool = "ip-forward";
    ip_masq: bool = "ip-masq";
    dns: Vec<String> = "dns";
    dns_opts: Vec<String> = "dns-opts";
    dns_search: Vec<String> = "dns-search";
    host_gateway_ip: String = "host-gateway-ip";
    host_gateway_ips: Vec<String> = "host-gateway-ips";
    default_address_pools: Vec<PoolEntry> = "default-address-pools";
    default_network_opts: BTreeMap<String, StringMap> = "default-network-opts";
    default_network_driver: String = "default-network-driver";
    plugins: PluginsEntry = "plugins";
    containerd: String = "containerd";
    containerd_namespace: String = "containerd-namespace";
    containerd_plugin_namespace: String = "containerd-plugin-namespace";
    tls: bool = "tls";
    tlsverify: bool = "tlsverify";
    tlscacert: String = "tlscacert";
    tlscert: String = "tlscert";
    tlskey: String = "tlskey";
    shutdown_timeout: i64 = "shutdown-timeout";
    labels: Vec<String> = "labels";
    cgroup_parent: String = "cgroup-parent";
    default_shm_size: Value = "default-shm-size";
    default_stop_timeout: i64 = "default-stop-timeout";
    default_cgroupns_mode: String = "default-cgroupns-mode";
    default_ipc_mode: String = "default-ipc-mode";
    default_ulimits: BTreeMap<String, UlimitEntry> = "default-ulimits";
    log_driver: String = "log-driver";
    log_opts: StringMap = "log-opts";
    more_log_drivers: BTreeMap<String, LogEntry> = "more-log-drivers";
    init: bool = "init";
    no_new_privileges: bool = "no-new-privileges";
    seccomp_profile: String = "seccomp-profile";
    storage_opts: Vec<String> = "storage-opts";
    plugin_sockets: String = "plugin-sockets";
    plugin_spec_dirs: Vec<String> = "plugin-spec-dirs";
    restart_unhealthy_plugins: Vec<String> = "restart-unhealthy-plugins";
    cdi_spec_dirs: Vec<String> = "cdi-spec-dirs";
    authorization_plugins: Vec<String> = "authorization-plugins";
    authorization_recovery_socket: String = "authorization-recovery-socket";
    authorization_changers: Vec<String> = "authorization-changers";
    identity: IdentityEntry = "identity";
    metrics_addr: String = "metrics-addr";
    audit: AuditEntry = "audit";
    policy: PolicyEntry = "policy";
    proxies: ProxiesEntry = "proxies";
    min_api_version: String = "min-api-version";
    oom_score_adjust: i64 = "oom-score-adjust";
    // Refused when they ask for what is not there: to ignore these would be to lie about safety.
    userns_remap: String = "userns-remap";
    selinux_enabled: bool = "selinux-enabled";
    rootless: bool = "rootless";
    api_cors_header: Value = "api-cors-header";
    // Accepted with a warning.
    allow_nondistributable_artifacts: Value = "allow-nondistributable-artifacts";
    firewall_backend: Value = "firewall-backend";
    ip_forward_no_drop: Value = "ip-forward-no-drop";
    builder: Value = "builder";
    cpu_rt_period: Value = "cpu-rt-period";
    cpu_rt_runtime: Value = "cpu-rt-runtime";
    exec_opts: Value = "exec-opts";
    experimental: Value = "experimental";
    features: Value = "features";
    init_path: Value = "init-path";
    log_format: Value = "log-format";
    network_control_plane_mtu: Value = "network-control-plane-mtu";
    network_diagnostic_port: Value = "network-diagnostic-port";
    node_generic_resources: Value = "node-generic-resources";
    nri_opts: Value = "nri-opts";
    raw_logs: Value = "raw-logs";
    swarm_default_advertise_addr: Value = "swarm-default-advertise-addr";
    userland_proxy_path: Value = "userland-proxy-path";
}

fn show(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        Ok(Value::Array(items)) => {
            let items: Vec<_> = items.iter().map(show).collect();
            format!("[{}]", items.join(" "))
        }
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Docker's text, and the key that was probably meant.
fn unknown(keys: &[&str]) -> String {
    let text = format!("the following directives don't match any configuration option: {}", keys.join(", "));
    let near: Vec<_> = keys.iter().filter_map(|key| nearest(key)).map(|key| format!("{key:?}")).collect();
    if near.is_empty() { text } else { format!("{text} (did you mean {}?)", near.join(", ")) }
}

fn nearest(key: &str) -> Option<&'static str> {
    let (near, distance) =
        KEYS.iter().map(|known| (*known, distance(key, known))).min_by_key(|(_, distance)| *distance)?;
    (distance <= key.len() / 3 + 1).then_some(near)
}

/// How many letters must be put in, left out or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

impl Raw {
    /// Reads the file's text. The error names line and column.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, jsonc::Error> {
        jsonc::decode(text, |value| {
            let Value::Object(map) = value else {
                return Err(DecodeError {
                    path: Vec::new(),
                    message: "the configuration must be an object".to_owned(),
                });
            };
            let strange: Vec<&str> =
                map.keys().map(String::as_str).filter(|key| !KEYS.contains(key)).collect();
            if let Some(first) = strange.first() {
                // The place is the first one's; the text names them all, so the path is spent on the place alone.
                return Err(DecodeError {
                    path: vec![Segment::Key((*first).to_owned())],
                    message: unknown(&strange),
                });
            }
            let mut raw = Self::default();
            for (key, value) in map {
                raw.set(key, value)
                    .map_err(|message| DecodeError { path: vec![Segment::Key(key.clone())], message })?;
            }
            Ok(raw)
        })
    }

    /// The flags' settings with the file's. A setting in both is refused, except runtimes, which are merged, as are
    /// different proxies.
    pub(crate) fn meet(mut self, mut file: Self) -> Result<Self, String> {
        let mut proxies = Vec::new();
        if let Some(flags) = self.proxies.take() {
            let (met, both) = flags.meet(file.proxies.take().unwrap_or_default());
            (file.proxies, proxies) = (Some(met), both);
        }
        if let Some(flags) = self.runtimes.take() {
            file.runtimes.get_or_insert_default().extend(flags);
        }
        let mut clashes = self.clashes(&file);
        clashes.extend(proxies);
        if clashes.is_empty() {
            return Ok(self.or(file));
        }
        Err(format!(
            "the following directives are specified both as a flag and in the configuration file: {}",
            clashes.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_trailing_commas_are_fine() {
        let raw =
            Raw::parse(b"{ // a remark\n \"debug\": true, # another\n \"labels\": [\"a=b\",], /* end */ }")
                .unwrap();
        assert_eq!(raw.debug, Some(true));
        assert_eq!(raw.labels, Some(vec!["a=b".to_owned()]));
    }

    #[test]
    fn a_mistake_has_its_place() {
        let error = Raw::parse(b"{\n  \"debug\": maybe\n}").unwrap_err();
        assert_eq!((error.line, error.column), (2, 12), "{error}");
        let error = Raw::parse(b"{\n  \"debug\": \"yes\"\n}").unwrap_err();
        assert_eq!(error.line, 2, "{error}");
        assert!(error.message.contains("debug"), "{error}");
        Raw::parse(b"[]").unwrap_err();
    }

    #[test]
    fn an_unknown_key_names_its_neighbour() {
        let error = Raw::parse(b"{\"insecure-registry\": []}").unwrap_err().to_string();
        assert!(
            error.contains(
                "the following directives don't match any configuration option: insecure-registry (did you mean \
                 \"insecure-registries\"?)"
            ),
            "{error}"
        );
        let error = Raw::parse(b"{\"zzzzzzzz\": 1, \"data-rot\": \"/x\"}").unwrap_err().to_string();
        assert!(error.contains("zzzzzzzz, data-rot (did you mean \"data-root\"?)"), "{error}");
    }

    #[test]
    fn a_setting_in_both_places_is_refused() {
        let flag = Raw { debug: Some(true), hosts: Some(vec!["unix:///a".into()]), ..Raw::default() };
        let file = Raw { debug: Some(false), hosts: Some(vec!["fd://".into()]), ..Raw::default() };
        assert_eq!(
            flag.meet(file).unwrap_err(),
            "the following directives are specified both as a flag and in the configuration file: hosts: (from flag: \
             [unix:///a], from file: [fd://]), debug: (from flag: true, from file: false)"
        );
    }

    #[test]
    fn runtimes_of_both_places_are_merged() {
        let runtime = |name: &str| Some([(name.to_owned(), RuntimeEntry::default())].into());
        let flag = Raw { runtimes: runtime("a"), ..Raw::default() };
        let file = Raw { runtimes: runtime("b"), ..Raw::default() };
        assert_eq!(flag.clone().meet(file).unwrap().runtimes.unwrap().len(), 2);
        assert_eq!(flag.meet(Raw::default()).unwrap().runtimes.unwrap().len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn hostile_text_never_panics(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = Raw::parse(&text);
        }
    }
}
