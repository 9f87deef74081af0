//! What the engine must be allowed to do, checked before anything is touched.

/// Capabilities without which nothing works, by number, and what each is for.
const NEEDED: &[(u32, &str, &str)] = &[
    (0, "CAP_CHOWN", "to give files in containers their owners"),
    (1, "CAP_DAC_OVERRIDE", "to read and write files of any owner"),
    (3, "CAP_FOWNER", "to set modes of files of any owner"),
    (5, "CAP_KILL", "to end containers' processes"),
    (6, "CAP_SETGID", "to start processes in any group"),
    (7, "CAP_SETUID", "to start processes as any user"),
    (8, "CAP_SETPCAP", "to take capabilities from containers"),
    (12, "CAP_NET_ADMIN", "to set up containers' networks"),
    (18, "CAP_SYS_CHROOT", "to enter containers"),
    (21, "CAP_SYS_ADMIN", "to mount and to make namespaces"),
    (27, "CAP_MKNOD", "to make device nodes"),
];

/// `Err` names what is missing and how to get it.
pub(crate) fn check() -> Result<(), String> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("reading /proc/self/status: {error}"))?;
    judge(&status, rustix::process::geteuid().is_root())
}

fn judge(status: &str, root: bool) -> Result<(), String> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0);
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(bit, ..)| effective & (1 << bit) == 0)
        .map(|(_, name, purpose)| format!("{name} ({purpose})"))
        .collect();
    match (root, missing.is_empty()) {
        (true, true) => Ok(()),
        (false, _) => {
            Err("the engine must run as root: start it with `sudo pintle daemon`, or as a system service \
                           (`systemctl start pintle`)"
                .to_owned())
        }
        (true, false) => Err(format!(
            "the engine runs as root without {}: give them back to whatever starts it, for instance `docker run \
             --privileged`, or `CapabilityBoundingSet=~` left out of the systemd unit",
            missing.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        judge("CapEff:\t000001ffffffffff\n", true).unwrap();
        let error = judge("CapEff:\t000001ffffdfffff\n", true).unwrap_err();
        assert!(error.contains("CAP_SYS_ADMIN") && !error.contains("CAP_MKNOD"), "{error}");
        let error = judge("CapEff:\t0000000000000000\n", false).unwrap_err();
        assert!(error.contains("sudo"), "{error}");
    }
}
