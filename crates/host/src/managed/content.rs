//! Unpacked layers, one copy each however many plugins use it, and the root file systems made of them.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pintle_image::{
    Blobs, Descriptor, Digest,
    archive::{self, Kind, Limits},
};

use super::{mounts, paths::Paths};
use crate::HostError;

/// A plugin is a program and its libraries: one file beyond a gigabyte is no honest part of it.
pub(crate) const LIMITS: Limits = Limits { max_file: 1 << 30, ..Limits::PLUGIN };

/// The unpacked layers of this host. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Contents {
    paths: Paths,
    blobs: Blobs,
    /// Layers that an installation under way counts on, though no record names them yet.
    pinned: Arc<Mutex<HashMap<String, usize>>>,
}

/// Keeps layers from being collected until a record names them. Once dropped, what no record names goes.
pub(crate) struct Pin {
    contents: Contents,
    layers: Vec<Digest>,
    _blobs: pintle_image::blobs::Pin,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.contents.pinned();
        for layer in &self.layers {
            if let Some(count) = pinned.get_mut(layer.hex()) {
                *count -= 1;
                if *count == 0 {
                    pinned.remove(layer.hex());
                }
            }
        }
        drop(pinned);
        // Carried out when the last pin of all goes, for the blobs that nobody holds by then.
        if let Err(error) = self.contents.blobs.collect(self.layers.iter().cloned()) {
            tracing::warn!(%error, "blobs that nobody holds could not be removed");
        }
    }
}

fn context<T>(result: io::Result<T>, what: &str, path: &Path) -> Result<T, HostError> {
    result.map_err(|error| HostError::io(format_args!("{what} {}", path.display()), error))
}

pub(super) fn make_private_dir(path: &Path) -> Result<(), HostError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    context(made, "creating", path)
}

impl Contents {
    pub(crate) fn new(paths: Paths, blobs: Blobs) -> Self {
        Self { paths, blobs, pinned: Arc::default() }
    }

    fn pinned(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps every blob, and these unpacked layers, while an installation is under way. `blobs` are all that it
    /// may leave behind if it fails.
    pub(crate) fn pin<'a>(&self, blobs: impl IntoIterator<Item = &'a Descriptor>) -> Pin {
        let layers: Vec<Digest> = blobs.into_iter().map(|blob| blob.digest.clone()).collect();
        let mut pinned = self.pinned();
        for layer in &layers {
            *pinned.entry(layer.hex().to_owned()).or_default() += 1;
        }
        drop(pinned);
        Pin { contents: self.clone(), layers, _blobs: self.blobs.pin() }
    }

    /// Unpacks the layers that are not there yet. Answers the bytes of all of them. Blocks.
    pub(crate) fn unpack(&self, layers: &[Descriptor]) -> Result<u64, HostError> {
        make_private_dir(&self.paths.contents())?;
        let mut size = 0;
        for layer in layers {
            let target = self.paths.content(layer.digest.hex());
            if !target.exists() {
                // Two installations may race: each unpacks by itself and the first to be done wins.
                let made = self.paths.contents().join(format!("tmp-{}", random_hex(8)));
                let kind = if layers.len() == 1 { Kind::Plain } else { Kind::Layer };
                self.unpack_into(layer, &made, kind)?;
                if let Err(error) = fs::rename(&made, &target) {
                    let _ = fs::remove_dir_all(&made);
                    if !target.exists() {
                        return Err(HostError::io("publishing a plugin's layer", error));
                    }
                }
            }
            size += tree_size(&target);
        }
        Ok(size)
    }

    fn unpack_into(&self, layer: &Descriptor, target: &Path, kind: Kind) -> Result<(), HostError> {
        let refused = |error: &dyn std::fmt::Display| {
            HostError::Package(format!("plugin layer {}: {error}", layer.digest.short()))
        };
        let blob = self.blobs.open(&layer.digest)?;
        archive::unpack_into_new(blob, target, &LIMITS, kind).map_err(|error| refused(&error))?;
        if let Err(error) = check_tree(target) {
            let _ = fs::remove_dir_all(target);
            return Err(refused(&error));
        }
        let opened = fs::set_permissions(target, fs::Permissions::from_mode(0o755));
        context(opened, "opening", target)
    }

    /// Takes over a tree that is `digest` unpacked already. Blocks.
    pub(crate) fn adopt(&self, tree: &Path, digest: &Digest) -> Result<u64, HostError> {
        make_private_dir(&self.paths.contents())?;
        let target = self.paths.content(digest.hex());
        if !target.exists() {
            context(fs::set_permissions(tree, fs::Permissions::from_mode(0o755)), "opening", tree)?;
            let moved = fs::rename(tree, &target);
            if !target.exists() {
                context(moved, "publishing", &target)?;
            }
        }
        Ok(tree_size(&target))
    }

