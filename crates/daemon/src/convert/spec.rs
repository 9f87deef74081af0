//! A client's wish for a container becomes the engine's specification.

use std::time::Duration;

use pintle_api::{
    StringMap,
    container::{Config, NetworkingConfig, UpdateRequest},
    host_config::{self, HostConfig},
    version::ApiVersion,
};
use pintle_engine::containers::{
    BlkioDevices, ContainerSpec, DeviceSpec, HealthSpec, LogConfig, MountKind, MountSpec, Resources,
    RestartMode, RestartPolicy, Ulimit, Update,
};
use pintle_runtime::cdi::DeviceRequest;
use serde_json::json;

use super::{
    endpoints::{Whole, endpoints},
    network,
};
use crate::{config, status::Failure};

/// What the engine shall make, and what the client should know about it.
pub(crate) fn spec(
    config: Config,
    mut host: HostConfig,
    networking: NetworkingConfig,
    platform: Option<String>,
    version: ApiVersion,
    defaults: &config::Config,
) -> Result<(ContainerSpec, Vec<String>), Failure> {
    let mut warnings = Vec::new();
    refuse(&host, defaults)?;
    if host.runtime.is_empty() {
        host.runtime.clone_from(&defaults.default_runtime);
    }
    if host.cgroupns_mode.is_empty() && !host.privileged {
        host.cgroupns_mode.clone_from(&defaults.default_cgroupns_mode);
    }
    if host.ipc_mode.is_empty() {
        host.ipc_mode.clone_from(&defaults.default_ipc_mode);
    }
    let whole =
        Whole { mode: &host.network_mode, mac_address: &config.mac_address, sysctls: &mut host.sysctls };
    let networks = endpoints(networking.clone(), whole, version, &mut warnings)?;
    let document = json!({ "Config": config, "HostConfig": host, "NetworkingConfig": networking });
    let (healthcheck, shell) = (config.healthcheck.clone(), config.shell.0.clone().unwrap_or_default());
    let resources = resources(&host);
    let storage_size = storage_size(&host.storage_opt)?;
    let mut security_opt = host.security_opt.unwrap_or_default();
    if defaults.no_new_privileges
        && !security_opt.iter().any(|option| option.starts_with("no-new-privileges"))
    {
        security_opt.push("no-new-privileges".to_owned());
    }
    let mounts = host.mounts.unwrap_or_default().into_iter().map(mount).collect::<Result<_, _>>()?;
    let log = match host.log_config.kind.as_str() {
        "" if host.log_config.config.as_ref().is_none_or(|options| options.is_empty()) => {
            LogConfig { driver: defaults.log_driver.clone(), options: defaults.log_opts.clone() }
        }
        "" => LogConfig {
            driver: defaults.log_driver.clone(),
            options: host.log_config.config.unwrap_or_default(),
        },
        driver => {
            LogConfig { driver: driver.to_owned(), options: host.log_config.config.unwrap_or_default() }
        }
    };
    let spec = ContainerSpec {
        judged: std::collections::BTreeMap::new(),
        image: config.image,
        platform,
        entrypoint: config.entrypoint.0,
        cmd: config.cmd.0,
        env: config.env.unwrap_or_default(),
        user: config.user,
        group_add: host.group_add.unwrap_or_default(),
        working_dir: config.working_dir,
        hostname: config.hostname,
        domainname: config.domainname,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        labels: config.labels.unwrap_or_default(),
        stop_signal: Some(config.stop_signal).filter(|signal| !signal.is_empty()),
        stop_timeout: config.stop_timeout,
        volumes: config.volumes.unwrap_or_default().into_keys().collect(),
        exposed_ports: config.exposed_ports.into_keys().collect(),
        publish: host.port_bindings.as_ref().map(network::publish).unwrap_or_default(),
        publish_all: host.publish_all_ports,
        binds: host.binds.unwrap_or_default(),
        mounts,
        tmpfs: host.tmpfs,
        volumes_from: host.volumes_from.unwrap_or_default(),
        volume_driver: host.volume_driver,
        read_only: host.readonly_rootfs,
        read_only_shallow: false,
        privileged: host.privileged,
        cap_add: host.cap_add.0.unwrap_or_default(),
        cap_drop: host.cap_drop.0.unwrap_or_default(),
        security_opt,
        masked_paths: host.masked_paths,
        readonly_paths: host.readonly_paths,
        ulimits: host
            .ulimits
            .unwrap_or_default()
            .into_iter()
            .map(|limit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
            .collect(),
        resources,
        devices: host
            .devices
            .unwrap_or_default()
            .into_iter()
            .map(|device| DeviceSpec {
                host: device.path_on_host.into(),
                container: device.path_in_container.into(),
                permissions: device.cgroup_permissions,
            })
            .collect(),
        device_requests: host
            .device_requests
            .unwrap_or_default()
            .into_iter()
            .map(|request| DeviceRequest {
                driver: request.driver,
                count: request.count,
                ids: request.device_ids.unwrap_or_default(),
                capabilities: request.capabilities.unwrap_or_default(),
                options: request.options.is_some_and(|options| !options.is_empty()),
            })
            .collect(),
        device_cgroup_rules: host.device_cgroup_rules.unwrap_or_default(),
        init: host.init.unwrap_or(defaults.init),
        shm_size: host.shm_size,
        storage_size,
        sysctls: host.sysctls,
        ipc_mode: host.ipc_mode,
        pid_mode: host.pid_mode,
        uts_mode: host.uts_mode,
        cgroupns_mode: host.cgroupns_mode,
        userns_mode: host.userns_mode,
        network_mode: if config.network_disabled { "none".to_owned() } else { host.network_mode },
        networks,
        networks_settled: false,
        // It is among what is wanted of the network that it means.
        mac_address: String::new(),
        links: host.links.unwrap_or_default(),
        cgroup_parent: host.cgroup_parent,
        oom_score_adj: host.oom_score_adj,
        extra_hosts: host.extra_hosts.unwrap_or_default(),
        dns: host.dns.unwrap_or_default(),
        dns_options: host.dns_options.unwrap_or_default(),
        dns_search: host.dns_search.unwrap_or_default(),
        auto_remove: host.auto_remove,
        restart: restart(&host.restart_policy)?,
        log,
        // The engine reads the labels for them.
        more_logs: std::collections::BTreeMap::new(),
        console_size: console_size(host.console_size),
        runtime: host.runtime,
        annotations: host.annotations,
        passing: false,
        healthcheck: healthcheck.map(|check| health(check, shell)).transpose()?,
        document,
    };
    Ok((spec, warnings))
}

fn health(check: pintle_api::container::Healthcheck, shell: Vec<String>) -> Result<HealthSpec, Failure> {
    let time = |name: &str, nanos: i64| match u64::try_from(nanos) {
        Ok(nanos) => Ok(Duration::from_nanos(nanos)),
        Err(_) => Err(Failure::invalid(format!("{name} in Healthcheck cannot be less than 1ms"))),
    };
    Ok(HealthSpec {
        test: check.test.unwrap_or_default(),
        interval: time("Interval", check.interval)?,
        timeout: time("Timeout", check.timeout)?,
        start_period: time("StartPeriod", check.start_period)?,
        start_interval: time("StartInterval", check.start_interval)?,
        retries: u32::try_from(check.retries)
            .map_err(|_| Failure::invalid("Retries in Healthcheck cannot be negative"))?,
        shell,
    })
}

/// Height and width, if both are given.
pub(crate) fn console_size(size: [u32; 2]) -> Option<(u16, u16)> {
    let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
    let [height, width] = size;
    (height > 0 && width > 0).then(|| (side(height), side(width)))
}

/// What this engine would otherwise silently leave out.
fn refuse(host: &HostConfig, defaults: &config::Config) -> Result<(), Failure> {
    defaults.known.resolve(&host.runtime)?;
    if !host.cgroup.is_empty() {
        return Err(Failure::not_implemented(format!(
            "joining the control group {:?} is not supported: name a parent with CgroupParent",
            host.cgroup
        )));
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(Failure::invalid(format!(
            "invalid isolation: {:?} - linux only supports 'default'",
            host.isolation
        )));
    }
    if host.io_maximum_bandwidth != 0 || host.io_maximum_iops != 0 {
        return Err(Failure::invalid(
            "Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps",
        ));
    }
    Ok(())
}

/// `StorageOpt`: the most bytes of the root file system.
fn storage_size(options: &StringMap) -> Result<u64, Failure> {
    let mut size = 0;
    for (key, value) in options {
        if !key.eq_ignore_ascii_case("size") {
            return Err(Failure::invalid(format!("Unknown option {}", key.to_lowercase())));
        }
        let bytes = config::bytes(value).and_then(|bytes| u64::try_from(bytes).ok());
        size = bytes.ok_or_else(|| Failure::invalid(format!("invalid size: '{value}'")))?;
    }
    Ok(size)
}

fn mount(mount: host_config::Mount) -> Result<MountSpec, Failure> {
    let kind = match mount.kind.as_str() {
        "bind" => MountKind::Bind,
        "volume" => MountKind::Volume,
        "tmpfs" => MountKind::Tmpfs,
        "image" => MountKind::Image,
        other if mount.target.is_empty() => return Err(no_target(other)),
        other => {
            return Err(Failure::invalid(format!(
                "invalid mount config for type {other:?}: mount type unknown"
            )));
        }
    };
    let misplaced = |options: &str| {
        Err(Failure::invalid(format!("{options} must not be specified on mount type {:?}", mount.kind)))
    };
    if mount.bind_options.is_some() && kind != MountKind::Bind {
        return misplaced("BindOptions");
    }
    if mount.volume_options.is_some() && kind != MountKind::Volume {
        return misplaced("VolumeOptions");
    }
    if mount.image_options.is_some() && kind != MountKind::Image {
        return misplaced("ImageOptions");
    }
    if mount.tmpfs_options.is_some() && kind != MountKind::Tmpfs {
        return misplaced("TmpfsOptions");
    }
    if mount.target.is_empty() {
        return Err(no_target(&mount.kind));
    }
    let bind = mount.bind_options.unwrap_or_default();
    let volume = mount.volume_options.unwrap_or_default();
    let tmpfs = mount.tmpfs_options.unwrap_or_default();
    let image = mount.image_options.unwrap_or_default();
    let driver = volume.driver_config.unwrap_or_default();
    Ok(MountSpec {
        kind,
        source: mount.source,
        target: mount.target,
        read_only: mount.read_only,
        propagation: bind.propagation,
        non_recursive: bind.non_recursive,
        create_mountpoint: bind.create_mountpoint,
        read_only_shallow: bind.read_only_non_recursive,
        read_only_forced: bind.read_only_force_recursive,
        no_copy: volume.no_copy,
        subpath: if kind == MountKind::Image { image.subpath } else { volume.subpath },
        labels: volume.labels,
        driver: driver.name,
        driver_options: driver.options,
        tmpfs_size: tmpfs.size_bytes,
        tmpfs_mode: tmpfs.mode,
        tmpfs_options: tmpfs.options.unwrap_or_default().into_iter().map(|words| words.join("=")).collect(),
    })
}

fn no_target(kind: &str) -> Failure {
    Failure::invalid(format!("invalid mount config for type {kind:?}: field Target must not be empty"))
}

fn restart(policy: &host_config::RestartPolicy) -> Result<RestartPolicy, Failure> {
    let mode = match policy.name.as_str() {
        // Clients from before a policy had to have a name send any count.
        "" => return Ok(RestartPolicy::default()),
        "no" => RestartMode::No,
        "always" => RestartMode::Always,
        "unless-stopped" => RestartMode::UnlessStopped,
        "on-failure" => RestartMode::OnFailure,
        other => {
            return Err(Failure::invalid(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or \
                 'unless-stopped'"
            )));
        }
    };
    if mode != RestartMode::OnFailure && policy.maximum_retry_count != 0 {
        let and = if policy.maximum_retry_count < 0 { " and cannot be negative" } else { "" };
        return Err(Failure::invalid(format!(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'{and}"
        )));
    }
    let max_retries = u32::try_from(policy.maximum_retry_count)
        .map_err(|_| Failure::invalid("invalid restart policy: maximum retry count cannot be negative"))?;
    Ok(RestartPolicy { mode, max_retries })
}

