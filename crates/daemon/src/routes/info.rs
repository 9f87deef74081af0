//! `/info`: what this engine and this machine are. Asks no plugin anything that it would wait for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::Utc;
use pintle_api::{
    system::{Commit, FirewallBackend, IndexConfig, Info, Plugins, RegistryConfig},
    time,
};
use pintle_runtime::{
    Seccomp,
    cgroup::{Available, Hierarchies},
    external::known::EMBEDDED,
};
use serde_json::{Value, json};

use super::system::{VERSION, blocking};
use crate::{
    app::App,
    builtins,
    config::{
        Config,
        proxies::{masked, of_environment},
    },
    convert,
    http::{Call, reply, router::Outcome},
};

/// How long legacy plugins may take to say that they are there.
const PATIENCE: Duration = Duration::from_millis(150);

pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub(crate) async fn info(app: Arc<App>, call: Call) -> Outcome {
    let config = app.config.load_full();
    let counts = app.containers().await.counts();
    let images = app.images.clone();
    let image_count = blocking(move || images.list()).await?.len();
    let hierarchies = Hierarchies::detect();
    let available = hierarchies.available();
    let uname = rustix::system::uname();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let os = os_release();
    let proxies = config.proxies.clone().unwrap_or_else(of_environment);
    let info = Info {
        id: app.id.clone(),
        containers: count(counts.running + counts.paused + counts.stopped),
        containers_running: count(counts.running),
        containers_paused: count(counts.paused),
        containers_stopped: count(counts.stopped),
        images: count(image_count),
        driver: "overlay2".to_owned(),
        driver_status: driver_status(&config),
        plugins: Plugins {
            volume: volume_drivers(&app).await,
            network: network_drivers(&app).await,
            authorization: Some(app.authorization.configured().names.clone())
                .filter(|names| !names.is_empty()),
            log: names(&builtins::log_driver_names()),
        },
        memory_limit: available.memory,
        swap_limit: available.swap,
        cpu_cfs_period: available.cpu_quota,
        cpu_cfs_quota: available.cpu_quota,
        cpu_shares: available.cpu_shares,
        cpu_set: available.cpuset,
        pids_limit: available.pids,
        ipv4_forwarding: forwards(),
        debug: config.debug,
        n_fd: count(std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)),
        oom_kill_disable: available.oom_kill_disable,
        n_goroutines: count(tokio::runtime::Handle::current().metrics().num_alive_tasks()),
        system_time: time::rfc3339_nano(Utc::now()),
        logging_driver: config.log_driver.clone(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: hierarchies.setup.version().to_string(),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        operating_system: os.get("PRETTY_NAME").cloned().unwrap_or_else(|| "Linux".to_owned()),
        os_version: os.get("VERSION_ID").cloned().unwrap_or_default(),
        os_type: "linux".to_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: registries(&config),
        n_cpu: count(std::thread::available_parallelism().map_or(1, usize::from)),
        mem_total: convert::stats::machine_memory(),
        docker_root_dir: config.data_root.to_string_lossy().into_owned(),
        http_proxy: masked(&proxies.http),
        https_proxy: masked(&proxies.https),
        no_proxy: proxies.except,
        name: host_name(),
        labels: config.labels.clone(),
        server_version: VERSION.to_owned(),
        runtimes: runtimes(&app, &config),
        default_runtime: config.default_runtime.clone(),
        swarm: json!({
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "",
            "RemoteManagers": null,
        }),
        live_restore_enabled: true,
        init_binary: "pintle".to_owned(),
        containerd_commit: Commit::default(),
        runc_commit: Commit { id: VERSION.to_owned() },
        init_commit: Commit { id: VERSION.to_owned() },
        security_options: security_options(&config),
        firewall_backend: Some(FirewallBackend { driver: "nftables".to_owned(), info: Vec::new() }),
        cdi_spec_dirs: config.cdi_spec_dirs.iter().map(|dir| dir.to_string_lossy().into_owned()).collect(),
        discovered_devices: discovered(&config).await?,
        warnings: Some(warnings(&config, available)),
        ..Info::default()
    };
    Ok(reply::ok(&convert::legacy::info(&info, call.version)?))
}

/// Built-in drivers, plugins that are at hand, and those that a network is made by.
async fn network_drivers(app: &App) -> Vec<String> {
    let mut all = app.networks.builtins();
    if let Ok(found) = tokio::time::timeout(PATIENCE, app.host.network_drivers()).await {
        all.extend(found.into_iter().filter(|(_, driver)| driver.is_ok()).map(|(name, _)| name));
    }
    let networks = app.networks.list(&pintle_engine::networks::Filters::default());
    all.extend(networks.into_iter().map(|network| network.driver).filter(|driver| !driver.is_empty()));
    all.sort();
    all.dedup();
    all
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn forwards() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1")
}

