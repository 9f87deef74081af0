//! Mounts that travel between host and container: those that were asked for, and no others.
//!
//! With a shared root the embedded runtime makes every mount of the container's a peer of the host's. Most hosts
//! share theirs (systemd does it at boot), so what is mounted over a host's mount inside, such as a read-only cgroup,
//! would appear on the host, and the container's cgroup could never be removed again.
//!
//! Hence the container is made in a namespace of its own, in which everything hears from the host and nothing is heard
//! by it, except the sources of binds that may talk: as in runc, those that do not say `private` or `slave`.
//!
//! Nor does the embedded runtime read what a single bind says: each hears and talks as the root does. Hence each is
//! given what it asks for when it is made, before anything of the container's runs.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};

use crate::error::{IoContext, RuntimeError};

/// In the container's outer namespace until dropped.
pub(crate) struct Outside {
    home: Option<File>,
}

impl Outside {
    /// Enters a namespace for making this container in, if it needs one. Before any thread exists.
    pub(crate) fn enter(spec: &Spec) -> Result<Self, RuntimeError> {
        let word = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
        if !matches!(word, Some("shared" | "rshared")) {
            return Ok(Self { home: None });
        }
        let home = home()?;
        unshare(CloneFlags::CLONE_NEWNS)
            .map_err(io::Error::from)
            .context(|| "making a mount namespace".into())?;
        let outside = Self { home: Some(home) };
        separate(spec).context(|| "separating the container's mounts from the host's".into())?;
        Ok(outside)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            if let Err(error) = setns(home, CloneFlags::CLONE_NEWNS) {
                // The shim can live here too; only the host's later mounts are seen a little differently.
                eprintln!("cannot return to the host's mount namespace: {error}");
            }
            let _ = rustix::process::chdir("/");
        }
    }
}

fn home() -> Result<File, RuntimeError> {
    File::open("/proc/self/ns/mnt").context(|| "opening the mount namespace".into())
}

/// Gives each mount of a container that waits for its start the propagation that it asks for. Before any thread exists.
pub(crate) fn settle(spec: &Spec, pid: u32) -> Result<(), RuntimeError> {
    let namespaces =
        spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let asked: Vec<_> = spec
        .mounts()
        .iter()
        .flatten()
        .flat_map(|mount| words(mount).map(|change| (mount.destination(), change)))
        .collect();
    // One that lives in the host's namespace must not change what the host has there.
    if asked.is_empty() || !namespaces.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::Mount) {
        return Ok(());
    }
    let home = home()?;
    let inside =
        File::open(format!("/proc/{pid}/ns/mnt")).context(|| "opening the container's mounts".into())?;
    setns(inside, CloneFlags::CLONE_NEWNS)
        .map_err(io::Error::from)
        .context(|| "entering the container's mount namespace".into())?;
    let _back = Outside { home: Some(home) };
    for (destination, change) in asked {
        match mount_change(destination, change) {
            // Another mount covers it, so nobody sees it.
            Ok(()) | Err(Errno::NOENT | Errno::INVAL) => {}
            Err(error) => {
                return Err(RuntimeError::io(
                    format!("setting the propagation of {}", destination.display()),
                    error.into(),
                ));
            }
        }
    }
    Ok(())
}

/// What a mount's options say of its propagation, in their order.
pub(crate) fn words(mount: &Mount) -> impl Iterator<Item = MountPropagationFlags> + '_ {
    mount.options().iter().flatten().filter_map(|option| {
        let (word, recursive) = match option.strip_prefix('r') {
            Some(word) => (word, MountPropagationFlags::REC),
            None => (option.as_str(), MountPropagationFlags::empty()),
        };
        let kind = match word {
            "private" => MountPropagationFlags::PRIVATE,
            "slave" => MountPropagationFlags::DOWNSTREAM,
            "shared" => MountPropagationFlags::SHARED,
            "unbindable" => MountPropagationFlags::UNBINDABLE,
            _ => return None,
        };
        Some(kind | recursive)
    })
}

fn separate(spec: &Spec) -> io::Result<()> {
    let mut talking: Vec<(PathBuf, OwnedFd)> = Vec::new();
    for mount in spec.mounts().iter().flatten().filter(|mount| may_talk(mount)) {
        let Some(source) = mount.source().as_deref().and_then(|source| source.canonicalize().ok()) else {
            continue;
        };
        // Nothing can be put in the root's place. A container that is given all of the host hears from it.
        if source == Path::new("/") || talking.iter().any(|(known, _)| *known == source) {
            continue;
        }
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, &source, flags)?;
        talking.push((source, tree));
    }
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    for (source, tree) in talking {
        move_mount(tree.as_fd(), "", CWD, &source, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    Ok(())
}

fn may_talk(mount: &Mount) -> bool {
    let has =
        |words: &[&str]| mount.options().iter().flatten().any(|option| words.contains(&option.as_str()));
    let bind = mount.typ().as_deref() == Some("bind") || has(&["bind", "rbind"]);
    bind && !has(&["private", "rprivate", "slave", "rslave"])
}
