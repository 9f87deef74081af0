use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use super::{
    accepted::AcceptedOptions,
    network_options::NetworkOptions,
    raw::{ProxiesEntry, Raw, UlimitEntry},
};

/// The flags of `pintle daemon`. They are dockerd's where dockerd has them, since scripts and test harnesses
/// pass them; what is not given here may be given in the configuration file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Where to listen: unix:///path, tcp://host:port or fd:// (repeatable)
    #[arg(short = 'H', long = "host", value_name = "ADDRESS")]
    pub hosts: Vec<String>,
    /// Where images, volumes, plugins and containers are kept
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<String>,
    /// Where the state of running processes is kept
    #[arg(long, value_name = "DIR")]
    pub exec_root: Option<String>,
    /// Where to write the process id; empty for nowhere
    #[arg(short = 'p', long, value_name = "FILE")]
    pub pidfile: Option<String>,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Read the flags and the file, say whether they are valid, and end
    #[arg(long)]
    pub validate: bool,
    /// Log more
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub debug: Option<bool>,
    /// debug, info, warn, error or fatal
    #[arg(short = 'l', long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// The group that may use the unix socket
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub group: Option<String>,
    /// A registry, or a network of them, that is spoken to without TLS (repeatable)
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]|CIDR")]
    pub insecure_registries: Vec<String>,
    /// A mirror of the default registry (repeatable)
    #[arg(long = "registry-mirror", value_name = "URL")]
    pub registry_mirrors: Vec<String>,
    /// Layers that one pull fetches at a time
    #[arg(long, value_name = "N")]
    pub max_concurrent_downloads: Option<u32>,
    /// Layers that one push sends at a time
    #[arg(long, value_name = "N")]
    pub max_concurrent_uploads: Option<u32>,
    /// An OCI runtime: name=path (repeatable)
    #[arg(long = "add-runtime", value_name = "NAME=PATH")]
    pub add_runtimes: Vec<String>,
    /// The OCI runtime of containers that do not name one
    #[arg(long, value_name = "NAME")]
    pub default_runtime: Option<String>,
    /// Accepted: containers always outlive the engine
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub live_restore: Option<bool>,
    /// Accepted if it is overlay2 or overlayfs
    #[arg(short = 's', long, value_name = "NAME")]
    pub storage_driver: Option<String>,
    /// Accepted: the kernel forwards published ports, on loopback too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub userland_proxy: Option<bool>,
    /// Accepted with a warning: there is no containerd
    #[arg(long, value_name = "SOCKET")]
    pub containerd: Option<String>,
    /// Accepted with a warning: there is no containerd
    #[arg(long, value_name = "NAME")]
    pub containerd_namespace: Option<String>,
    /// Accepted with a warning: there is no containerd
    #[arg(long, value_name = "NAME")]
    pub containerd_plugins_namespace: Option<String>,
    /// Use TLS on tcp; implied by --tlsverify
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls: Option<bool>,
    /// Use TLS on tcp and let in only clients with a certificate of the CA's
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tlsverify: Option<bool>,
    /// Certificates that clients' certificates are checked against
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<String>,
    /// The engine's certificate
    #[arg(long, value_name = "FILE")]
    pub tlscert: Option<String>,
    /// The engine's key
    #[arg(long, value_name = "FILE")]
    pub tlskey: Option<String>,
    /// Seconds that a shutdown may take
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub shutdown_timeout: Option<i64>,
    /// A label of the engine (repeatable)
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// The parent control group of containers
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// Bytes of /dev/shm in containers that do not say
    #[arg(long, value_name = "SIZE")]
    pub default_shm_size: Option<String>,
    /// The log driver of containers that do not name one
    #[arg(long, value_name = "NAME")]
    pub log_driver: Option<String>,
    /// An option of the log driver (repeatable)
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    pub log_opts: Vec<String>,
    /// Run a reaper as PID 1 of containers that do not say
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub init: Option<bool>,
    /// No container gets new privileges unless it says so
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_new_privileges: Option<bool>,
    /// A limit of containers' processes that do not say: name=soft[:hard] (repeatable)
    #[arg(long = "default-ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub default_ulimits: Vec<String>,
    /// The control group name space of containers that do not say: private or host
    #[arg(long, value_name = "MODE")]
    pub default_cgroupns_mode: Option<String>,
    /// The IPC name space of containers that do not say: private or shareable
    #[arg(long, value_name = "MODE")]
    pub default_ipc_mode: Option<String>,
    /// The system call filter of containers that do not say: builtin, unconfined or a file with a profile
    #[arg(long, value_name = "FILE")]
    pub seccomp_profile: Option<String>,
    /// How often a download is begun again that brings nothing
    #[arg(long, value_name = "N")]
    pub max_download_attempts: Option<u32>,
    /// Accepted without effect
    #[arg(long, value_name = "text|json")]
    pub log_format: Option<String>,
    /// Accepted without effect
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub raw_logs: Option<bool>,
    /// Accepted with a warning
    #[arg(long = "exec-opt", value_name = "KEY=VALUE")]
    pub exec_opts: Vec<String>,
    /// overlay2.size=BYTES: the most that the root file system of a container that does not say may take (repeatable)
    #[arg(long = "storage-opt", value_name = "KEY=VALUE")]
    pub storage_opts: Vec<String>,
    /// Accepted without effect
    #[arg(long = "feature", value_name = "NAME[=BOOL]")]
    pub features: Vec<String>,
    /// Accepted with a warning: the init program is part of this one
    #[arg(long, value_name = "FILE")]
    pub init_path: Option<String>,
    /// How soon the kernel ends the engine when memory runs out, from -1000 (never) to 1000; containers have their own
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub oom_score_adjust: Option<i64>,
    /// Through whom registries are asked over HTTP; without it, what HTTP_PROXY says
    #[arg(long, value_name = "URL")]
    pub http_proxy: Option<String>,
    /// Through whom registries are asked over HTTPS; without it, what HTTPS_PROXY says
    #[arg(long, value_name = "URL")]
    pub https_proxy: Option<String>,
    /// Hosts, domains and networks that are asked directly; without it, what NO_PROXY says
    #[arg(long, value_name = "LIST")]
    pub no_proxy: Option<String>,
    /// Where metrics are served over HTTP, as in 127.0.0.1:9323
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_addr: Option<String>,
    /// What networks are made by
    #[command(flatten)]
    pub network: NetworkOptions,
    /// What is taken for compatibility
    #[command(flatten)]
    pub accepted: AcceptedOptions,
    /// Accepted without effect
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub experimental: Option<bool>,
    /// A plugin that is asked whether a request may be carried out; they are asked in this order (repeatable)
    #[arg(long = "authorization-plugin", value_name = "PLUGIN")]
    pub authorization_plugins: Vec<String>,
    /// Where files are that describe devices (repeatable); empty: nowhere
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    pub cdi_spec_dirs: Vec<String>,
    /// Where plugins listen and sockets of legacy plugins are looked for
    #[arg(long, value_name = "DIR")]
    pub plugin_sockets: Option<String>,
}

