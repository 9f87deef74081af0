//! From options to the engine's create request.

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Map, Value, json};

use super::mounts;
use super::networks;
use super::options::ContainerOptions;
use super::resources;
use crate::render::units;

/// The body of `POST /containers/create`. `attached` are the streams that the client will hold.
pub fn request(
    options: &ContainerOptions,
    image: &str,
    command: &[String],
    attached: Attached,
) -> Result<Value> {
    let mut body = Map::new();
    let mut set = |key: &str, value: Value| {
        body.insert(key.to_owned(), value);
    };
    set("Image", image.into());
    set("Hostname", options.hostname.clone().unwrap_or_default().into());
    set("Domainname", options.domainname.clone().unwrap_or_default().into());
    set("User", options.user.clone().unwrap_or_default().into());
    set("WorkingDir", options.workdir.clone().unwrap_or_default().into());
    set("AttachStdin", attached.stdin.into());
    set("AttachStdout", attached.stdout.into());
    set("AttachStderr", attached.stderr.into());
    set("Tty", options.tty.into());
    set("OpenStdin", options.interactive.into());
    set("StdinOnce", (options.interactive && attached.stdin).into());
    set("Env", environment(&options.env_file, &options.env)?.into());
    set("Cmd", if command.is_empty() { Value::Null } else { command.into() });
    match options.entrypoint.as_deref() {
        None => {}
        // An empty one takes the image's away.
        Some("") => set("Entrypoint", json!([""])),
        Some(entrypoint) => set("Entrypoint", json!([entrypoint])),
    }
    set("Labels", labels(&options.label_file, &options.label)?);
    if let Some(signal) = &options.stop_signal {
        set("StopSignal", signal.as_str().into());
    }
    if let Some(seconds) = options.stop_timeout {
        set("StopTimeout", seconds.into());
    }
    if let Some(mac) = &options.mac_address {
        set("MacAddress", mac.as_str().into());
    }
    let anonymous = mounts::anonymous(&options.volume);
    if !anonymous.is_empty() {
        set("Volumes", anonymous.into_iter().map(|path| (path, json!({}))).collect::<Map<_, _>>().into());
    }
    if let Some(health) = health(options)? {
        set("Healthcheck", health);
    }
    let (exposed, bindings) = super::ports::parse(&options.publish, &options.expose)?;
    if !exposed.is_empty() {
        set("ExposedPorts", exposed.into());
    }
    let (mode, endpoints) = networks::parse(options)?;
    set("HostConfig", host_config(options, &mode, bindings)?);
    set("NetworkingConfig", json!({"EndpointsConfig": endpoints}));
    Ok(Value::Object(body))
}

/// The streams that the client will hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attached {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

