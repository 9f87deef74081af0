//! Binds over `/dev`, made after the embedded runtime has made its own.
//!
//! The runtime fills whatever is mounted at `/dev` with device nodes and links, and removes its `ptmx` first. Where
//! that is the host's `/dev` it must not: it fails at best. So it is given a `/dev` of the usual kind, and the bind,
//! with all that the spec mounts below it, is put over that by a hook in the container's namespace, before anything
//! of the container's runs.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{Hook, Mount, Spec};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, mount_bind, mount_bind_recursive, mount_change, mount_remount};

use super::propagation;
use crate::bundle::TaskDir;
use crate::error::{IoContext, RuntimeError};
use crate::spec::default_mounts;

const FILE: &str = "late-mounts.json";
/// What tells [`super::main`] that it runs as the hook.
pub(crate) const WORD: &str = "--late-mounts";

/// How this shim was called, without the directory.
pub(crate) fn own_words() -> Vec<OsString> {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    words.pop();
    words
}

/// Takes the mounts that must come late out of the spec, on disk too. `own` is how to call this shim.
pub(crate) fn divide(dir: &TaskDir, spec: &mut Spec, own: &[OsString]) -> Result<(), RuntimeError> {
    let dev = Path::new("/dev");
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    let is_bind = |mount: &Mount| {
        mount.typ().as_deref() == Some("bind")
            || mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind")
    };
    let Some(at) = mounts.iter().position(|mount| mount.destination() == dev && is_bind(mount)) else {
        return Ok(());
    };
    let mut late = Vec::new();
    let mut kept = mounts.drain(..at).collect::<Vec<_>>();
    kept.extend(default_mounts(0).into_iter().filter(|mount| mount.destination() == dev));
    for mount in mounts {
        // Only binds can be put there; what is not a bind is in the `/dev` below, and so is of no consequence.
        if mount.destination().starts_with(dev) && is_bind(&mount) {
            late.push(mount)
        } else {
            kept.push(mount)
        }
    }
    dir.write_json(FILE, &late)?;
    spec.set_mounts(Some(kept));
    let args = own.iter().cloned().chain([WORD.into(), dir.path().into()]);
    let mut hook = Hook::default();
    // The very file that runs now, even if another has taken its place meanwhile.
    hook.set_path("/proc/self/exe".into())
        .set_args(Some(args.map(|arg| arg.to_string_lossy().into_owned()).collect()));
    let mut hooks = spec.hooks().clone().unwrap_or_default();
    let mut create = hooks.create_container().clone().unwrap_or_default();
    create.push(hook);
    hooks.set_create_container(Some(create));
    spec.set_hooks(Some(hooks));
    spec.save(dir.file("config.json"))
        .map_err(|e| RuntimeError::Internal(format!("writing config.json: {e}")))
}

/// The hook: runs in the container's mount namespace, with the host's root still in place.
pub(crate) fn carry_out(dir: &TaskDir) -> Result<(), RuntimeError> {
    let bytes = std::fs::read(dir.file(FILE)).context(|| format!("reading {FILE}"))?;
    let late: Vec<Mount> = serde_json::from_slice(&bytes)
        .map_err(|error| RuntimeError::Internal(format!("{FILE} is damaged: {error}")))?;
    let spec = Spec::load(dir.file("config.json"))
        .map_err(|error| RuntimeError::Internal(format!("config.json is damaged: {error}")))?;
    let rootfs = spec.root().as_ref().map(|root| root.path().clone()).unwrap_or_default();
    for mount in &late {
        bind(&rootfs, mount).context(|| format!("mounting {}", mount.destination().display()))?;
    }
    Ok(())
}

fn bind(rootfs: &Path, mount: &Mount) -> io::Result<()> {
    let source = mount.source().clone().ok_or(io::ErrorKind::InvalidInput)?;
    let options: Vec<&str> = mount.options().iter().flatten().map(String::as_str).collect();
    let has = |word: &str| options.contains(&word);
    let target = resolved(rootfs, mount.destination())?;
    if has("rbind") {
        mount_bind_recursive(&source, &target.1)?
    } else {
        mount_bind(&source, &target.1)?
    }
    // The same place again, with the new mount on top of it.
    let target = resolved(rootfs, mount.destination())?;
    let mut flags = MountFlags::empty();
    for (word, flag) in [
        ("ro", MountFlags::RDONLY),
        ("rro", MountFlags::RDONLY),
        ("nosuid", MountFlags::NOSUID),
        ("nodev", MountFlags::NODEV),
        ("noexec", MountFlags::NOEXEC),
    ] {
        if has(word) {
            flags |= flag;
        }
    }
    if !flags.is_empty() {
        mount_remount(&target.1, MountFlags::BIND | flags, "")?;
    }
    if has("rro") {
        read_only_below(target.0.as_fd())?;
    }
    for change in propagation::words(mount) {
        mount_change(&target.1, change)?;
    }
    Ok(())
}

/// Makes a mount and all that are below it read-only.
#[expect(unsafe_code, reason = "mount_setattr(2) has no safe wrapper")]
fn read_only_below(place: BorrowedFd<'_>) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the descriptor is open, and both pointers are to values of the sizes that are said, which outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            place.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A place in the root file system, held, and a path that means exactly it.
fn resolved(rootfs: &Path, inside: &Path) -> io::Result<(rustix::fd::OwnedFd, PathBuf)> {
    let root = rustix::fs::open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = rustix::fs::openat2(root.as_fd(), inside, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
    Ok((place, path))
}
