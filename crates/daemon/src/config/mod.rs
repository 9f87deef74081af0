//! Flags and file become a valid [`Config`], or an error that says where the mistake is.

mod accepted;
mod address;
mod fixed;
mod network;
mod network_options;
mod options;
mod overlay;
pub(crate) mod proxies;
mod raw;
pub mod reference;
mod runtimes;
mod seccomp;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

pub use accepted::AcceptedOptions;
pub use address::Address;
pub use network::{AddressPool, Bridge, Cni, Network};
pub use network_options::NetworkOptions;
pub use options::Options;
pub use overlay::Overlay;
use pintle_api::{ApiVersion, version};
use pintle_engine::containers;
use pintle_image::Proxies;
use pintle_runtime::Known;
use raw::Raw;
pub use raw::RuntimeEntry;
pub use seccomp::SeccompProfile;

use crate::builtins;

type StringMap = BTreeMap<String, String>;

/// Where the API listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/pintle.sock";
/// The configuration file that is read if it is there.
pub const DEFAULT_FILE: &str = "/etc/pintle/daemon.json";
/// The runtime that is linked in.
pub const EMBEDDED_RUNTIME: &str = "pintle";

/// Certificates for tcp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The engine's certificate chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// What clients' certificates are checked against; `None`: clients need none.
    pub client_ca: Option<PathBuf>,
}

/// What the engine runs by. Everything in it has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the API listens.
    pub hosts: Vec<Address>,
    /// Where everything durable is.
    pub data_root: PathBuf,
    /// Where everything is that ends with the machine.
    pub exec_root: PathBuf,
    /// Where the process id is written.
    pub pidfile: Option<PathBuf>,
    /// The group that may use unix sockets; `None`: `docker` if there is such a group.
    pub group: Option<String>,
    /// Whether debugging was asked for.
    pub debug: bool,
    /// What is logged.
    pub log_level: tracing::Level,
    /// For tcp.
    pub tls: Option<Tls>,
    /// Registries without TLS.
    pub insecure_registries: Vec<String>,
    /// Mirrors of the default registry.
    pub registry_mirrors: Vec<String>,
    /// Layers that one pull fetches at a time.
    pub max_concurrent_downloads: u32,
    /// Layers that one push sends at a time.
    pub max_concurrent_uploads: u32,
    /// How often a download is begun that brings nothing.
    pub max_download_attempts: u32,
    /// Named runtimes, beside the embedded one.
    pub runtimes: BTreeMap<String, RuntimeEntry>,
    /// The runtime of containers that name none.
    pub default_runtime: String,
    /// What the names of runtimes stand for.
    pub known: Known,
    /// Seconds that a shutdown may take.
    pub shutdown_timeout: i64,
    /// What the authorizer that is linked in decides by.
    pub policy: Option<pintle_policy::Settings>,
    /// How it is told who asks.
    pub identity: crate::identity::Settings,
    /// Authorizers that may change requests and answers, besides those that are linked in.
    pub authorization_changers: Vec<String>,
    /// The trail of requests.
    pub audit: Option<crate::audit::Settings>,
    /// Where metrics are served over HTTP, besides the socket for plugins.
    pub metrics_addr: Option<String>,
    /// The engine's labels.
    pub labels: Vec<String>,
    /// The parent control group of containers.
    pub cgroup_parent: String,
    /// Bytes of `/dev/shm`.
    pub default_shm_size: i64,
    /// Seconds between a container's stop signal and its end.
    pub default_stop_timeout: i64,
    /// The control group name space of containers that do not say: `private`, `host`, or empty for the usual.
    pub default_cgroupns_mode: String,
    /// The IPC name space of containers that do not say: `private` or `shareable`.
    pub default_ipc_mode: String,
    /// Limits of containers that do not say.
    pub default_ulimits: BTreeMap<String, (i64, i64)>,
    /// The log driver of containers that name none.
    pub log_driver: String,
    /// Its options.
    pub log_opts: StringMap,
    /// More drivers that take every container's lines, by name.
    pub more_logs: BTreeMap<String, containers::LogConfig>,
    /// Whether containers get a reaper as PID 1 unless they say otherwise.
    pub init: bool,
    /// Whether containers get no new privileges unless they say otherwise.
    pub no_new_privileges: bool,
    /// The most bytes that the root file system of a container that does not say may take; 0: no limit.
    pub storage_size: u64,
    /// The system call filter of containers that do not say.
    pub seccomp: SeccompProfile,
    /// What networks are made by.
    pub network: Network,
    /// Where plugins listen.
    pub plugin_sockets: PathBuf,
    /// Where files that describe legacy plugins are looked for.
    pub plugin_spec_dirs: Vec<PathBuf>,
    /// Managed plugins that are restarted when they do not answer.
    pub restart_unhealthy_plugins: Vec<String>,
    /// Who is asked whether a request may be carried out, in this order.
    pub authorization_plugins: Vec<String>,
    /// Where the host's root is served without being judged.
    pub authorization_recovery_socket: Option<PathBuf>,
    /// Where files are that describe devices.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Runtimes of managed plugins that do not run on the default one.
    pub plugin_runtimes: StringMap,
    /// Through whom registries are reached; `None`: as the environment says.
    pub proxies: Option<Proxies>,
    /// The oldest API version that is answered.
    pub min_api_version: ApiVersion,
    /// How soon the kernel ends the engine when memory runs out; `None`: as it was started.
    pub oom_score_adjust: Option<i32>,
    /// What the user should know: settings that have no effect here.
    pub warnings: Vec<String>,
    /// Where the flags and the file can be read again.
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Source {
    flags: Raw,
    file: Option<PathBuf>,
    file_required: bool,
}