fn host_config(options: &ContainerOptions, mode: &str, bindings: Map<String, Value>) -> Result<Value> {
    let mut host = resources::request(options)?;
    let mut set = |key: &str, value: Value| {
        host.insert(key.to_owned(), value);
    };
    set("Binds", mounts::binds(&options.volume)?.into());
    let mounts = options.mount.iter().map(|text| mounts::mount(text)).collect::<Result<Vec<_>>>()?;
    if !mounts.is_empty() {
        set("Mounts", mounts.into());
    }
    if !options.tmpfs.is_empty() {
        set("Tmpfs", mounts::tmpfs(&options.tmpfs).into());
    }
    set("VolumeDriver", options.volume_driver.clone().unwrap_or_default().into());
    set("VolumesFrom", texts(&options.volumes_from));
    set("NetworkMode", mode.into());
    set("PortBindings", bindings.into());
    set("PublishAllPorts", options.publish_all.into());
    set("RestartPolicy", restart_policy(options.restart.as_deref())?);
    set("AutoRemove", options.rm.into());
    set("CapAdd", texts(&options.cap_add));
    set("CapDrop", texts(&options.cap_drop));
    set("Privileged", options.privileged.into());
    set("ReadonlyRootfs", options.read_only.into());
    let all = |list: &[String], read: fn(&str) -> Result<String>| {
        list.iter().map(|text| read(text)).collect::<Result<Vec<_>>>().map(|list| texts(&list))
    };
    set("Dns", all(&options.dns, networks::server)?);
    set("DnsOptions", texts(&options.dns_option));
    set("DnsSearch", texts(&options.dns_search));
    set("ExtraHosts", all(&options.add_host, networks::extra_host)?);
    set("GroupAdd", texts(&options.group_add));
    set("Links", texts(&options.link));
    set("IpcMode", options.ipc.clone().unwrap_or_default().into());
    set("PidMode", options.pid.clone().unwrap_or_default().into());
    set("UTSMode", options.uts.clone().unwrap_or_default().into());
    set("UsernsMode", options.userns.clone().unwrap_or_default().into());
    set("CgroupnsMode", options.cgroupns.clone().unwrap_or_default().into());
    set("Isolation", options.isolation.clone().unwrap_or_default().into());
    let log_options = pairs(&options.log_opt, "log-opt")?;
    set("LogConfig", json!({"Type": options.log_driver.clone().unwrap_or_default(), "Config": log_options}));
    if options.init {
        set("Init", true.into());
    }
    if let Some(runtime) = &options.runtime {
        set("Runtime", runtime.as_str().into());
    }
    if let Some(size) = &options.shm_size {
        set("ShmSize", units::parse_memory(size).map_err(|e| anyhow!(e))?.into());
    }
    if let Some(score) = options.oom_score_adj {
        set("OomScoreAdj", score.into());
    }
    if !options.storage_opt.is_empty() {
        set("StorageOpt", pairs(&options.storage_opt, "storage-opt")?.into());
    }
    if !options.sysctl.is_empty() {
        set("Sysctls", pairs(&options.sysctl, "sysctl")?.into());
    }
    if !options.annotation.is_empty() {
        set("Annotations", pairs(&options.annotation, "annotation")?.into());
    }
    let security = security(&options.security_opt)?;
    if security.unconfined_paths {
        set("MaskedPaths", json!([]));
        set("ReadonlyPaths", json!([]));
    }
    set("SecurityOpt", texts(&security.options));
    set(
        "ConsoleSize",
        match crate::terminal::size() {
            Some((height, width)) if options.tty => json!([height, width]),
            _ => json!([0, 0]),
        },
    );
    Ok(Value::Object(host))
}

/// Null rather than an empty list: what Docker's client sends for an option that was not given.
fn texts(list: &[String]) -> Value {
    if list.is_empty() { Value::Null } else { list.into() }
}

/// Variables from files, then from flags. A bare `NAME` takes this process's value, or is left out if there is none.
pub fn environment(files: &[std::path::PathBuf], flags: &[String]) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read env file {}", file.display()))?;
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split('=').next().unwrap_or(line);
            if name.is_empty() || name.contains(char::is_whitespace) {
                bail!(
                    "{}:{}: poorly formatted environment: {line:?} is not NAME=VALUE",
                    file.display(),
                    number + 1
                );
            }
            out.extend(with_value(line));
        }
    }
    for flag in flags {
        if flag.is_empty() || flag.starts_with('=') {
            bail!("invalid environment variable: {flag:?}");
        }
        out.extend(with_value(flag));
    }
    Ok(out)
}

fn with_value(entry: &str) -> Option<String> {
    if entry.contains('=') {
        return Some(entry.to_owned());
    }
    std::env::var(entry).ok().map(|value| format!("{entry}={value}"))
}

/// Labels from files, then from flags.
pub fn labels(files: &[std::path::PathBuf], flags: &[String]) -> Result<Value> {
    let mut out = Map::new();
    for file in files {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read label file {}", file.display()))?;
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            out.insert(key.to_owned(), value.into());
        }
    }
    for flag in flags {
        let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
        out.insert(key.to_owned(), value.into());
    }
    Ok(Value::Object(out))
}

