//! Advice for authors: what an engine would refuse, what does nothing, what could be dropped.

use serde_json::Value;

use super::PluginConfig;
use crate::{
    jsonc,
    object::{DecodeError, Object, fold},
};

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The plugin cannot work.
    Error,
    /// It works, though not as written, or with more rights than it needs.
    Warning,
}

/// Something to say about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which value: `mounts[0].source`.
    pub path: String,
    /// What about it.
    pub message: String,
}

struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Error, path: path.into(), message: message.into() });
    }

    fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Warning, path: path.into(), message: message.into() });
    }
}

/// Reads `config.json` and says what there is to say, unknown keys included.
pub fn validate_text(text: &[u8]) -> Result<(PluginConfig, Vec<Finding>), jsonc::Error> {
    let (config, unknown) =
        jsonc::decode(text, |value| Ok((PluginConfig::from_value(value)?, unknown_keys(value)?)))?;
    let mut findings = Findings(Vec::new());
    for path in unknown {
        findings.warning(path, "no engine knows this key; it is ignored");
    }
    findings.0.extend(validate(&config));
    Ok((config, findings.0))
}

/// Says what there is to say about a configuration, errors first.
pub fn validate(config: &PluginConfig) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    check_process(config, &mut findings);
    check_interface(config, &mut findings);
    check_settables(config, &mut findings);
    check_mounts(config, &mut findings);
    check_rights(config, &mut findings);
    findings.0.sort_by_key(|finding| finding.severity);
    findings.0
}

fn check_process(config: &PluginConfig, findings: &mut Findings) {
    match config.entrypoint.first() {
        None => findings.error("entrypoint", "names no program; the plugin cannot be started"),
        Some(program) if !program.starts_with('/') => {
            findings.warning(
                "entrypoint[0]",
                format!("{program:?} is looked up in PATH; name it by its full path"),
            );
        }
        Some(_) => {}
    }
    if !config.work_dir.is_empty() && !config.work_dir.starts_with('/') {
        findings.error("workDir", "must be absolute");
    }
    if config.user.uid != 0 || config.user.gid != 0 {
        findings.warning("user", "no engine applies it: plugins run as 0:0");
    }
}

fn check_interface(config: &PluginConfig, findings: &mut Findings) {
    let socket = config.interface.socket.as_str();
    if socket.is_empty() {
        findings.error("interface.socket", "names no socket; an engine could not reach the plugin");
    } else if socket.contains('/') || matches!(socket, "." | "..") {
        findings.error("interface.socket", "must be a file name; the engine decides the directory");
    } else if socket.len() > 64 {
        // 108 bytes for an address, of which /run/docker/plugins/<64 hex>/ takes 85 on the host.
        findings
            .warning("interface.socket", "is so long that the socket's address may not fit into 108 bytes");
    }
    if config.interface.types.is_empty() {
        findings.error("interface.types", "names no interface; write for example docker.volumedriver/1.0");
    }
    const KNOWN: [&str; 10] = [
        "volumedriver",
        "networkdriver",
        "ipamdriver",
        "authz",
        "logdriver",
        "metricscollector",
        "graphdriver",
        "secretprovider",
        "csinode",
        "csicontroller",
    ];
    for (index, kind) in config.interface.types.iter().enumerate() {
        let path = format!("interface.types[{index}]");
        if kind.prefix != "docker" {
            findings.error(path, format!("the prefix of {kind} must be docker"));
        } else if !KNOWN.contains(&kind.capability.as_str()) {
            let hint = KNOWN.iter().find(|known| kind.capability.eq_ignore_ascii_case(known));
            let hint = hint.map(|known| format!("; it must be lower case: {known}")).unwrap_or_default();
            findings.error(path, format!("{:?} is no capability that engines know{hint}", kind.capability));
        } else if kind.version != "1.0" {
            findings.warning(path, format!("engines look for docker.{}/1.0 exactly", kind.capability));
        }
    }
    if !matches!(config.interface.protocol_scheme.as_str(), "" | "moby.plugins.http/v1") {
        findings
            .warning("interface.protocolScheme", "is not HTTP, so the engine only connects to the socket");
    }
}