impl Config {
    /// Reads the configuration that the flags describe, with the file that they name.
    pub fn load(options: &Options) -> Result<Self, String> {
        let source = Source {
            flags: options.to_raw()?,
            file: Some(options.config_file.clone().unwrap_or_else(|| DEFAULT_FILE.into())),
            file_required: options.config_file.is_some(),
        };
        Self::read(source)
    }

    /// A configuration below two private directories, for tests and quickstarts: one unix socket, no file.
    pub fn private(
        data_root: impl Into<PathBuf>,
        exec_root: impl Into<PathBuf>,
        socket: &Path,
    ) -> Result<Self, String> {
        let exec_root = exec_root.into();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let flags = Raw {
            hosts: Some(vec![format!("unix://{}", socket.display())]),
            data_root: Some(text(&data_root.into())),
            pidfile: Some(String::new()),
            plugin_sockets: Some(text(&exec_root.join("plugins"))),
            plugin_spec_dirs: Some(Vec::new()),
            exec_root: Some(text(&exec_root)),
            ..Raw::default()
        };
        Self::read(Source { flags, ..Source::default() })
    }

    /// Reads the file again, for a reload. Nothing is changed if it is refused.
    pub fn reread(&self) -> Result<Self, String> {
        Self::read(self.source.clone())
    }

    fn read(source: Source) -> Result<Self, String> {
        let file = match &source.file {
            None => Raw::default(),
            Some(path) => {
                let refused = |why: &dyn std::fmt::Display| {
                    format!("unable to configure the daemon with file {}: {why}", path.display())
                };
                match std::fs::read(path) {
                    Ok(text) if text.iter().all(u8::is_ascii_whitespace) => Raw::default(),
                    Ok(text) => Raw::parse(&text).map_err(|error| refused(&error))?,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound && !source.file_required => {
                        Raw::default()
                    }
                    Err(error) => return Err(refused(&error)),
                }
            }
        };
        let raw = source.flags.clone().meet(file).map_err(|why| match &source.file {
            Some(path) => format!("unable to configure the daemon with file {}: {why}", path.display()),
            None => why,
        })?;
        let config = Self::check(raw, source)?;
        builtins::check_logs(&config)?;
        Ok(config)
    }

