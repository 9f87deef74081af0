//! Linux capabilities, as `--cap-add` and `--cap-drop` speak of them.

use std::collections::HashSet;

use libcontainer::oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use crate::error::RuntimeError;

/// Every capability by the kernel's number, so that a bit mask can be read and written.
const BY_NUMBER: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// Docker's default set of 14.
#[must_use]
pub fn default_capabilities() -> Capabilities {
    HashSet::from([
        Capability::Chown,
        Capability::DacOverride,
        Capability::Fsetid,
        Capability::Fowner,
        Capability::Mknod,
        Capability::NetRaw,
        Capability::Setgid,
        Capability::Setuid,
        Capability::Setfcap,
        Capability::Setpcap,
        Capability::NetBindService,
        Capability::SysChroot,
        Capability::Kill,
        Capability::AuditWrite,
    ])
}

/// Every capability that Linux has a name for.
#[must_use]
pub fn all_capabilities() -> Capabilities {
    BY_NUMBER.into_iter().collect()
}

/// What this process can hand on: its bounding set. `--privileged` and `ALL` mean these.
#[must_use]
pub fn available_capabilities() -> Capabilities {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    from_mask(bounding)
}

/// A name as users write it: any case, with or without `CAP_`.
#[must_use]
pub fn parse_capability(name: &str) -> Option<Capability> {
    let upper = name.to_ascii_uppercase();
    let upper = upper.strip_prefix("CAP_").unwrap_or(&upper);
    BY_NUMBER.into_iter().find(|c| c.to_string().trim_start_matches("CAP_") == upper)
}

/// `base` after `--cap-add` and `--cap-drop`, with Docker's precedence: `ALL` in add starts from everything
/// available, `ALL` in drop from nothing, and single names then win over it.
///
/// # Errors
/// `InvalidArgument` for an unknown name.
pub fn adjust_capabilities(
    base: &Capabilities,
    add: &[String],
    drop: &[String],
) -> Result<Capabilities, RuntimeError> {
    let (add_all, add) = names("CapAdd", add)?;
    let (drop_all, drop) = names("CapDrop", drop)?;
    let mut set = match (add_all, drop_all) {
        (true, _) => available_capabilities(),
        (false, true) => Capabilities::new(),
        (false, false) => base.clone(),
    };
    if !add_all {
        set.extend(add.iter().copied());
    }
    if add_all || !drop_all {
        set.retain(|c| !drop.contains(c));
    }
    Ok(set)
}

fn names(field: &str, list: &[String]) -> Result<(bool, Capabilities), RuntimeError> {
    let mut all = false;
    let mut set = Capabilities::new();
    for name in list {
        if name.eq_ignore_ascii_case("all") || name.eq_ignore_ascii_case("cap_all") {
            all = true;
        } else {
            set.insert(parse_capability(name).ok_or_else(|| {
                let full = name.to_ascii_uppercase();
                let full = if full.starts_with("CAP_") { full } else { format!("CAP_{full}") };
                RuntimeError::InvalidArgument(format!("invalid {field}: unknown capability: {full:?}"))
            })?);
        }
    }
    Ok((all, set))
}

/// The five sets of a process that has exactly `set`: bounding, effective and permitted; inheritable and ambient
/// stay empty (CVE-2022-24769).
#[must_use]
pub fn capability_sets(set: &Capabilities) -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(set.clone()))
        .set_effective(Some(set.clone()))
        .set_permitted(Some(set.clone()))
        .set_inheritable(Some(Capabilities::new()))
        .set_ambient(Some(Capabilities::new()));
    sets
}

/// Its name as specs and runtimes write it: `CAP_…`.
pub(crate) fn capability_name(capability: Capability) -> String {
    format!("CAP_{}", capability.to_string().trim_start_matches("CAP_"))
}

/// The kernel's bit mask of a set.
pub(crate) fn to_mask(set: &Capabilities) -> u64 {
    BY_NUMBER.iter().enumerate().filter(|(_, c)| set.contains(c)).fold(0, |mask, (bit, _)| mask | 1 << bit)
}

/// The set of a bit mask; bits without a name are dropped.
pub(crate) fn from_mask(mask: u64) -> Capabilities {
    BY_NUMBER.into_iter().enumerate().filter(|(bit, _)| mask & 1 << bit != 0).map(|(_, c)| c).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn the_default_set_has_dockers_mask() {
        assert_eq!(to_mask(&default_capabilities()), 0xa804_25fb);
        assert_eq!(from_mask(0xa804_25fb), default_capabilities());
    }

    #[test]
    fn names_come_in_any_spelling() {
        for name in ["SYS_ADMIN", "cap_sys_admin", "CAP_SYS_ADMIN"] {
            assert_eq!(parse_capability(name), Some(Capability::SysAdmin), "{name}");
        }
        assert_eq!(parse_capability("SYS_NOTHING"), None);
    }

    #[test]
    fn add_and_drop_follow_docker() {
        let base = default_capabilities();
        let set = adjust_capabilities(&base, &list(&["net_admin"]), &list(&["ALL"])).unwrap();
        assert_eq!(set, HashSet::from([Capability::NetAdmin]));
        let set = adjust_capabilities(&base, &[], &list(&["CHOWN"])).unwrap();
        assert!(!set.contains(&Capability::Chown) && set.len() == 13);
        let set = adjust_capabilities(&base, &list(&["ALL"]), &list(&["CHOWN"])).unwrap();
        assert!(!set.contains(&Capability::Chown) && set.contains(&Capability::SysAdmin));
        assert!(adjust_capabilities(&base, &list(&["NOPE"]), &[]).is_err());
    }
}
