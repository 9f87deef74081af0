//! The engine's containers in the API's shapes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use pintle_api::{
    StringMap,
    container::{self, Config, MountPoint, Summary, SummaryHostConfig, SummaryNetworks, Words},
    host_config::{HostConfig, PortBinding},
    inspect::{self, GraphDriver, NetworkSettings},
    time,
    version::ApiVersion,
};
use pintle_engine::{
    containers::{self, Container, Health, MountKind, PathStat, Size, State},
    networks::ContainerNetworks,
    volumes::DEFAULT,
};
use serde::de::DeserializeOwned;

use super::{network, since};

/// What inspect needs beyond the snapshot.
pub(crate) struct Surroundings {
    pub(crate) dir: std::path::PathBuf,
    pub(crate) log_path: Option<std::path::PathBuf>,
    pub(crate) exec_ids: Vec<String>,
    pub(crate) health: Option<Health>,
    pub(crate) size: Option<Size>,
    /// What it wants of networks and what it has.
    pub(crate) networks: ContainerNetworks,
    /// Its legacy links.
    pub(crate) links: Vec<String>,
    /// The client's version.
    pub(crate) version: ApiVersion,
    /// The image's layers, topmost first.
    pub(crate) lower: String,
    /// Its manifest.
    pub(crate) manifest: Option<container::Descriptor>,
    /// What a container gets that names no control group name space mode.
    pub(crate) cgroupns_mode: &'static str,
    pub(crate) default_shm_size: i64,
}

/// A part of the client's own document, as it was read when the container was made.
fn part<T: DeserializeOwned + Default>(container: &Container, key: &str) -> T {
    container
        .spec
        .document
        .get(key)
        .and_then(|value| serde_json::from_value(value.clone()).ok())
        .unwrap_or_default()
}