    fn check(raw: Raw, source: Source) -> Result<Self, String> {
        refuse_what_would_be_a_lie(&raw)?;
        let mut warnings = warnings(&raw);
        let environment = |name: &str| std::env::var(name).ok();
        let proxies = proxies::effective(raw.proxies.clone(), environment, &mut warnings)?;
        let tls = tls(&raw);
        let network = Network::check(&raw)?;
        let debug = raw.debug.unwrap_or(false);
        let hosts = match raw.hosts {
            Some(hosts) if !hosts.is_empty() => {
                hosts.iter().map(|host| Address::parse(host, tls.is_some())).collect::<Result<_, _>>()?
            }
            _ => vec![Address::Unix(DEFAULT_SOCKET.into())],
        };
        let one_of = |key: &str, value: Option<String>, known: &[&str]| {
            let value = value.unwrap_or_else(|| known.first().copied().unwrap_or_default().to_owned());
            match known.contains(&value.as_str()) {
                true => Ok(value),
                false => Err(format!(
                    "invalid {key} {value:?}: use one of {}",
                    known.join(", ").trim_start_matches(", ")
                )),
            }
        };
        let absolute = |key: &str, value: Option<String>, default: &str| {
            let path = PathBuf::from(value.unwrap_or_else(|| default.to_owned()));
            if path.is_absolute() {
                Ok(path)
            } else {
                Err(format!("invalid {key} {path:?}: it must be an absolute path"))
            }
        };
        let runtimes = raw.runtimes.unwrap_or_default();
        let known = runtimes::known(&runtimes, raw.default_runtime.as_deref())?;
        let plugin_runtimes = raw.plugins.map(|plugins| plugins.runtimes).unwrap_or_default();
        for (plugin, runtime) in &plugin_runtimes {
            known.resolve(runtime).map_err(|why| format!("plugins.runtimes.{plugin}: {why}"))?;
        }
        let labels = raw.labels.unwrap_or_default();
        if let Some(bad) = labels.iter().find(|label| !label.contains('=')) {
            return Err(format!("bad attribute format: {bad}"));
        }
        let concurrency = |key: &str, value: Option<u32>, default: u32| match value {
            Some(0) => Err(format!("invalid max concurrent {key}: 0")),
            value => Ok(value.unwrap_or(default)),
        };
        let data_root = absolute("data-root", raw.data_root, "/var/lib/pintle")?;
        let audit = raw.audit.map(|entry| audit(entry, &data_root)).transpose()?;
        Ok(Self {
            hosts,
            data_root,
            exec_root: absolute("exec-root", raw.exec_root, "/run/pintle")?,
            pidfile: match raw.pidfile.as_deref() {
                None => Some("/run/pintle.pid".into()),
                Some("") => None,
                Some(_) => Some(absolute("pidfile", raw.pidfile, "")?),
            },
            group: raw.group.filter(|group| !group.is_empty()),
            debug,
            log_level: level(raw.log_level.as_deref(), debug)?,
            tls,
            insecure_registries: raw.insecure_registries.unwrap_or_default(),
            registry_mirrors: mirrors(raw.registry_mirrors.unwrap_or_default())?,
            max_concurrent_downloads: concurrency("downloads", raw.max_concurrent_downloads, 3)?,
            max_concurrent_uploads: concurrency("uploads", raw.max_concurrent_uploads, 5)?,
            max_download_attempts: match raw.max_download_attempts {
                Some(0) => return Err("invalid max download attempts: 0".to_owned()),
                attempts => attempts.unwrap_or(5),
            },
            runtimes,
            default_runtime: known.default_name().to_owned(),
            known,
            shutdown_timeout: raw.shutdown_timeout.unwrap_or(15),
            labels,
            cgroup_parent: raw
                .cgroup_parent
                .filter(|parent| !parent.is_empty())
                .unwrap_or_else(|| "/pintle".to_owned()),
            default_shm_size: shm_size(raw.default_shm_size.as_ref())?,
            default_stop_timeout: raw.default_stop_timeout.unwrap_or(10),
            default_cgroupns_mode: one_of(
                "default-cgroupns-mode",
                raw.default_cgroupns_mode,
                &["", "private", "host"],
            )?,
            default_ipc_mode: one_of("default-ipc-mode", raw.default_ipc_mode, &["private", "shareable"])?,
            default_ulimits: raw
                .default_ulimits
                .unwrap_or_default()
                .into_iter()
                .map(|(key, limit)| {
                    (if limit.name.is_empty() { key } else { limit.name }, (limit.soft, limit.hard))
                })
                .collect(),
            log_driver: raw.log_driver.unwrap_or_else(|| "json-file".to_owned()),
            log_opts: raw.log_opts.unwrap_or_default(),
            more_logs: more_logs("more-log-drivers", raw.more_log_drivers.unwrap_or_default())?,
            init: raw.init.unwrap_or(false),
            no_new_privileges: raw.no_new_privileges.unwrap_or(false),
            storage_size: storage_size(raw.storage_opts.as_deref().unwrap_or_default())?,
            seccomp: SeccompProfile::read(raw.seccomp_profile)?,
            network,
            plugin_sockets: absolute("plugin-sockets", raw.plugin_sockets, "/run/docker/plugins")?,
            cdi_spec_dirs: cdi_dirs(raw.cdi_spec_dirs, raw.features.as_ref())?,
            plugin_runtimes,
            plugin_spec_dirs: raw.plugin_spec_dirs.map_or_else(
                || vec!["/etc/docker/plugins".into(), "/usr/lib/docker/plugins".into()],
                |dirs| dirs.into_iter().map(PathBuf::from).collect(),
            ),
            authorization_plugins: authorization_plugins(raw.authorization_plugins.unwrap_or_default())?,
            authorization_recovery_socket: match raw.authorization_recovery_socket {
                None => None,
                socket => Some(absolute("authorization-recovery-socket", socket, "")?),
            },
            audit,
            policy: raw.policy.map(policy).transpose()?,
            identity: raw.identity.map(identity).transpose()?.unwrap_or_default(),
            authorization_changers: raw.authorization_changers.unwrap_or_default(),
            metrics_addr: raw.metrics_addr.filter(|address| !address.is_empty()),
            restart_unhealthy_plugins: raw.restart_unhealthy_plugins.unwrap_or_default(),
            proxies,
            min_api_version: min_api_version(raw.min_api_version, environment("DOCKER_MIN_API_VERSION"))?,
            oom_score_adjust: match raw.oom_score_adjust {
                None => None,
                Some(score @ -1000..=1000) => i32::try_from(score).ok(),
                Some(score) => {
                    return Err(format!("invalid oom-score-adjust {score}: it must be from -1000 to 1000"));
                }
            },
            warnings,
            source,
        })
    }
}

