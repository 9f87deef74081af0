//! The mounts that a plugin needs on this host. Everything here blocks and is safe to repeat.

use std::{
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    mount::{MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount},
};

/// A line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountPoint {
    pub(crate) path: PathBuf,
    pub(crate) kind: String,
}

/// Every mount at or below `dir`, outermost first.
pub(crate) fn mounts_below(dir: &Path) -> io::Result<Vec<MountPoint>> {
    // The table names real paths.
    let dir = match dir.canonicalize() {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => match dir.parent().map(Path::canonicalize) {
            Some(Ok(parent)) => parent.join(dir.file_name().unwrap_or_default()),
            _ => return Err(error),
        },
    };
    let table = fs::read("/proc/self/mountinfo")?;
    Ok(table
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .filter(|mount| mount.path.starts_with(&dir))
        .collect())
}

fn parse(line: &[u8]) -> Option<MountPoint> {
    let mut fields = line.split(|byte| *byte == b' ');
    let path = unescape(fields.nth(4)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(MountPoint { path, kind: String::from_utf8_lossy(kind).into_owned() })
}

/// The kernel writes blanks and backslashes in paths as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match digits {
            Some(digits) if first == b'\\' => {
                bytes.push(
                    digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                rest = &after[3..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// Whether something is mounted at exactly `path`.
pub(crate) fn is_mounted(path: &Path) -> io::Result<bool> {
    let Ok(real) = path.canonicalize() else { return Ok(false) };
    Ok(mounts_below(&real)?.iter().any(|mount| mount.path == real))
}

/// Mounts an overlay at `target`, device nodes disabled. `lowers` begins with the topmost.
pub(crate) fn mount_overlay(lowers: &[PathBuf], upper: &Path, work: &Path, target: &Path) -> io::Result<()> {
    if is_mounted(target)? {
        return Ok(());
    }
    pintle_image::images::mount_overlay(lowers, upper, work, target, false).map_err(io::Error::other)
}

/// Makes `dir` a mount of its own whose mounts travel both ways.
pub(crate) fn share(dir: &Path) -> io::Result<()> {
    if !is_mounted(dir)? {
        mount_bind_recursive(dir, dir)?;
        // On a host whose root is shared the new mount is the root's peer: everything mounted in it would be
        // mounted a second time, underneath.
        mount_change(dir, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    }
    mount_change(dir, MountPropagationFlags::SHARED | MountPropagationFlags::REC)?;
    Ok(())
}

/// Unmounts everything at and below `dir`, innermost first, without waiting for users.
pub(crate) fn unmount_below(dir: &Path) -> io::Result<()> {
    for _ in 0..8 {
        let mounts = mounts_below(dir)?;
        if mounts.is_empty() {
            return Ok(());
        }
        for mount in mounts.iter().rev() {
            match unmount(&mount.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                // Propagation may have taken it away already.
                Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
                Err(error) => {
                    return Err(io::Error::new(
                        io::Error::from(error).kind(),
                        format!("unmounting {}: {error}", mount.path.display()),
                    ));
                }
            }
        }
    }
    Err(io::Error::other(format!("mounts under {} keep coming back", dir.display())))
}

/// Unmounts FUSE mounts below `dir` whose server died: they answer nothing but ENOTCONN, to a plugin that is
/// started again as well. Other kinds are not touched, since asking them may hang.
pub(crate) fn unmount_dead(dir: &Path) -> io::Result<()> {
    for mount in mounts_below(dir)?.iter().rev().filter(|mount| mount.kind.starts_with("fuse")) {
        if matches!(rustix::fs::stat(&mount.path), Err(Errno::NOTCONN)) {
            let _ = unmount(&mount.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read_with_its_escapes() {
        let line =
            br"36 35 98:0 /mnt1 /mnt\0402/a\134b rw,noatime shared:1 master:2 - fuse.sshfs /dev/root rw";
        let mount = parse(line).unwrap();
        assert_eq!(mount, MountPoint { path: r"/mnt 2/a\b".into(), kind: "fuse.sshfs".into() });
        assert_eq!(parse(b""), None);
        assert_eq!(unescape(br"\999\01"), Path::new(r"\999\01"));
    }

    #[test]
    fn an_overlay_and_a_shared_mount_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (one, two, upper, work, target, shared) =
            (at("one"), at("two"), at("upper"), at("work"), at("target"), at("shared"));
        fs::write(one.join("a"), "one").unwrap();
        fs::write(two.join("a"), "two").unwrap();
        mount_overlay(&[two, one], &upper, &work, &target).unwrap();
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "two");
        fs::write(target.join("b"), "b").unwrap();
        assert!(upper.join("b").exists());
        share(&shared).unwrap();
        share(&shared).unwrap();
        assert_eq!(mounts_below(&shared).unwrap().len(), 1, "sharing twice is sharing once");
        unmount_below(dir.path()).unwrap();
        assert_eq!(mounts_below(dir.path()).unwrap(), []);
    }
}
