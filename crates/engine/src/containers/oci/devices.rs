use std::{
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use pintle_runtime::{
    oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType},
    spec::{default_device_rules, host_devices},
};

use crate::{
    EngineError,
    containers::{ContainerSpec, DeviceSpec},
};

/// More device nodes than this are not taken from one directory.
const MOST: usize = 4096;

/// The nodes to make and the rules of the device control group.
pub(super) fn build(spec: &ContainerSpec) -> Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>), EngineError> {
    if spec.privileged {
        let mut everything = LinuxDeviceCgroup::default();
        everything.set_allow(true).set_typ(Some(LinuxDeviceType::A)).set_access(Some("rwm".to_owned()));
        return Ok((host_devices(), vec![everything]));
    }
    let mut nodes = Vec::new();
    let mut allowed = default_device_rules();
    for device in &spec.devices {
        add(device, &mut nodes, &mut allowed)?;
    }
    allowed.extend(rules(&spec.device_cgroup_rules)?);
    Ok((nodes, allowed))
}

fn add(
    wanted: &DeviceSpec,
    nodes: &mut Vec<LinuxDevice>,
    allowed: &mut Vec<LinuxDeviceCgroup>,
) -> Result<(), EngineError> {
    let failed = |why: String| {
        EngineError::invalid(format!(
            "error gathering device information while adding custom device \"{}\": {why}",
            wanted.host.display()
        ))
    };
    let permissions = if wanted.permissions.is_empty() { "rwm" } else { wanted.permissions.as_str() };
    if !permissions.bytes().all(|byte| matches!(byte, b'r' | b'w' | b'm')) {
        return Err(EngineError::invalid(format!("invalid device permissions: {permissions}")));
    }
    let inside = if wanted.container.as_os_str().is_empty() { &wanted.host } else { &wanted.container };
    let metadata = std::fs::metadata(&wanted.host).map_err(|error| {
        failed(if error.kind() == std::io::ErrorKind::NotFound {
            "no such file or directory".to_owned()
        } else {
            error.to_string()
        })
    })?;
    let mut found = 0;
    let mut take = |path: &Path, metadata: &std::fs::Metadata| {
        let kind = metadata.file_type();
        let kind = if kind.is_block_device() {
            LinuxDeviceType::B
        } else if kind.is_char_device() {
            LinuxDeviceType::C
        } else {
            return;
        };
        found += 1;
        let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        let mut node = LinuxDevice::default();
        node.set_path(path.to_owned())
            .set_typ(kind)
            .set_major(i64::from(major))
            .set_minor(i64::from(minor))
            .set_file_mode(Some(metadata.mode() & 0o7777))
            .set_uid(Some(metadata.uid()))
            .set_gid(Some(metadata.gid()));
        nodes.push(node);
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true)
            .set_typ(Some(kind))
            .set_major(Some(i64::from(major)))
            .set_minor(Some(i64::from(minor)))
            .set_access(Some(permissions.to_owned()));
        allowed.push(rule);
    };
    if metadata.is_dir() {
        let entries = std::fs::read_dir(&wanted.host).map_err(|error| failed(error.to_string()))?;
        for entry in entries.flatten().take(MOST) {
            if let Ok(metadata) = entry.metadata() {
                take(&inside.join(entry.file_name()), &metadata);
            }
        }
    } else {
        take(inside, &metadata);
    }
    if found == 0 {
        return Err(failed("not a device node".to_owned()));
    }
    Ok(())
}

/// `a|b|c major:minor rwm`, with `*` for any number.
pub(super) fn rules(texts: &[String]) -> Result<Vec<LinuxDeviceCgroup>, EngineError> {
    texts.iter().map(|text| rule(text)).collect()
}

fn rule(text: &str) -> Result<LinuxDeviceCgroup, EngineError> {
    let invalid = || EngineError::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let fields: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, access] = fields.as_slice() else { return Err(invalid()) };
    let kind = match *kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(invalid()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(Some).map_err(|_| invalid())
        }
        _ => Err(invalid()),
    };
    if access.is_empty() || access.len() > 3 || !access.bytes().all(|byte| matches!(byte, b'r' | b'w' | b'm'))
    {
        return Err(invalid());
    }
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(kind))
        .set_major(number(major)?)
        .set_minor(number(minor)?)
        .set_access(Some((*access).to_owned()));
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_texts() {
        let found = rule("c 10:* rw").unwrap();
        assert_eq!((found.major(), found.minor()), (Some(10), None));
        for bad in ["", "c", "x 1:1 r", "c 1 r", "c 1:1 ", "c 1:1 q", "c 1:1 rwmr", "c -1:1 r", "c :1 r"] {
            let error = rule(bad).unwrap_err().message;
            assert_eq!(error, format!("invalid device cgroup rule format: '{bad}'"));
        }
    }

    #[test]
    fn devices_that_are_not() {
        let (mut nodes, mut allowed) = (Vec::new(), Vec::new());
        let mut tried = |host: &str| {
            let device = DeviceSpec { host: host.into(), ..DeviceSpec::default() };
            add(&device, &mut nodes, &mut allowed)
        };
        tried("/dev/null").unwrap();
        assert!(tried("/dev/does-not-exist").unwrap_err().message.ends_with("no such file or directory"));
        tried("/etc/passwd").unwrap_err();
        assert_eq!(nodes[0].path(), Path::new("/dev/null"));
    }
}