fn given(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// `name=soft[:hard]`.
fn ulimits(list: &[String]) -> Result<Option<BTreeMap<String, UlimitEntry>>, String> {
    let one = |text: &String| {
        let bad = || {
            format!("invalid value {text:?} for --default-ulimit: it must be of the form name=soft[:hard]")
        };
        let (name, limits) = text.split_once('=').ok_or_else(bad)?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let limit = |text: &str| text.parse::<i64>().map_err(|_| bad());
        let entry = UlimitEntry { name: name.to_owned(), soft: limit(soft)?, hard: limit(hard)? };
        Ok((name.to_owned(), entry))
    };
    let all: BTreeMap<_, _> = list.iter().map(one).collect::<Result<_, String>>()?;
    Ok((!all.is_empty()).then_some(all))
}

impl Options {
    /// The flags that were given, as settings.
    pub(crate) fn to_raw(&self) -> Result<Raw, String> {
        let pairs = |flag: &str, list: &[String]| {
            let pair = |text: &String| match text.split_once('=') {
                Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
                _ => Err(format!("invalid value {text:?} for --{flag}: it must be of the form key=value")),
            };
            list.iter()
                .map(pair)
                .collect::<Result<_, _>>()
                .map(|all: super::StringMap| (!all.is_empty()).then_some(all))
        };
        let runtimes = pairs("add-runtime", &self.add_runtimes)?.map(|all| {
            all.into_iter()
                .map(|(name, path)| {
                    (name, super::raw::RuntimeEntry { path: Some(path), ..Default::default() })
                })
                .collect()
        });
        Ok(Raw {
            hosts: given(&self.hosts),
            data_root: self.data_root.clone(),
            exec_root: self.exec_root.clone(),
            pidfile: self.pidfile.clone(),
            debug: self.debug,
            log_level: self.log_level.clone(),
            group: self.group.clone(),
            insecure_registries: given(&self.insecure_registries),
            registry_mirrors: given(&self.registry_mirrors),
            max_concurrent_downloads: self.max_concurrent_downloads,
            max_concurrent_uploads: self.max_concurrent_uploads,
            runtimes,
            default_runtime: self.default_runtime.clone(),
            live_restore: self.live_restore,
            storage_driver: self.storage_driver.clone(),
            userland_proxy: self.userland_proxy,
            containerd: self.containerd.clone(),
            containerd_namespace: self.containerd_namespace.clone(),
            containerd_plugin_namespace: self.containerd_plugins_namespace.clone(),
            tls: self.tls,
            tlsverify: self.tlsverify,
            tlscacert: self.tlscacert.clone(),
            tlscert: self.tlscert.clone(),
            tlskey: self.tlskey.clone(),
            shutdown_timeout: self.shutdown_timeout,
            labels: given(&self.labels),
            cgroup_parent: self.cgroup_parent.clone(),
            default_shm_size: self.default_shm_size.clone().map(serde_json::Value::String),
            log_driver: self.log_driver.clone(),
            log_opts: pairs("log-opt", &self.log_opts)?,
            init: self.init,
            no_new_privileges: self.no_new_privileges,
            default_ulimits: ulimits(&self.default_ulimits)?,
            default_cgroupns_mode: self.default_cgroupns_mode.clone(),
            default_ipc_mode: self.default_ipc_mode.clone(),
            seccomp_profile: self.seccomp_profile.clone(),
            max_download_attempts: self.max_download_attempts,
            log_format: self.log_format.clone().map(Value::String),
            raw_logs: self.raw_logs.map(Value::Bool),
            exec_opts: given(&self.exec_opts).map(Value::from),
            storage_opts: given(&self.storage_opts),
            features: given(&self.features).map(Value::from),
            init_path: self.init_path.clone().map(Value::String),
            oom_score_adjust: self.oom_score_adjust,
            proxies: self.proxies(),
            metrics_addr: self.metrics_addr.clone(),
            experimental: self.experimental.map(serde_json::Value::Bool),
            plugin_sockets: self.plugin_sockets.clone(),
            authorization_plugins: given(&self.authorization_plugins),
            cdi_spec_dirs: given(&self.cdi_spec_dirs),
            ..self.network.to_raw()?
        }
        .or(self.accepted.to_raw()))
    }

    fn proxies(&self) -> Option<ProxiesEntry> {
        let entry = ProxiesEntry {
            http_proxy: self.http_proxy.clone(),
            https_proxy: self.https_proxy.clone(),
            no_proxy: self.no_proxy.clone(),
        };
        (entry != ProxiesEntry::default()).then_some(entry)
    }
}