/// `GET /containers/{id}/json`.
pub(crate) fn inspect(container: &Container, around: Surroundings) -> inspect::Container {
    // Docker knows these paths once the container was started for the first time.
    let begun = container.life.run().is_some() || container.life.exit().is_some();
    let file = |name: &str| match begun {
        true => around.dir.join(name).to_string_lossy().into_owned(),
        false => String::new(),
    };
    let network_settings = network_settings(container, &around);
    let host_config = host_config(container, &around);
    inspect::Container {
        id: container.id.clone(),
        created: time::rfc3339_nano(container.created),
        path: container.path.clone(),
        args: container.args.clone(),
        state: inspect::State { health: around.health.as_ref().map(health), ..state(container) },
        image: container.image_id.clone(),
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        log_path: around
            .log_path
            .as_ref()
            .filter(|_| begun)
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        name: format!("/{}", container.name),
        restart_count: u64::from(container.life.restart_count),
        driver: "overlay2".to_owned(),
        platform: container.os.clone(),
        exec_ids: (!around.exec_ids.is_empty()).then_some(around.exec_ids),
        host_config,
        graph_driver: GraphDriver {
            name: "overlay2".to_owned(),
            data: Some(
                [("MergedDir", "merged"), ("UpperDir", "rw/diff"), ("WorkDir", "rw/work")]
                    .into_iter()
                    .map(|(key, name)| (key.to_owned(), around.dir.join(name).to_string_lossy().into_owned()))
                    .chain([("LowerDir".to_owned(), around.lower)])
                    .collect(),
            ),
        },
        size_rw: around.size.map(|size| signed(size.rw)),
        size_root_fs: around.size.map(|size| signed(size.root)),
        mounts: mounts(container),
        config: Config { mac_address: main_mac_address(container), ..config(container) },
        network_settings,
        image_manifest_descriptor: around.manifest,
        ..inspect::Container::default()
    }
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn state(container: &Container) -> inspect::State {
    let life = &container.life;
    let run = life.run();
    let exit = life.exit().filter(|_| run.is_none());
    inspect::State {
        status: life.status().to_owned(),
        running: life.is_running(),
        paused: matches!(life.state, State::Paused(_)),
        restarting: life.status() == "restarting",
        oom_killed: exit.is_some_and(|exit| exit.oom_killed),
        dead: matches!(life.state, State::Dead),
        pid: run.map_or(0, |run| run.pid),
        exit_code: exit.map_or(0, |exit| exit.code),
        error: exit.and_then(|exit| exit.error.clone()).unwrap_or_default(),
        started_at: time::or_never(
            run.map(|run| run.started_at).or(life.exit().and_then(|exit| exit.started_at)),
        ),
        finished_at: time::or_never(life.exit().and_then(|exit| exit.finished_at)),
        health: None,
    }
}

fn health(health: &Health) -> inspect::Health {
    inspect::Health {
        status: health.status.as_str().to_owned(),
        failing_streak: health.failing_streak,
        log: health
            .log
            .iter()
            .map(|probe| inspect::HealthcheckResult {
                start: time::rfc3339_nano(probe.start),
                end: time::rfc3339_nano(probe.end),
                exit_code: probe.exit_code,
                output: probe.output.clone(),
            })
            .collect(),
    }
}

/// The address that the container wants of its main network, which was the container's own once.
fn main_mac_address(container: &Container) -> String {
    let wish = container.spec.networks.get(network_mode(container));
    wish.map_or_else(String::new, |wish| wish.mac_address.clone())
}

/// The client's document with what the image added.
fn config(container: &Container) -> Config {
    let spec = &container.spec;
    let written: Config = part(container, "Config");
    let empty = |names: &[String]| {
        names.iter().map(|name| (name.clone(), pintle_api::Empty {})).collect::<BTreeMap<_, _>>()
    };
    Config {
        hostname: container.hostname().to_owned(),
        user: spec.user.clone(),
        exposed_ports: empty(&spec.exposed_ports),
        env: if spec.env.is_empty() { written.env.clone() } else { Some(spec.env.clone()) },
        cmd: Words(spec.cmd.clone()),
        image: spec.image.clone(),
        volumes: (!spec.volumes.is_empty()).then(|| empty(&spec.volumes)),
        working_dir: spec.working_dir.clone(),
        entrypoint: Words(spec.entrypoint.clone()),
        labels: Some(spec.labels.clone()),
        stop_signal: spec.stop_signal.clone().unwrap_or_default(),
        healthcheck: spec
            .healthcheck
            .as_ref()
            .and_then(|check| pintle_api::decode::decode_value(check.to_json()).ok())
            .or_else(|| written.healthcheck.clone()),
        ..written
    }
}

/// The client's document with the defaults that it left open.
fn host_config(container: &Container, around: &Surroundings) -> HostConfig {
    let spec = &container.spec;
    let mut host: HostConfig = part(container, "HostConfig");
    let fill = |text: &mut String, default: &str| {
        if text.is_empty() {
            default.clone_into(text);
        }
    };
    network_mode(container).clone_into(&mut host.network_mode);
    fill(&mut host.ipc_mode, "private");
    fill(&mut host.cgroupns_mode, if spec.privileged { "host" } else { around.cgroupns_mode });
    fill(&mut host.runtime, crate::config::EMBEDDED_RUNTIME);
    host.log_config.kind.clone_from(&spec.log.driver);
    fill(&mut host.log_config.kind, "json-file");
    host.log_config.config = Some(spec.log.options.clone());
    spec.restart.mode.as_str().clone_into(&mut host.restart_policy.name);
    host.restart_policy.maximum_retry_count = i64::from(spec.restart.max_retries);
    if host.shm_size == 0 {
        host.shm_size = around.default_shm_size;
    }
    host.memory = spec.resources.memory;
    host.memory_swap = spec.resources.memory_swap;
    host.memory_reservation = spec.resources.memory_reservation;
    host.cpu_shares = spec.resources.cpu_shares;
    host.cpu_period = spec.resources.cpu_period;
    host.cpu_quota = spec.resources.cpu_quota;
    host.nano_cpus = spec.resources.nano_cpus;
    host.cpuset_cpus.clone_from(&spec.resources.cpuset_cpus);
    host.cpuset_mems.clone_from(&spec.resources.cpuset_mems);
    host.pids_limit = spec.resources.pids_limit.map(|limit| limit.max(0));
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    host.oom_kill_disable =
        (pintle_runtime::cgroup::Setup::detect().version() == 1).then_some(spec.resources.oom_kill_disable);
    if host.masked_paths.is_none() && !spec.privileged {
        host.masked_paths = Some(pintle_runtime::spec::masked_paths());
    }
    if host.readonly_paths.is_none() && !spec.privileged {
        host.readonly_paths = Some(pintle_runtime::spec::readonly_paths());
    }
    if network_mode(container) == "bridge" {
        host.links = (!around.links.is_empty()).then(|| around.links.clone());
    }
    for bindings in host.port_bindings.get_or_insert_default().values_mut() {
        let bindings = bindings.get_or_insert_default();
        if bindings.is_empty() {
            // As Docker says it: any port of the host.
            bindings.push(PortBinding::default());
        }
    }
    host
}

fn mounts(container: &Container) -> Vec<MountPoint> {
    let mounts = container.mounts.iter().filter(|mount| {
        // `--tmpfs` is not listed, `--mount type=tmpfs` is.
        mount.kind != MountKind::Tmpfs || mount.long_form
    });
    mounts
        .map(|mount| MountPoint {
            kind: mount.kind.as_str().to_owned(),
            name: mount.name.clone().unwrap_or_default(),
            source: mount.source.to_string_lossy().into_owned(),
            destination: mount.destination.clone(),
            driver: mount.driver.clone(),
            mode: match is_labelled(mount) {
                true => "z".to_owned(),
                false => mount.mode.clone(),
            },
            rw: mount.rw,
            propagation: mount.propagation.clone(),
        })
        .collect()
}

/// Whether Docker labels it for SELinux without being told to, and says so: volumes of its own driver, but neither those
/// that an image or `-v /path` asks for nor another container's.
fn is_labelled(mount: &containers::MountPoint) -> bool {
    mount.kind == MountKind::Volume
        && mount.driver == DEFAULT
        && mount.mode.is_empty()
        && (mount.long_form || !mount.anonymous)
        && !mount.taken_over
}

/// The network that the container's mode means.
fn network_mode(container: &Container) -> &str {
    match container.spec.network_mode.as_str() {
        "" | "default" => "bridge",
        name => name,
    }
}

/// The container's networks, with the default one's addresses repeated where older clients look for them.
fn network_settings(container: &Container, around: &Surroundings) -> NetworkSettings {
    let mut networks = network::endpoints(&around.networks);
    if around.version < ApiVersion::minor(45) {
        // Such clients look for the short id and the host name among the aliases.
        for (name, endpoint) in &mut networks {
            if !matches!(name.as_str(), "bridge" | "host" | "none") {
                let aliases = endpoint.aliases.get_or_insert_default();
                for own in [container.short_id(), container.hostname()] {
                    if !aliases.iter().any(|alias| alias == own) {
                        aliases.push(own.to_owned());
                    }
                }
            }
        }
    }
    let main = networks.get("bridge").cloned().unwrap_or_default();
    NetworkSettings {
        sandbox_id: around.networks.sandbox_id.clone(),
        sandbox_key: around.networks.sandbox_key.to_string_lossy().into_owned(),
        ports: network::port_map(&around.networks),
        endpoint_id: main.endpoint_id,
        gateway: main.gateway,
        global_ipv6_address: main.global_ipv6_address,
        global_ipv6_prefix_len: main.global_ipv6_prefix_len,
        ip_address: main.ip_address,
        ip_prefix_len: main.ip_prefix_len,
        ipv6_gateway: main.ipv6_gateway,
        mac_address: main.mac_address,
        networks,
        ..NetworkSettings::default()
    }
}

/// One entry of `GET /containers/json`.
pub(crate) fn summary(
    container: &Container,
    link_names: &[String],
    networks: &ContainerNetworks,
    health: Option<&Health>,
    size: Option<Size>,
    image: (String, Option<container::Descriptor>),
    now: DateTime<Utc>,
) -> Summary {
    let (image, image_manifest_descriptor) = image;
    let mut command = container.path.clone();
    for word in &container.args {
        command.push(' ');
        if word.contains(' ') {
            command.extend(["'", word, "'"]);
        } else {
            command.push_str(word);
        }
    }
    Summary {
        id: container.id.clone(),
        names: [format!("/{}", container.name)].into_iter().chain(link_names.iter().cloned()).collect(),
        image,
        image_id: container.image_id.clone(),
        command,
        created: container.created.timestamp(),
        ports: network::ports(networks),
        size_rw: size.map(|size| signed(size.rw)),
        size_root_fs: size.map(|size| signed(size.root)),
        labels: container.spec.labels.clone(),
        state: container.life.status().to_owned(),
        status: since::status(container, health.map(|health| health.status), now),
        host_config: SummaryHostConfig {
            network_mode: network_mode(container).to_owned(),
            annotations: StringMap::new(),
        },
        network_settings: SummaryNetworks { networks: network::endpoints(networks) },
        mounts: mounts(container),
        image_manifest_descriptor,
    }
}

/// What `X-Docker-Container-Path-Stat` says. The mode is Go's, which is what the image store's `stat` gives.
pub(crate) fn path_stat(stat: &PathStat) -> container::PathStat {
    container::PathStat {
        name: stat.name.clone(),
        size: stat.size,
        mode: stat.mode,
        mtime: time::rfc3339_nano(stat.mtime),
        link_target: stat.link_target.clone(),
    }
}