fn check_settables(config: &PluginConfig, findings: &mut Findings) {
    let mut check = |path: String, name: &str, settable: &[String], field: &str, vacant: bool| {
        if let Some(other) = settable.iter().find(|allowed| *allowed != field) {
            findings
                .warning(format!("{path}.settable"), format!("{other:?} cannot be set; only {field:?} can"));
        }
        if !settable.is_empty() && name.is_empty() {
            findings.error(format!("{path}.name"), "is missing, so nobody can set it");
        }
        if vacant && settable.iter().any(|allowed| allowed == field) {
            let text = "is null, and Docker refuses to set what is null; give it a default";
            findings.error(format!("{path}.{field}"), text);
        }
    };
    for (index, env) in config.env.iter().enumerate() {
        check(format!("env[{index}]"), &env.name, &env.settable, "value", false);
    }
    for (index, mount) in config.mounts.iter().enumerate() {
        check(format!("mounts[{index}]"), &mount.name, &mount.settable, "source", mount.source.is_none());
    }
    for (index, device) in config.linux.devices.iter().enumerate() {
        let path = format!("linux.devices[{index}]");
        check(path, &device.name, &device.settable, "path", device.path.is_none());
    }
    check("args".to_owned(), &config.args.name, &config.args.settable, "value", false);

    for (index, env) in config.env.iter().enumerate() {
        if env.name.is_empty() || env.name.contains(['=', '\0']) {
            findings.error(format!("env[{index}].name"), format!("{:?} is no variable's name", env.name));
        }
    }
    let names = config.env.iter().map(|env| &env.name);
    let names = names.chain(config.mounts.iter().map(|mount| &mount.name));
    let mut names: Vec<_> = names
        .chain(config.linux.devices.iter().map(|device| &device.name))
        .chain([&config.args.name])
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
        findings.warning("", format!("{:?} names two settings; `set` reaches only the first", pair[0]));
    }
}

fn check_mounts(config: &PluginConfig, findings: &mut Findings) {
    for (index, mount) in config.mounts.iter().enumerate() {
        let path = format!("mounts[{index}]");
        if !mount.destination.starts_with('/') {
            findings.error(format!("{path}.destination"), "must be absolute");
        }
        if mount.source.is_none() && mount.settable.is_empty() {
            findings.error(
                format!("{path}.source"),
                "is null and cannot be set, so the plugin cannot be enabled",
            );
        }
        match mount.source.as_deref() {
            Some("/") => findings.warning(format!("{path}.source"), "is the whole host"),
            Some(source) if source.ends_with("docker.sock") => {
                findings
                    .warning(format!("{path}.source"), "gives the plugin the engine, and with it the host");
            }
            _ => {}
        }
    }
    let propagated = &config.propagated_mount;
    if !propagated.is_empty() && !propagated.starts_with('/') {
        findings.error("propagatedMount", "must be absolute");
    }
    if !propagated.is_empty() && config.mounts.iter().any(|mount| mount.destination == *propagated) {
        findings.warning("propagatedMount", "is also the destination of a mount, which hides it");
    }
}

