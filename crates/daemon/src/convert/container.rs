//! The engine's containers in the API's shapes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use pintle_api::{
    StringMap,
    container::{self, Config, MountPoint, Port, Summary, SummaryHostConfig, SummaryNetworks, Words},
    host_config::HostConfig,
    inspect::{self, GraphDriver, NetworkSettings},
    network::EndpointSettings,
    time,
};
use pintle_engine::containers::{Container, PathStat, Size, State};
use serde::de::DeserializeOwned;

use super::since;

/// What inspect needs beyond the snapshot.
pub(crate) struct Surroundings {
    pub(crate) dir: std::path::PathBuf,
    pub(crate) log_path: Option<std::path::PathBuf>,
    pub(crate) exec_ids: Vec<String>,
    pub(crate) size: Option<Size>,
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
    let file = |name: &str| around.dir.join(name).to_string_lossy().into_owned();
    let networks = networks(container);
    inspect::Container {
        id: container.id.clone(),
        created: time::rfc3339_nano(container.created),
        path: container.path.clone(),
        args: container.args.clone(),
        state: state(container),
        image: container.image_id.clone(),
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        log_path: around
            .log_path
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        name: format!("/{}", container.name),
        restart_count: u64::from(container.life.restart_count),
        driver: "overlay2".to_owned(),
        platform: container.os.clone(),
        exec_ids: (!around.exec_ids.is_empty()).then_some(around.exec_ids),
        host_config: host_config(container, around.cgroupns_mode, around.default_shm_size),
        graph_driver: GraphDriver {
            name: "overlay2".to_owned(),
            data: Some(
                [("MergedDir", "merged"), ("UpperDir", "rw/diff"), ("WorkDir", "rw/work")]
                    .into_iter()
                    .map(|(key, name)| (key.to_owned(), around.dir.join(name).to_string_lossy().into_owned()))
                    .collect(),
            ),
        },
        size_rw: around.size.map(|size| signed(size.rw)),
        size_root_fs: around.size.map(|size| signed(size.root)),
        mounts: mounts(container),
        config: config(container),
        network_settings: NetworkSettings {
            networks,
            ports: if container.life.run().is_some() {
                container.spec.exposed_ports.iter().map(|port| (port.clone(), None)).collect()
            } else {
                BTreeMap::new()
            },
            ..NetworkSettings::default()
        },
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
        restarting: matches!(life.state, State::Restarting(_)),
        oom_killed: exit.is_some_and(|exit| exit.oom_killed),
        dead: matches!(life.state, State::Dead),
        pid: run.map_or(0, |run| run.pid),
        exit_code: exit.map_or(0, |exit| exit.code),
        error: exit.and_then(|exit| exit.error.clone()).unwrap_or_default(),
        started_at: time::or_never(
            run.map(|run| run.started_at).or(life.exit().and_then(|exit| exit.started_at)),
        ),
        finished_at: time::or_never(life.exit().and_then(|exit| exit.finished_at)),
    }
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
        env: Some(spec.env.clone()),
        cmd: Words(spec.cmd.clone()),
        image: spec.image.clone(),
        volumes: (!spec.volumes.is_empty()).then(|| empty(&spec.volumes)),
        working_dir: spec.working_dir.clone(),
        entrypoint: Words(spec.entrypoint.clone()),
        labels: Some(spec.labels.clone()),
        stop_signal: spec.stop_signal.clone().unwrap_or_default(),
        ..written
    }
}

/// The client's document with the defaults that it left open.
fn host_config(container: &Container, cgroupns_mode: &str, default_shm_size: i64) -> HostConfig {
    let spec = &container.spec;
    let mut host: HostConfig = part(container, "HostConfig");
    let fill = |text: &mut String, default: &str| {
        if text.is_empty() {
            default.clone_into(text);
        }
    };
    fill(&mut host.network_mode, "default");
    fill(&mut host.ipc_mode, "private");
    fill(&mut host.cgroupns_mode, if spec.privileged { "host" } else { cgroupns_mode });
    fill(&mut host.runtime, crate::config::EMBEDDED_RUNTIME);
    host.log_config.kind.clone_from(&spec.log.driver);
    fill(&mut host.log_config.kind, "json-file");
    host.log_config.config = Some(spec.log.options.clone());
    spec.restart.mode.as_str().clone_into(&mut host.restart_policy.name);
    host.restart_policy.maximum_retry_count = i64::from(spec.restart.max_retries);
    if host.shm_size == 0 {
        host.shm_size = default_shm_size;
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
    host.pids_limit = spec.resources.pids_limit;
    if host.masked_paths.is_none() && !spec.privileged {
        host.masked_paths = Some(pintle_runtime::spec::masked_paths());
    }
    if host.readonly_paths.is_none() && !spec.privileged {
        host.readonly_paths = Some(pintle_runtime::spec::readonly_paths());
    }
    host.port_bindings.get_or_insert_default();
    host
}

fn mounts(container: &Container) -> Vec<MountPoint> {
    let mounts = container.mounts.iter().filter(|mount| {
        // `--tmpfs` is not listed, `--mount type=tmpfs` is.
        mount.kind != pintle_engine::containers::MountKind::Tmpfs || mount.long_form
    });
    mounts
        .map(|mount| MountPoint {
            kind: mount.kind.as_str().to_owned(),
            name: mount.name.clone().unwrap_or_default(),
            source: mount.source.to_string_lossy().into_owned(),
            destination: mount.destination.clone(),
            driver: mount.driver.clone(),
            mode: mount.mode.clone(),
            rw: mount.rw,
            propagation: mount.propagation.clone(),
        })
        .collect()
}

/// The network's name as clients filter by it.
fn network_name(container: &Container) -> &str {
    match container.spec.network_mode.as_str() {
        "" | "default" => "bridge",
        name => name,
    }
}

fn networks(container: &Container) -> BTreeMap<String, EndpointSettings> {
    let name = network_name(container);
    let endpoint = EndpointSettings {
        network_id: crate::routes::networks::id_of(name).unwrap_or_default(),
        ..EndpointSettings::default()
    };
    [(name.to_owned(), endpoint)].into()
}

/// One entry of `GET /containers/json`.
pub(crate) fn summary(
    container: &Container,
    size: Option<Size>,
    image: String,
    now: DateTime<Utc>,
) -> Summary {
    let mut command = container.path.clone();
    for word in &container.args {
        command.push(' ');
        if word.contains(' ') {
            command.extend(["'", word, "'"]);
        } else {
            command.push_str(word);
        }
    }
    let running = container.life.run().is_some();
    Summary {
        id: container.id.clone(),
        names: vec![format!("/{}", container.name)],
        image,
        image_id: container.image_id.clone(),
        command,
        created: container.created.timestamp(),
        ports: if running { ports(&container.spec.exposed_ports) } else { Vec::new() },
        size_rw: size.map(|size| signed(size.rw)),
        size_root_fs: size.map(|size| signed(size.root)),
        labels: container.spec.labels.clone(),
        state: container.life.status().to_owned(),
        status: since::status(container, now),
        host_config: SummaryHostConfig {
            network_mode: network_name(container).to_owned(),
            annotations: StringMap::new(),
        },
        network_settings: SummaryNetworks { networks: networks(container) },
        mounts: mounts(container),
    }
}

fn ports(exposed: &[String]) -> Vec<Port> {
    let port = |text: &String| {
        let (port, kind) = text.split_once('/').unwrap_or((text, "tcp"));
        Some(Port { private_port: port.parse().ok()?, kind: kind.to_owned(), ..Port::default() })
    };
    exposed.iter().filter_map(port).collect()
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