impl Config {
    /// Who is asked about requests, and who of these may change them.
    pub(crate) fn authorization(&self) -> pintle_engine::authorization::Configured {
        let mut changers = self.authorization_changers.clone();
        // Its rules are the administrator's own.
        changers.extend(self.policy.is_some().then(|| "policy".to_owned()));
        pintle_engine::authorization::Configured { names: self.authorization_plugins.clone(), changers }
    }
}

fn refuse_what_would_be_a_lie(raw: &Raw) -> Result<(), String> {
    let refused = |key: &str, why: &str| Err(format!("{key}: {why}"));
    if raw.userns_remap.as_ref().is_some_and(|remap| !remap.is_empty()) {
        return refused("userns-remap", "this version does not remap users; remove the setting");
    }
    if raw.selinux_enabled == Some(true) && has_selinux() {
        return refused("selinux-enabled", "this version does not label for SELinux; remove the setting");
    }
    if raw.rootless == Some(true) {
        return refused("rootless", "this version needs root; remove the setting");
    }
    let cors = raw.api_cors_header.as_ref().filter(|header| !matches!(header.as_str(), Some("")));
    if cors.is_some() {
        return refused(
            "api-cors-header",
            "it was removed, as from Docker 29; use a reverse proxy if you need CORS headers",
        );
    }
    if raw
        .storage_driver
        .as_deref()
        .is_some_and(|driver| !matches!(driver, "" | "overlay2" | "overlayfs" | "overlay"))
    {
        return refused("storage-driver", "only overlay2 is supported");
    }
    if raw.log_driver.as_deref().is_some_and(|driver| DOCKERS.contains(&driver)) {
        return refused(
            "log-driver",
            "this driver of Docker's is not in this version; a plugin may do the same",
        );
    }
    Ok(())
}

fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Docker's environment variable goes before the file.
fn min_api_version(key: Option<String>, variable: Option<String>) -> Result<ApiVersion, String> {
    let given = [("DOCKER_MIN_API_VERSION", variable), ("min-api-version", key)];
    let given =
        given.into_iter().find_map(|(name, text)| Some((name, text.filter(|text| !text.is_empty())?)));
    let Some((name, text)) = given else { return Ok(version::MIN) };
    ApiVersion::as_oldest(&text).map_err(|why| format!("invalid {name}: {why}"))
}

