//! `docker diff`: what a writable layer changes about those below.

use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use super::{Change, ChangeKind};
use crate::ImageError;

/// What the engine itself puts into a writable layer, as files to mount on.
const OURS: [&str; 7] =
    ["/.dockerenv", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev", "/proc", "/sys"];

const MAX_DEPTH: usize = 256;

/// Walks over the writable layer. `lower` is topmost first.
pub(super) fn changes(upper: &Path, lower: &[PathBuf]) -> Result<Vec<Change>, ImageError> {
    let mut found = BTreeMap::new();
    walk(upper, Path::new(""), lower, &mut found, 0)?;
    Ok(found.into_iter().map(|(path, kind)| Change { path, kind }).collect())
}

fn walk(
    upper: &Path,
    below: &Path,
    lower: &[PathBuf],
    found: &mut BTreeMap<String, ChangeKind>,
    depth: usize,
) -> Result<bool, ImageError> {
    let dir = upper.join(below);
    let mut any = false;
    for entry in fs::read_dir(&dir).map_err(|error| ImageError::io("listing", &dir, error))? {
        let entry = entry.map_err(|error| ImageError::io("listing", &dir, error))?;
        let relative = below.join(entry.file_name());
        let shown = format!("/{}", relative.display());
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // The container is running and removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(ImageError::io("reading", &entry.path(), error)),
        };
        if is_whiteout(&metadata) {
            found.insert(shown, ChangeKind::Deleted);
            any = true;
            continue;
        }
        let original = look_up(lower, &relative);
        if metadata.is_dir() {
            if OURS.contains(&shown.as_str()) && original.is_none() && below == Path::new("") {
                continue;
            }
            // A container can nest deeper than this stack; what lies there was added with what is above it.
            let inside = depth < MAX_DEPTH && walk(upper, &relative, lower, found, depth + 1)?;
            let kind = match &original {
                None => Some(ChangeKind::Added),
                Some(original) => {
                    let same = original.is_dir()
                        && original.mode() == metadata.mode()
                        && original.uid() == metadata.uid()
                        && original.gid() == metadata.gid()
                        && original.mtime() == metadata.mtime();
                    // A directory is part of what changed if something in it is.
                    (inside || !same && !only_ours(&dir.join(entry.file_name()), &shown))
                        .then_some(ChangeKind::Modified)
                }
            };
            let kind = kind.filter(|_| !(shown == "/etc" && original.is_none() && !inside));
            any |= kind.is_some();
            if let Some(kind) = kind {
                found.insert(shown, kind);
            }
        } else {
            if OURS.contains(&shown.as_str()) && metadata.len() == 0 {
                continue;
            }
            found.insert(shown, if original.is_some() { ChangeKind::Modified } else { ChangeKind::Added });
            any = true;
        }
    }
    Ok(any)
}

/// Whether all that is in a directory of the writable layer was put there by the engine.
fn only_ours(dir: &Path, shown: &str) -> bool {
    fs::read_dir(dir).is_ok_and(|entries| {
        let mut names =
            entries.flatten().map(|entry| format!("{shown}/{}", entry.file_name().display())).peekable();
        names.peek().is_some() && names.all(|name| OURS.contains(&name.as_str()))
    })
}

/// What the engine put into a writable layer, by its name in an archive: a committed layer goes without it.
pub(super) fn engines_own(upper: &Path, lower: &[PathBuf]) -> HashSet<Vec<u8>> {
    let mut own = HashSet::new();
    // Not the files of a container: nobody but a build put anything there.
    if !upper.join(".dockerenv").exists() {
        return own;
    }
    for shown in OURS {
        let relative = Path::new(shown.trim_start_matches('/'));
        let Ok(metadata) = fs::symlink_metadata(upper.join(relative)) else { continue };
        let made_by_us = if metadata.is_dir() {
            look_up(lower, relative).is_none()
                && fs::read_dir(upper.join(relative)).is_ok_and(|mut entries| entries.next().is_none())
        } else {
            metadata.is_file() && metadata.len() == 0
        };
        if made_by_us {
            own.insert(relative.as_os_str().as_bytes().to_vec());
        }
    }
    // The directory that only holds what was just left out; the image's own is as it was.
    let etc = upper.join("etc");
    let only_own = fs::read_dir(&etc).is_ok_and(|entries| {
        let mut names =
            entries.flatten().map(|entry| [b"etc/", entry.file_name().as_bytes()].concat()).peekable();
        names.peek().is_some() && names.all(|name| own.contains(&name))
    });
    if only_own && !is_opaque(&etc) {
        own.insert(b"etc".to_vec());
    }
    own
}

fn is_whiteout(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// What the layers below show at a path, without following symlinks.
fn look_up(lower: &[PathBuf], relative: &Path) -> Option<fs::Metadata> {
    for layer in lower {
        let mut here = layer.clone();
        let mut parts = relative.components().peekable();
        let mut hides_below = false;
        while let Some(part) = parts.next() {
            here.push(part);
            let Ok(metadata) = fs::symlink_metadata(&here) else { break };
            if is_whiteout(&metadata) {
                return None;
            }
            if parts.peek().is_none() {
                return Some(metadata);
            }
            if !metadata.is_dir() {
                return None;
            }
            hides_below |= is_opaque(&here);
        }
        if hides_below {
            return None;
        }
    }
    None
}

fn is_opaque(dir: &Path) -> bool {
    let mut value = [0; 4];
    let found = rustix::fs::lgetxattr(dir, "trusted.overlay.opaque", &mut value[..]);
    matches!(found, Ok(count) if &value[..count] == b"y")
}

/// Bytes of the files in a writable layer.
pub(super) fn size(dir: &Path) -> Result<u64, ImageError> {
    let mut total = 0;
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            // Gone again, or nested deeper than a path can say.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename) =>
            {
                continue;
            }
            Err(error) => return Err(ImageError::io("listing", &dir, error)),
        };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => left.push(entry.path()),
                Ok(metadata) if metadata.is_file() => total += metadata.len(),
                _ => {}
            }
        }
    }
    Ok(total)
}