/// `k=v` options.
pub fn pairs(flags: &[String], option: &str) -> Result<Map<String, Value>> {
    flags
        .iter()
        .map(|flag| match flag.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), Value::from(value))),
            _ => Err(anyhow!("invalid --{option} {flag:?}: give KEY=VALUE")),
        })
        .collect()
}

/// `no`, `always`, `unless-stopped`, `on-failure[:N]`.
pub fn restart_policy(text: Option<&str>) -> Result<Value> {
    let Some(text) = text.filter(|t| !t.is_empty()) else {
        return Ok(json!({"Name": "no", "MaximumRetryCount": 0}));
    };
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (
            name,
            count.parse::<i64>().map_err(|_| {
                anyhow!("invalid restart policy format: maximum retry count must be an integer")
            })?,
        ),
        None => (text, 0),
    };
    if name.is_empty() {
        bail!("invalid restart policy format: no policy provided before colon");
    }
    Ok(json!({"Name": name, "MaximumRetryCount": count}))
}

struct Security {
    options: Vec<String>,
    unconfined_paths: bool,
}

/// Reads seccomp profiles, which the engine takes as text, not as a path on this machine.
fn security(options: &[String]) -> Result<Security> {
    let mut out = Security { options: Vec::new(), unconfined_paths: false };
    for option in options {
        if option == "systempaths=unconfined" {
            out.unconfined_paths = true;
            continue;
        }
        let (key, value) = option.split_once('=').or_else(|| option.split_once(':')).unwrap_or((option, ""));
        if key == "no-new-privileges" || (key == "label" && value == "disable") {
            out.options.push(option.clone());
        } else if value.is_empty() {
            bail!("invalid --security-opt: {option:?}");
        } else if key == "seccomp" && !matches!(value, "unconfined" | "builtin") {
            let text = std::fs::read_to_string(value)
                .with_context(|| format!("opening seccomp profile ({value}) failed"))?;
            let profile: Value = serde_json::from_str(&text)
                .with_context(|| format!("compacting json for seccomp profile ({value}) failed"))?;
            out.options.push(format!("seccomp={profile}"));
        } else {
            out.options.push(option.clone());
        }
    }
    Ok(out)
}

