//! Whether a discovery path can be believed: nobody but root and ourselves may have put it there (T12).
//!
//! A file is refused when it, or any directory above it, belongs to another user or may be written by one; a
//! sticky directory is fine, since there only an owner can replace a file. For a socket the mode bits are not
//! looked at: writing to a socket is calling it, which makes nobody its server.

use std::{
    fs::Metadata,
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const WRITABLE_BY_GROUP: u32 = 0o020;

/// Why a path is not believed, or that it cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Distrust {
    #[error("{path} belongs to user {owner}, who could stand in for the plugin")]
    Owner { path: String, owner: u32 },
    #[error("{path} can be written by other users (mode {mode:04o})")]
    Mode { path: String, mode: u32 },
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Checks `path`, through any symbolic links, and every directory above it.
pub(super) fn check(path: &Path) -> Result<(), Distrust> {
    let real = path.canonicalize()?;
    let own = rustix::process::geteuid().as_raw();
    for (depth, step) in real.ancestors().enumerate() {
        judge(step, &step.symlink_metadata()?, depth == 0, own)?;
    }
    // The link itself could be replaced, if its directory is not safe.
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        for step in parent.canonicalize()?.ancestors() {
            judge(step, &step.symlink_metadata()?, false, own)?;
        }
    }
    Ok(())
}

fn judge(path: &Path, meta: &Metadata, is_leaf: bool, own: u32) -> Result<(), Distrust> {
    let shown = || path.display().to_string();
    let owner = meta.uid();
    if owner != 0 && owner != own {
        return Err(Distrust::Owner { path: shown(), owner });
    }
    if is_leaf && meta.file_type().is_socket() {
        return Ok(());
    }
    let mode = meta.mode() & 0o7777;
    if meta.is_dir() && mode & STICKY != 0 {
        return Ok(());
    }
    let by_group = mode & WRITABLE_BY_GROUP != 0 && meta.gid() != 0;
    if mode & WRITABLE_BY_OTHERS != 0 || by_group {
        return Err(Distrust::Mode { path: shown(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::{
            fs::{PermissionsExt, chown},
            net::UnixListener,
        },
    };

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_what_others_cannot_replace_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let spec = dir.path().join("p.spec");
        fs::write(&spec, "tcp://127.0.0.1:1").unwrap();
        mode(&spec, 0o644);
        check(&spec).unwrap();
        mode(&spec, 0o646);
        assert!(matches!(check(&spec), Err(Distrust::Mode { .. })));
        mode(&spec, 0o644);
        mode(dir.path(), 0o777);
        assert!(matches!(check(&spec), Err(Distrust::Mode { .. })), "a directory that anybody writes");
        mode(dir.path(), 0o1777);
        check(&spec).unwrap();
        chown(&spec, Some(12345), None).unwrap();
        assert!(matches!(check(&spec), Err(Distrust::Owner { owner: 12345, .. })));
    }

    #[test]
    fn a_socket_may_be_called_by_all_but_not_served_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        mode(&path, 0o777);
        check(&path).unwrap();
        chown(&path, Some(12345), None).unwrap();
        assert!(matches!(check(&path), Err(Distrust::Owner { .. })));
    }

    #[test]
    fn a_link_out_of_a_safe_directory_into_an_unsafe_one_is_refused() {
        let safe = tempfile::tempdir().unwrap();
        let open = tempfile::tempdir().unwrap();
        let target = open.path().join("t.spec");
        fs::write(&target, "tcp://127.0.0.1:1").unwrap();
        mode(open.path(), 0o777);
        let link = safe.path().join("p.spec");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        check(&link).unwrap_err();
    }
}
