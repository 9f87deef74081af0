//! The mount table, and changing it.

use std::{
    collections::BTreeSet,
    ffi::{CString, OsString},
    fs, io,
    net::ToSocketAddrs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use pintle_contract::DriverError;
use rustix::{
    io::Errno,
    mount::{
        MountFlags, UnmountFlags, mount as mount2, mount_bind, mount_bind_recursive, mount_change,
        mount_remount, unmount,
    },
};

use super::options::{MountPlan, address, replace_address};

/// Where something is mounted in this process's namespace. Reads the kernel's list, so it hangs on no mount.
pub(super) fn table() -> io::Result<BTreeSet<PathBuf>> {
    let lines = fs::read("/proc/self/mountinfo")?;
    Ok(lines
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|path| PathBuf::from(OsString::from_vec(unescape(path))))
        .collect())
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        let code = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if byte == b'\\' => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        match code {
            Some(code) => {
                plain.push(code);
                rest = &after[3..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

/// Unmounts all that is mounted at `path` or below, the innermost first. Fails if anything is left.
pub(super) fn unmount_all(path: &Path) -> Result<(), DriverError> {
    // One mount point may carry several mounts, one above the other.
    for _ in 0..64 {
        let below: Vec<PathBuf> = table()?.into_iter().filter(|mounted| mounted.starts_with(path)).collect();
        if below.is_empty() {
            return Ok(());
        }
        for mounted in below.iter().rev() {
            match unmount(mounted, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => {
                    return Err(DriverError::internal(format!(
                        "cannot unmount {}: {}",
                        mounted.display(),
                        io::Error::from(error)
                    )));
                }
            }
        }
    }
    Err(DriverError::internal(format!("{} is still mounted", path.display())))
}

/// Makes the mount. For NFS and CIFS, which the kernel wants addresses for, names are looked up first.
pub(super) fn mount(plan: &MountPlan, at: &Path) -> Result<(), DriverError> {
    let data = match address(&plan.fstype, &plan.data) {
        Some(name) => replace_address(&plan.data, &name, &resolve(&name)?),
        None => plan.data.clone(),
    };
    let mounted = mount_prepared(plan, &data, at);
    mounted.map_err(|error| {
        // A step after the first may have failed.
        let _ = unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        DriverError::internal(format!(
            "failed to mount local volume: mount {}:{}, flags: {:#x}, data: {}: {}",
            plan.source,
            at.display(),
            plan.flags.bits(),
            plan.shown_data(),
            io::Error::from(error)
        ))
    })
}

fn mount_prepared(plan: &MountPlan, data: &str, at: &Path) -> Result<(), Errno> {
    let data = CString::new(data).map_err(|_nul| Errno::INVAL)?;
    if plan.flags.contains(MountFlags::BIND) {
        if plan.flags.contains(MountFlags::REC) {
            mount_bind_recursive(plan.source.as_str(), at)?;
        } else {
            mount_bind(plan.source.as_str(), at)?;
        }
        let rest = plan.flags.difference(MountFlags::REC);
        if rest != MountFlags::BIND || !data.is_empty() {
            mount_remount(at, rest, data.as_c_str())?;
        }
    } else {
        mount2(plan.source.as_str(), at, plan.fstype.as_str(), plan.flags, Some(data.as_c_str()))?;
    }
    for change in &plan.propagation {
        mount_change(at, *change)?;
    }
    Ok(())
}

fn resolve(name: &str) -> Result<String, DriverError> {
    let failed = |why: String| DriverError::internal(format!("error resolving address {name}: {why}"));
    let mut found = (name, 0_u16).to_socket_addrs().map_err(|error| failed(error.to_string()))?;
    found.next().map(|address| address.ip().to_string()).ok_or_else(|| failed("no address".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_escapes_are_undone() {
        assert_eq!(unescape(br"/a\040b\134\011"), b"/a b\\\t");
        assert_eq!(unescape(br"/a\04"), br"/a\04");
        assert_eq!(unescape(br"/a\999"), br"/a\999");
    }
}