fn health(options: &ContainerOptions) -> Result<Option<Value>> {
    if options.no_healthcheck {
        if options.health_cmd.is_some() {
            bail!("--no-healthcheck conflicts with --health-* options");
        }
        return Ok(Some(json!({"Test": ["NONE"]})));
    }
    let time =
        |text: &Option<String>| text.as_deref().map_or(Ok(0), units::parse_duration).map_err(|e| anyhow!(e));
    let test = match options.health_cmd.as_deref() {
        Some(command) => json!(["CMD-SHELL", command]),
        None => Value::Null,
    };
    let given = test != Value::Null
        || options.health_interval.is_some()
        || options.health_timeout.is_some()
        || options.health_start_period.is_some()
        || options.health_retries.is_some();
    if !given {
        return Ok(None);
    }
    Ok(Some(json!({
        "Test": test,
        "Interval": time(&options.health_interval)?,
        "Timeout": time(&options.health_timeout)?,
        "StartPeriod": time(&options.health_start_period)?,
        "Retries": options.health_retries.unwrap_or(0),
    })))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(line: &[&str]) -> Value {
        let root = <Cli as clap::CommandFactory>::command();
        let mut args = vec!["pintle".into()];
        args.extend(crate::grammar::normalise(&root, line.iter().map(Into::into).collect(), None));
        let Command::Run(run) = Cli::parse_from(args).command else { unreachable!() };
        let attached = Attached { stdin: true, stdout: true, stderr: true };
        request(&run.options, &run.image, &run.command_line, attached).unwrap()
    }

    /// Each row was compared with what the stock client 28.2 sends.
    #[test]
    fn options_become_the_request_that_docker_sends() {
        let rows: [(&[&str], &str, Value); 24] = [
            (&["run", "-it", "x", "sh", "-c", "ls"], "/Cmd", json!(["sh", "-c", "ls"])),
            (&["run", "x"], "/Cmd", Value::Null),
            (&["run", "-it", "x"], "/StdinOnce", json!(true)),
            (&["run", "-e", "A=1", "-e", "NO_SUCH_VARIABLE_HERE", "x"], "/Env", json!(["A=1"])),
            (&["run", "--entrypoint", "", "x"], "/Entrypoint", json!([""])),
            (
                &["run", "-v", "vol:/data:ro", "-v", "/anon", "x"],
                "/HostConfig/Binds",
                json!(["vol:/data:ro"]),
            ),
            (&["run", "-v", "/anon", "x"], "/Volumes", json!({"/anon": {}})),
            (&["run", "--tmpfs", "/t:size=1m", "x"], "/HostConfig/Tmpfs", json!({"/t": "size=1m"})),
            (&["run", "-m", "64m", "x"], "/HostConfig/Memory", json!(64 << 20)),
            (&["run", "--memory-swap", "-1", "x"], "/HostConfig/MemorySwap", json!(-1)),
            (&["run", "--cpus", "1.5", "x"], "/HostConfig/NanoCpus", json!(1_500_000_000)),
            (&["run", "--pids-limit", "10", "x"], "/HostConfig/PidsLimit", json!(10)),
            (
                &["run", "--ulimit", "nofile=10:20", "x"],
                "/HostConfig/Ulimits",
                json!([{"Name": "nofile", "Hard": 20, "Soft": 10}]),
            ),
            (
                &["run", "--device", "/dev/fuse", "x"],
                "/HostConfig/Devices/0",
                json!({"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}),
            ),
            (&["run", "--net", "host", "x"], "/HostConfig/NetworkMode", json!("host")),
            (
                &["run", "--restart", "on-failure:3", "x"],
                "/HostConfig/RestartPolicy/MaximumRetryCount",
                json!(3),
            ),
            (&["run", "--init", "x"], "/HostConfig/Init", json!(true)),
            (&["run", "--rm", "x"], "/HostConfig/AutoRemove", json!(true)),
            (&["run", "--rm=false", "x"], "/HostConfig/AutoRemove", json!(false)),
            (&["run", "--security-opt", "systempaths=unconfined", "x"], "/HostConfig/MaskedPaths", json!([])),
            (&["run", "-l", "a=b", "-l", "c", "x"], "/Labels", json!({"a": "b", "c": ""})),
            (&["run", "-h", "box", "-w", "/w", "x"], "/Hostname", json!("box")),
            (&["run", "--cap-add", "NET_ADMIN", "x"], "/HostConfig/CapAdd", json!(["NET_ADMIN"])),
            (&["run", "-p", "8080:80", "x"], "/HostConfig/PortBindings/80~1tcp/0/HostPort", json!("8080")),
        ];
        for (line, pointer, expected) in rows {
            assert_eq!(parse(line).pointer(pointer), Some(&expected), "{line:?}");
        }
    }

    #[test]
    fn env_files_are_read_as_docker_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "# c\n\nA=1 # not a comment\n  B= x \nNO_SUCH_VARIABLE_HERE\n").unwrap();
        let env = environment(std::slice::from_ref(&file), &["C=3".into()]).unwrap();
        assert_eq!(env, ["A=1 # not a comment", "B= x ", "C=3"]);
        std::fs::write(&file, "ok=1\nbad name=1\n").unwrap();
        assert!(environment(&[file], &[]).unwrap_err().to_string().contains(":2:"));
    }

    #[test]
    fn restart_policies() {
        assert!(restart_policy(Some(":3")).is_err() && restart_policy(Some("on-failure:x")).is_err());
        assert_eq!(restart_policy(Some("always")).unwrap()["Name"], "always");
    }
}