fn more_logs(
    key: &str,
    entries: BTreeMap<String, raw::LogEntry>,
) -> Result<BTreeMap<String, containers::LogConfig>, String> {
    for (name, entry) in &entries {
        let bad = |why: &str| Err(format!("{key}: {name:?}: {why}"));
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) || name.is_empty() {
            return bad("a name has letters, digits, - and _");
        }
        if matches!(entry.driver.as_str(), "" | "none" | "local" | "json-file") {
            return bad("its driver must be one that takes lines elsewhere");
        }
    }
    let config =
        |entry: raw::LogEntry| containers::LogConfig { driver: entry.driver, options: entry.options };
    Ok(entries.into_iter().map(|(name, entry)| (name, config(entry))).collect())
}

/// `policy` with its defaults.
fn policy(entry: raw::PolicyEntry) -> Result<pintle_policy::Settings, String> {
    let defaults = pintle_policy::Settings::default();
    if entry.sources.is_empty() == entry.opa.is_none() {
        return Err(
            "policy.sources: it must name files, folders or ready policies (see `pintle policy ls`), or policy.opa a server"
                .to_owned(),
        );
    }
    let timeout = entry.decision_timeout_ms.map_or(Ok(defaults.timeout), |limit| match limit {
        1..=10_000 => Ok(Duration::from_millis(limit)),
        _ => Err(format!("invalid policy.decision-timeout-ms {limit}: it must be from 1 to 10000")),
    });
    Ok(pintle_policy::Settings {
        sources: entry.sources,
        package: entry.package.unwrap_or(defaults.package),
        timeout: timeout?,
        opa: entry.opa.map(opa).transpose()?,
    })
}

fn opa(entry: raw::OpaEntry) -> Result<pintle_policy::OpaSettings, String> {
    if !is_trustworthy(&entry.url) || entry.url.starts_with('/') {
        return Err(format!(
            "invalid policy.opa.url {:?}: it must be an https:// address, or http:// on this host",
            entry.url
        ));
    }
    let token = entry.token_file.map(|file| {
        let token = std::fs::read_to_string(&file);
        token
            .map(|token| token.trim().to_owned())
            .map_err(|error| format!("policy.opa.token-file {file}: {error}"))
    });
    Ok(pintle_policy::OpaSettings {
        url: entry.url,
        cache: Duration::from_millis(entry.cache_ms.unwrap_or(1000)),
        token: token.transpose()?,
    })
}

/// `identity` with its defaults.
fn identity(entry: raw::IdentityEntry) -> Result<crate::identity::Settings, String> {
    let host_names = match entry.certificate.as_deref() {
        None | Some("cn") => false,
        Some("san") => true,
        Some(other) => return Err(format!("invalid identity.certificate {other:?}: it must be cn or san")),
    };
    let jwt = |entry: raw::JwtEntry| {
        for (key, value) in [("issuer", &entry.issuer), ("audience", &entry.audience), ("jwks", &entry.jwks)]
        {
            if value.is_empty() {
                return Err(format!("identity.jwt.{key}: it must be there"));
            }
        }
        if !is_trustworthy(&entry.jwks) {
            return Err(format!(
                "invalid identity.jwt.jwks {:?}: it must be the absolute path of a file, or an https:// address \
                 (http:// on this host alone)",
                entry.jwks
            ));
        }
        Ok(crate::identity::JwtSettings {
            issuer: entry.issuer,
            audience: entry.audience,
            jwks: entry.jwks,
            jwks_ca: entry.jwks_ca.map(PathBuf::from),
            user_claim: entry.user_claim.unwrap_or_else(|| "sub".to_owned()),
            groups_claim: entry.groups_claim.unwrap_or_else(|| "groups".to_owned()),
            required: entry.required,
        })
    };
    Ok(crate::identity::Settings { unix: entry.unix, host_names, jwt: entry.jwt.map(jwt).transpose()? })
}

/// Whether nobody on the way can put something else in the place of what is there.
fn is_trustworthy(place: &str) -> bool {
    let Ok(address) = reqwest::Url::parse(place) else { return place.starts_with('/') };
    match (address.scheme(), address.host_str()) {
        ("https", Some(_)) => true,
        ("http", Some(host)) => matches!(host, "localhost" | "127.0.0.1" | "[::1]"),
        _ => false,
    }
}