fn resources(host: &HostConfig) -> Resources {
    Resources {
        memory: host.memory,
        memory_swap: host.memory_swap,
        memory_reservation: host.memory_reservation,
        // -1 is how clients say that they want nothing.
        memory_swappiness: host.memory_swappiness.filter(|swappiness| *swappiness != -1),
        cpu_shares: host.cpu_shares,
        cpu_period: host.cpu_period,
        cpu_quota: host.cpu_quota,
        nano_cpus: host.nano_cpus,
        cpuset_cpus: host.cpuset_cpus.clone(),
        cpuset_mems: host.cpuset_mems.clone(),
        pids_limit: host.pids_limit.filter(|limit| *limit > 0),
        cpu_realtime_period: host.cpu_realtime_period,
        cpu_realtime_runtime: host.cpu_realtime_runtime,
        blkio_weight: host.blkio_weight,
        blkio_devices: BlkioDevices {
            weight: host
                .blkio_weight_device
                .iter()
                .flatten()
                .map(|device| (device.path.clone().into(), device.weight.into()))
                .collect(),
            read_bps: throttles(host.blkio_device_read_bps.as_ref()),
            write_bps: throttles(host.blkio_device_write_bps.as_ref()),
            read_iops: throttles(host.blkio_device_read_iops.as_ref()),
            write_iops: throttles(host.blkio_device_write_iops.as_ref()),
        },
        oom_kill_disable: host.oom_kill_disable.unwrap_or(false),
    }
}