fn check_rights(config: &PluginConfig, findings: &mut Findings) {
    match config.network.kind.as_str() {
        "" | "none" | "null" | "host" => {}
        "bridge" => {
            findings.warning("network.type", "no engine implements bridge; the plugin gets loopback only")
        }
        other => findings.warning("network.type", format!("{other:?} is none of host and none")),
    }
    if config.network.kind == "host" && config.has_capability("volumedriver") {
        let text =
            "drop it unless the storage is reached over the network: the engine's socket needs no network";
        findings.warning("network.type", text);
    }
    if config.ipc_host {
        findings.warning("ipcHost", "drop it unless the plugin shares memory with host processes");
    }
    if config.pid_host {
        findings.warning("pidHost", "drop it unless the plugin looks at host processes");
    }
    let linux = &config.linux;
    if linux.allow_all_devices {
        findings.warning("linux.allowAllDevices", "list the devices instead; this one grants every disk");
        if !linux.devices.is_empty() {
            findings.warning("linux.devices", "adds no right to allowAllDevices");
        }
    }
    for (index, capability) in linux.capabilities.iter().enumerate() {
        let path = format!("linux.capabilities[{index}]");
        if DEFAULT_CAPABILITIES.contains(&capability.as_str()) {
            findings.warning(path, format!("drop {capability}: plugins have it anyway"));
        } else if capability.eq_ignore_ascii_case("all") {
            findings.error(path, "name each capability; ALL is not one");
        } else if !capability.starts_with("CAP_") || capability.bytes().any(|byte| byte.is_ascii_lowercase())
        {
            findings.error(path, format!("{capability:?} is no capability; they are written CAP_SYS_ADMIN"));
        } else if linux.capabilities.iter().take(index).any(|earlier| earlier == capability) {
            findings.warning(path, format!("drop the second {capability}"));
        }
    }
    for (index, device) in linux.devices.iter().enumerate() {
        let path = format!("linux.devices[{index}].path");
        match &device.path {
            None if device.settable.is_empty() => findings.error(path, "is null and cannot be set"),
            Some(device) if !device.starts_with("/dev/") => findings.warning(path, "is not below /dev"),
            _ => {}
        }
    }
    let admin = linux.capabilities.iter().any(|capability| capability == "CAP_SYS_ADMIN");
    if admin && config.has_capability("volumedriver") && config.propagated_mount.is_empty() {
        let text =
            "drop CAP_SYS_ADMIN unless the plugin mounts: without propagatedMount its mounts reach nobody";
        findings.warning("linux.capabilities", text);
    }
    if matches!(&linux.seccomp, Some(seccomp) if seccomp.profile == super::SeccompProfile::Unconfined) {
        findings.warning("linux.seccomp.profile", "unconfined allows every system call");
    }
}

/// What every container, and so every plugin, may do.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The places of keys that decoding does not read.
fn unknown_keys(value: &Value) -> Result<Vec<String>, DecodeError> {
    let mut unknown = Vec::new();
    let mut check = |object: &Object<'_>, known: &[&str]| {
        for (key, path) in object.keys() {
            if !known.iter().any(|known| fold(known) == fold(key)) {
                unknown.push(path);
            }
        }
    };
    let root = Object::root(value)?;
    check(
        &root,
        &[
            "Args",
            "Description",
            "DockerVersion",
            "Documentation",
            "Entrypoint",
            "Env",
            "Interface",
            "IpcHost",
            "Linux",
            "Mounts",
            "Network",
            "PidHost",
            "PropagatedMount",
            "User",
            "WorkDir",
            "rootfs",
        ],
    );
    let setting = ["Name", "Description", "Settable", "Value"];
    for object in root.object("Args")?.into_iter().chain(root.objects("Env")?) {
        check(&object, &setting);
    }
    for object in root.objects("Mounts")? {
        check(&object, &["Name", "Description", "Source", "Destination", "Type", "Options", "Settable"]);
    }
    let parts: [(&str, &[&str]); 4] = [
        ("Interface", &["ProtocolScheme", "Socket", "Types"]),
        ("Network", &["Type"]),
        ("User", &["UID", "GID"]),
        ("rootfs", &["type", "diff_ids"]),
    ];
    for (name, known) in parts {
        if let Some(object) = root.object(name)? {
            check(&object, known);
        }
    }
    if let Some(linux) = root.object("Linux")? {
        let known =
            ["AllowAllDevices", "Capabilities", "Devices", "Seccomp", "ApparmorProfile", "NoNewPrivileges"];
        check(&linux, &known);
        for device in linux.objects("Devices")? {
            let known =
                ["Name", "Description", "Path", "Settable", "cgroup_permissions", "CgroupPermissions"];
            check(&device, &known);
        }
        if let Some(seccomp) = linux.object("Seccomp")? {
            check(&seccomp, &["Profile"]);
        }
    }
    Ok(unknown)
}