/// `audit` with its defaults.
fn audit(entry: raw::AuditEntry, data_root: &Path) -> Result<crate::audit::Settings, String> {
    let file = entry.file.map_or_else(|| data_root.join("audit/audit.jsonl"), PathBuf::from);
    if !file.is_absolute() {
        return Err(format!("invalid audit.file {file:?}: it must be an absolute path"));
    }
    let size = entry.max_size.as_deref().unwrap_or("100m");
    let max_size = bytes(size).and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0);
    let max_size =
        max_size.ok_or_else(|| format!("invalid audit.max-size {size:?}: it is no size, as 100m is"))?;
    let max_files = entry.max_file.unwrap_or(10);
    if !(1..=1000).contains(&max_files) {
        return Err(format!("invalid audit.max-file {max_files}: it must be from 1 to 1000"));
    }
    if let Some(odd) = entry.exclude.iter().find(|odd| !odd.contains(" /")) {
        return Err(format!(
            "invalid audit.exclude {odd:?}: it must be a method and a route, as \"GET /_ping\""
        ));
    }
    Ok(crate::audit::Settings {
        file,
        max_size,
        max_files,
        required: entry.required,
        bodies: entry.bodies.unwrap_or(true),
        redact: entry.redact,
        exclude: entry.exclude,
        destinations: more_logs("audit.log-drivers", entry.log_drivers)?
            .into_iter()
            .map(|(name, config)| {
                (name, crate::audit::Destination { driver: config.driver, options: config.options })
            })
            .collect(),
    })
}

/// Docker's own log drivers that we do not have.
const DOCKERS: &[&str] = &["etwlogs", "logentries"];

/// Keys that are read for compatibility and change nothing.
fn warnings(raw: &Raw) -> Vec<String> {
    const SILENT: &[&str] =
        &["experimental", "features", "userland-proxy", "builder", "log-format", "raw-logs"];
    let mut warnings = Vec::new();
    for key in raw.given() {
        if key.starts_with("containerd") {
            warnings
                .push(format!("{key} has no effect: pintle carries its own runtime and needs no containerd"));
        } else if without_effect(key) && !SILENT.contains(&key) {
            let why = match key {
                "cpu-rt-period" | "cpu-rt-runtime" => {
                    ": containers get real-time scheduling by what they say"
                }
                "node-generic-resources" | "swarm-default-advertise-addr" | "network-control-plane-mtu" => {
                    ": there is no swarm mode"
                }
                "userland-proxy-path" => ": the kernel forwards published ports, there is no userland proxy",
                _ => " in this version",
            };
            warnings.push(format!("{key} has no effect{why}"));
        }
    }
    if raw.selinux_enabled == Some(true) {
        warnings.push("selinux-enabled has no effect: this host's kernel has no SELinux".to_owned());
    }
    if raw.live_restore == Some(false) {
        warnings.push("live-restore: containers always outlive the engine; false has no effect".to_owned());
    }
    warnings
}

/// Whether a key is read and changes nothing.
fn without_effect(key: &str) -> bool {
    let place = |wanted: &str| raw::KEYS.iter().position(|key| *key == wanted);
    let first = place("allow-nondistributable-artifacts");
    key.starts_with("containerd") || place(key).zip(first).is_some_and(|(key, first)| key >= first)
}

fn tls(raw: &Raw) -> Option<Tls> {
    let verify = raw.tlsverify.unwrap_or(false);
    if !verify && !raw.tls.unwrap_or(false) {
        return None;
    }
    // dockerd's places.
    let dir = std::env::var_os("DOCKER_CERT_PATH").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".docker"),
        PathBuf::from,
    );
    let path = |given: &Option<String>, default: &str| match given {
        Some(given) => PathBuf::from(given),
        None => dir.join(default),
    };
    Some(Tls {
        cert: path(&raw.tlscert, "cert.pem"),
        key: path(&raw.tlskey, "key.pem"),
        client_ca: verify.then(|| path(&raw.tlscacert, "ca.pem")),
    })
}