    /// Removes every unpacked layer that is neither pinned nor in `used`. Blocks.
    pub(crate) fn collect(&self, used: &BTreeSet<String>) {
        let Ok(entries) = fs::read_dir(self.paths.contents()) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let busy = used.contains(&name) || self.pinned().contains_key(&name);
            // What is being unpacked has a name of its own and is cleared away at the next boot, if at all.
            if busy || name.starts_with("tmp-") {
                continue;
            }
            let aside = self.paths.contents().join(format!("tmp-{}", random_hex(8)));
            if fs::rename(entry.path(), &aside).is_ok() {
                let _ = fs::remove_dir_all(aside);
            }
        }
        let pinned = self.pinned();
        if used.is_empty() && pinned.is_empty() {
            // Fails, as it should, while something is being unpacked there.
            let _ = fs::remove_dir(self.paths.contents());
        }
    }

    /// Removes what a crash left half unpacked. For boot, while nothing is under way.
    pub(crate) fn clear_half_done(&self) {
        let Ok(entries) = fs::read_dir(self.paths.contents()) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with("tmp-") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Makes a plugin's root file system and says where it is: its layers under a writable one, or a copy of
    /// its own where the kernel has no overlay for this disk. Safe to repeat. Blocks.
    pub(crate) fn mount(
        &self,
        id: &str,
        layers: &[Descriptor],
        generation: u32,
    ) -> Result<PathBuf, HostError> {
        self.unpack(layers)?;
        let written = self.paths.written(id, generation);
        let copy = written.join("copy");
        if copy.exists() {
            return Ok(copy);
        }
        let (diff, work, target) = (written.join("diff"), written.join("work"), self.paths.rootfs(id));
        for dir in [&diff, &work, &target] {
            make_private_dir(dir)?;
        }
        context(fs::set_permissions(&diff, fs::Permissions::from_mode(0o755)), "opening", &diff)?;
        let lowers: Vec<PathBuf> =
            layers.iter().rev().map(|layer| self.paths.content(layer.digest.hex())).collect();
        match mounts::mount_overlay(&lowers, &diff, &work, &target) {
            Ok(()) => Ok(target),
            Err(error) => match layers {
                [layer] => {
                    tracing::warn!(id, %error, "no overlay on this disk; the plugin gets a copy of its content");
                    let made = written.join("copying");
                    let _ = fs::remove_dir_all(&made);
                    self.unpack_into(layer, &made, Kind::Plain)?;
                    context(fs::rename(&made, &copy), "publishing", &copy)?;
                    Ok(copy)
                }
                _ => Err(HostError::io("mounting the plugin's root file system", error)),
            },
        }
    }

    /// Removes the writable layers of other generations than these. Blocks.
    pub(crate) fn keep_generations(&self, id: &str, keep: &[u32]) {
        let Ok(entries) = fs::read_dir(self.paths.plugin(id)) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let generation = name.strip_prefix("rw-").and_then(|number| number.parse::<u32>().ok());
            if generation.is_some_and(|generation| !keep.contains(&generation)) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Refuses what an unpacked plugin may not hold: device nodes, and symbolic links that climb out of the tree.
/// An absolute link is fine, it is read inside the plugin's root.
pub(crate) fn check_tree(root: &Path) -> Result<(), HostError> {
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        let entries = context(fs::read_dir(&dir), "reading", &dir)?;
        for entry in entries {
            let entry = context(entry, "reading", &dir)?;
            let path = entry.path();
            let meta = context(entry.metadata(), "reading", &path)?;
            let inside = path.strip_prefix(root).unwrap_or(&path);
            let kind = meta.file_type();
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_block_device() || (kind.is_char_device() && meta.rdev() != 0) {
                return Err(HostError::Package(format!("{} is a device node", inside.display())));
            } else if kind.is_symlink() {
                let target = context(fs::read_link(&path), "reading", &path)?;
                if climbs_out(inside.parent().unwrap_or(Path::new("")), &target) {
                    let (link, target) = (inside.display(), target.display());
                    return Err(HostError::Package(format!(
                        "the symbolic link {link} -> {target} leads out of the plugin"
                    )));
                }
            }
        }
    }
    Ok(())
}

fn climbs_out(from: &Path, target: &Path) -> bool {
    let mut depth: i64 = if target.is_absolute() { 0 } else { from.components().count() as i64 };
    for component in target.components() {
        match component {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
        if depth < 0 {
            // `/..` is `/`, for an absolute link in the plugin's root as well.
            return !target.is_absolute();
        }
    }
    false
}

/// Bytes of the files under `dir`, each once. Best effort.
pub(crate) fn tree_size(dir: &Path) -> u64 {
    let (mut total, mut seen, mut pending) = (0, BTreeSet::new(), vec![dir.to_owned()]);
    while let Some(dir) = pending.pop() {
        let Ok(entries) = fs::read_dir(dir) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                pending.push(entry.path());
            } else if !meta.file_type().is_char_device() && (meta.nlink() < 2 || seen.insert(meta.ino())) {
                total += meta.len();
            }
        }
    }
    total
}

/// Random hex digits, two for each byte.
pub(crate) fn random_hex(bytes: usize) -> String {
    let mut buffer = vec![0u8; bytes];
    rand::fill(&mut buffer[..]);
    hex::encode(buffer)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_out_of_the_tree_are_refused_and_links_within_are_not() {
        for (from, target, out) in [
            ("", "..", true),
            ("", "a/../..", true),
            ("a/b", "../../x", false),
            ("a/b", "../../../x", true),
            ("a", "/etc/passwd", false),
            ("a", "/../../etc", false),
            ("a", "../a/../..", true),
        ] {
            assert_eq!(climbs_out(Path::new(from), Path::new(target)), out, "{from} {target}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        symlink("/bin/busybox", dir.path().join("bin/sh")).unwrap();
        check_tree(dir.path()).unwrap();
        symlink("../../etc/shadow", dir.path().join("bin/evil")).unwrap();
        let error = check_tree(dir.path()).unwrap_err();
        assert!(error.to_string().contains("bin/evil"), "{error}");
    }
}