/// Built-in drivers and legacy plugins; managed ones are not among them, as in Docker.
async fn volume_drivers(app: &App) -> Vec<String> {
    let mut all = names(builtins::VOLUME_DRIVERS);
    if let Ok(found) = tokio::time::timeout(PATIENCE, app.host.volume_drivers()).await {
        let legacy = found.into_iter().filter_map(|(name, driver)| {
            driver.ok().filter(|driver| driver.plugin_id.is_none()).map(|_| name)
        });
        all.extend(legacy);
    }
    all.sort();
    all.dedup();
    all
}

fn driver_status(config: &Config) -> Vec<[String; 2]> {
    let pair = |key: &str, value: &str| [key.to_owned(), value.to_owned()];
    let backing = rustix::fs::statfs(&config.data_root).map(|stat| match stat.f_type as u64 {
        0xef53 => "extfs".to_owned(),
        0x5846_5342 => "xfs".to_owned(),
        0x9123_683e => "btrfs".to_owned(),
        0x0102_1994 => "tmpfs".to_owned(),
        0x2fc1_2fc1 => "zfs".to_owned(),
        0x794c_7630 => "overlayfs".to_owned(),
        other => format!("0x{other:x}"),
    });
    vec![
        pair("Backing Filesystem", &backing.unwrap_or_else(|_| "<unknown>".to_owned())),
        pair("Supports d_type", "true"),
        pair("Native Overlay Diff", "true"),
        pair("userxattr", "false"),
    ]
}

/// Every runtime that containers can name, with what it said that it can do, if it was asked and said.
fn runtimes(app: &App, config: &Config) -> BTreeMap<String, Value> {
    let with_status = |name: &str, mut entry: Value| {
        if let Some(features) = app.runtime.features_remembered(name) {
            entry["status"] = json!({ "org.opencontainers.runtime-spec.features": features.text });
        }
        (name.to_owned(), entry)
    };
    let own = EMBEDDED.iter().map(|name| ((*name).to_owned(), json!({ "path": "pintle" })));
    own.chain(config.runtimes.iter().map(|(name, runtime)| with_status(name, json!(runtime)))).collect()
}

/// Devices that CDI files describe.
async fn discovered(config: &Config) -> Result<Vec<Value>, crate::status::Failure> {
    let dirs = config.cdi_spec_dirs.clone();
    let registry = blocking(move || Ok(pintle_runtime::cdi::Registry::read(&dirs))).await?;
    Ok(registry.names().map(|name| json!({ "Source": "cdi", "ID": name })).collect())
}

fn registries(config: &Config) -> RegistryConfig {
    let (cidrs, hosts): (Vec<_>, Vec<_>) =
        config.insecure_registries.iter().cloned().partition(|entry| entry.contains('/'));
    let index = |name: &str, mirrors: Vec<String>, secure, official| {
        (name.to_owned(), IndexConfig { name: name.to_owned(), mirrors, secure, official })
    };
    let mut index_configs: BTreeMap<_, _> =
        hosts.iter().map(|host| index(host, Vec::new(), false, false)).collect();
    index_configs.extend([index("docker.io", config.registry_mirrors.clone(), true, true)]);
    let mut insecure_registry_cidrs = cidrs;
    insecure_registry_cidrs.extend(["::1/128".to_owned(), "127.0.0.0/8".to_owned()]);
    RegistryConfig { insecure_registry_cidrs, index_configs, mirrors: config.registry_mirrors.clone() }
}

fn security_options(config: &Config) -> Vec<String> {
    let mut options = vec![format!("name=seccomp,profile={}", config.seccomp.name)];
    if config.no_new_privileges {
        options.push("name=no-new-privileges".to_owned());
    }
    if Hierarchies::detect().setup.version() == 2 {
        options.push("name=cgroupns".to_owned());
    }
    options
}

fn warnings(config: &Config, available: Available) -> Vec<String> {
    let mut warnings = Vec::new();
    for (present, text) in [
        (available.memory, "WARNING: No memory limit support"),
        (available.swap || !available.memory, "WARNING: No swap limit support"),
        (available.cpu_quota, "WARNING: No cpu cfs quota support"),
        (available.cpu_shares, "WARNING: No cpu shares support"),
        (available.cpuset, "WARNING: No cpuset support"),
        (available.pids, "WARNING: No pids limit support"),
        (forwards(), "WARNING: IPv4 forwarding is disabled"),
        (
            config.seccomp.filter == Seccomp::Default,
            "WARNING: daemon is not using the default seccomp profile",
        ),
    ] {
        if !present {
            warnings.push(text.to_owned());
        }
    }
    let open = |host: &&crate::config::Address| {
        matches!(host, crate::config::Address::Tcp(_)) && config.tls.is_none()
    };
    for host in config.hosts.iter().filter(open) {
        warnings.push(format!(
            "[DEPRECATION NOTICE]: API is accessible on {host} without encryption. Access to the remote API is \
             equivalent to root access on the host."
        ));
    }
    warnings.extend(config.warnings.iter().map(|warning| format!("WARNING: {warning}")));
    warnings
}

pub(crate) fn os_release() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}