fn level(text: Option<&str>, debug: bool) -> Result<tracing::Level, String> {
    use tracing::Level;
    if debug {
        return Ok(Level::DEBUG);
    }
    match text.unwrap_or("info") {
        "trace" => Ok(Level::TRACE),
        "debug" => Ok(Level::DEBUG),
        "info" | "" => Ok(Level::INFO),
        "warn" | "warning" => Ok(Level::WARN),
        "error" | "fatal" | "panic" => Ok(Level::ERROR),
        other => Err(format!("invalid logging level: {other}")),
    }
}

fn mirrors(mirrors: Vec<String>) -> Result<Vec<String>, String> {
    let check = |mirror: String| {
        let rest = mirror.strip_prefix("https://").or_else(|| mirror.strip_prefix("http://"));
        match rest {
            None => Err(format!(
                "invalid mirror: no scheme specified for {mirror:?}: must use either 'https://' or 'http://'"
            )),
            Some(rest) if rest.is_empty() || rest.contains(['?', '#']) => {
                Err(format!("invalid mirror: {mirror:?} is not a plain address"))
            }
            Some(_) => Ok(if mirror.ends_with('/') { mirror } else { mirror + "/" }),
        }
    };
    mirrors.into_iter().map(check).collect()
}

/// Each once, where it comes first. An empty name would be a plugin that nobody meant.
fn authorization_plugins(names: Vec<String>) -> Result<Vec<String>, String> {
    let mut once: Vec<String> = Vec::new();
    for name in names {
        if name.is_empty() {
            return Err("invalid authorization-plugins: a name is empty".to_owned());
        }
        if !once.contains(&name) {
            once.push(name);
        }
    }
    Ok(once)
}

/// Where files are that describe devices; nowhere where the feature `cdi` is off.
fn cdi_dirs(dirs: Option<Vec<String>>, features: Option<&serde_json::Value>) -> Result<Vec<PathBuf>, String> {
    let off = match features {
        Some(serde_json::Value::Object(map)) => map.get("cdi") == Some(&serde_json::Value::Bool(false)),
        Some(serde_json::Value::Array(list)) => list.iter().any(|word| word == "cdi=false"),
        _ => false,
    };
    if off {
        return Ok(Vec::new());
    }
    let Some(dirs) = dirs else { return Ok(pintle_runtime::cdi::DIRS.map(PathBuf::from).to_vec()) };
    let absolute = |dir: String| {
        let path = PathBuf::from(dir);
        if path.is_absolute() {
            Ok(path)
        } else {
            Err(format!("invalid cdi-spec-dirs {path:?}: it must be an absolute path"))
        }
    };
    dirs.into_iter().filter(|dir| !dir.is_empty()).map(absolute).collect()
}

fn shm_size(value: Option<&serde_json::Value>) -> Result<i64, String> {
    let bad = |value: &serde_json::Value| format!("invalid default-shm-size: {value}");
    match value {
        None => Ok(64 << 20),
        Some(value @ serde_json::Value::Number(number)) => {
            number.as_i64().filter(|size| *size >= 0).ok_or_else(|| bad(value))
        }
        Some(value @ serde_json::Value::String(text)) => bytes(text).ok_or_else(|| bad(value)),
        Some(value) => Err(bad(value)),
    }
}

/// `storage-opts`: overlay2's, of which the size counts.
fn storage_size(options: &[String]) -> Result<u64, String> {
    let mut size = 0;
    for option in options {
        let (key, value) =
            option.split_once('=').ok_or_else(|| format!("unable to parse key/value option: {option:?}"))?;
        match key.to_ascii_lowercase().as_str() {
            "overlay2.override_kernel_check" => {}
            "overlay2.size" => {
                let bytes = bytes(value).and_then(|bytes| u64::try_from(bytes).ok());
                size = bytes
                    .ok_or_else(|| format!("invalid overlay2.size {value:?}: it is no number of bytes"))?;
            }
            other => return Err(format!("overlay2: unknown option {other}")),
        }
    }
    Ok(size)
}

/// Reads `64m`, `1.5GiB`, `1024`.
pub(crate) fn bytes(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let size = number.parse::<f64>().ok()? * (1_i64 << shift) as f64;
    (size < i64::MAX as f64).then_some(size as i64)
}

#[cfg(test)]
mod tests;