fn throttles(devices: Option<&Vec<host_config::ThrottleDevice>>) -> Vec<(std::path::PathBuf, u64)> {
    devices.into_iter().flatten().map(|device| (device.path.clone().into(), device.rate)).collect()
}

/// `POST /containers/{id}/update`.
pub(crate) fn update(request: UpdateRequest) -> Result<Update, Failure> {
    let policy = &request.restart_policy;
    Ok(Update {
        restart: if policy.name.is_empty() { None } else { Some(restart(policy)?) },
        resources: Resources {
            memory: request.memory,
            memory_swap: request.memory_swap,
            memory_reservation: request.memory_reservation,
            cpu_shares: request.cpu_shares,
            cpu_period: request.cpu_period,
            cpu_quota: request.cpu_quota,
            nano_cpus: request.nano_cpus,
            cpuset_cpus: request.cpuset_cpus,
            cpuset_mems: request.cpuset_mems,
            // Nothing given leaves the limit alone; zero and below lift it.
            pids_limit: request.pids_limit.map(|limit| if limit > 0 { limit } else { -1 }),
            cpu_realtime_period: request.cpu_realtime_period,
            cpu_realtime_runtime: request.cpu_realtime_runtime,
            blkio_weight: request.blkio_weight,
            ..Resources::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use pintle_api::{container::CreateRequest, decode};
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<(ContainerSpec, Vec<String>), Failure> {
        let dir = std::path::Path::new("/tmp/x");
        let defaults = config::Config::private(dir, dir, dir).unwrap();
        let (config, host, networking) = decode::<CreateRequest>(text.as_bytes()).unwrap().into_parts();
        spec(config, host, networking, None, pintle_api::version::MAX, &defaults)
    }

    #[test]
    fn what_the_cli_sends_is_understood() {
        let (spec, warnings) = read(
            r#"{"Hostname":"","Tty":true,"Image":"busybox","Cmd":["sh"],"Entrypoint":null,"Env":null,"Volumes":{"/v":{}},
                "HostConfig":{"Binds":["v:/x"],"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3},
                "ConsoleSize":[24,80],"Mounts":[{"Type":"volume","Source":"v","Target":"/y",
                "VolumeOptions":{"NoCopy":true,"DriverConfig":{"Name":"d","Options":{"a":"b"}}}}],"PidsLimit":0,
                "NetworkMode":"default"}}"#,
        )
        .unwrap();
        assert_eq!(spec.console_size, Some((24, 80)));
        assert_eq!(spec.entrypoint, None);
        assert_eq!(spec.volumes, ["/v"]);
        assert_eq!(spec.restart, RestartPolicy { mode: RestartMode::OnFailure, max_retries: 3 });
        assert!(spec.mounts[0].no_copy && spec.mounts[0].driver == "d");
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn what_cannot_be_done_is_refused_or_said() {
        for text in [
            r#"{"HostConfig":{"Runtime":"runsc"}}"#,
            r#"{"HostConfig":{"RestartPolicy":{"Name":"perhaps"}}}"#,
            r#"{"HostConfig":{"RestartPolicy":{"Name":"always","MaximumRetryCount":-1}}}"#,
            r#"{"HostConfig":{"Mounts":[{"Type":"odd","Target":"/x"}]}}"#,
            r#"{"HostConfig":{"Mounts":[{"Type":"bind","Target":"/x","TmpfsOptions":{}}]}}"#,
        ] {
            read(text).expect_err(text);
        }
    }

    #[test]
    fn ports_and_networks_are_understood() {
        let (spec, warnings) = read(
            r#"{"ExposedPorts":{"80/tcp":{},"81/udp":{}},"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"8080"}]},
                "PublishAllPorts":true,"NetworkMode":"n1","Links":["db:x"],"Dns":["9.9.9.9"]},
                "NetworkingConfig":{"EndpointsConfig":{"n1":{"Aliases":["a"]}}}}"#,
        )
        .unwrap();
        assert_eq!(spec.exposed_ports, ["80/tcp", "81/udp"]);
        assert_eq!((spec.publish[0].port.as_str(), spec.publish[0].host_port.as_str()), ("80/tcp", "8080"));
        assert!(spec.publish_all && spec.publish.len() == 1);
        assert_eq!((spec.network_mode.as_str(), spec.networks["n1"].aliases.len()), ("n1", 1));
        assert_eq!((&spec.links[..], &spec.dns[..]), (&["db:x".to_owned()][..], &["9.9.9.9".to_owned()][..]));
        assert_eq!(warnings, [""; 0]);
    }

    proptest! {
        #[test]
        fn hostile_documents_never_panic(
            key in "(Hostname|Cmd|Env|Volumes|HostConfig|Healthcheck|StopTimeout|Labels|NetworkingConfig)",
            value in prop_oneof!["[0-9]{1,25}", "\"[a-z]{0,5}\"", Just("null".to_owned()), Just("[]".to_owned()),
                Just("{\"Mounts\":[{}]}".to_owned()), Just("[[{}]]".to_owned())],
        ) {
            let text = format!("{{\"{key}\":{value}}}");
            if let Ok(request) = decode::<CreateRequest>(text.as_bytes()) {
                let dir = std::path::Path::new("/tmp/x");
                let defaults = config::Config::private(dir, dir, dir).unwrap();
                let (config, host, networking) = request.into_parts();
                let _ = spec(config, host, networking, None, pintle_api::version::MAX, &defaults);
            }
        }
    }
}
