//! Tar archives that the client packs and unpacks itself.

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// Where an archive's entries go.
#[derive(Debug, Clone)]
pub struct Landing {
    /// Into this directory, and never out of it.
    pub dir: PathBuf,
    /// Without their first part.
    pub strip: bool,
    /// With another first part.
    pub rename: Option<String>,
    /// The first part that the archive should have.
    pub first: String,
}

/// Unpacks an archive that a container had a hand in: nothing leaves `landing.dir`.
pub fn unpack(reader: impl Read, landing: &Landing) -> anyhow::Result<()> {
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.set_overwrite(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Some(relative) = relocate(&path, landing) else { continue };
        // `unpack_in` refuses `..` and links that point outside; the path is set through the header for that check.
        let kind = entry.header().entry_type();
        if kind.is_character_special() || kind.is_block_special() {
            continue;
        }
        let target = landing.dir.join(&relative);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
            let real = parent.canonicalize()?;
            let root = landing.dir.canonicalize()?;
            anyhow::ensure!(
                real.starts_with(&root),
                "the archive tries to leave {}: {}",
                root.display(),
                path.display()
            );
        }
        if kind.is_hard_link() {
            let link = entry.link_name()?.map(|l| l.into_owned()).and_then(|l| relocate(&l, landing));
            let Some(link) = link else { continue };
            let from = landing.dir.join(link);
            let real = from.canonicalize()?;
            anyhow::ensure!(
                real.starts_with(landing.dir.canonicalize()?),
                "the archive links outside: {}",
                path.display()
            );
            let _ = std::fs::remove_file(&target);
            std::fs::hard_link(&real, &target)?;
            continue;
        }
        if std::fs::symlink_metadata(&target).is_ok_and(|m| m.is_symlink()) {
            std::fs::remove_file(&target)?;
        }
        entry.unpack(&target)?;
    }
    Ok(())
}

/// The entry's place below the landing directory; `None` if it has none there.
fn relocate(path: &Path, landing: &Landing) -> Option<PathBuf> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_owned()),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    let first_matches = parts.first().is_some_and(|first| first.to_string_lossy() == landing.first);
    if landing.strip && first_matches {
        parts.remove(0);
    } else if let (Some(name), Some(first)) = (&landing.rename, parts.first_mut()) {
        *first = name.into();
    }
    (!parts.is_empty()).then(|| parts.iter().collect())
}

/// Packs `source` under `name` (nothing: its contents alone).
pub fn pack_as(
    source: &Path,
    name: &str,
    keep_owner: bool,
    follow: bool,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let mut builder = tar::Builder::new(out);
    let source = if follow { source.canonicalize()? } else { source.to_owned() };
    add(&mut builder, &source, Path::new(name), keep_owner)?;
    builder.finish()
}

/// Adds a file, link or directory with all that is in it.
pub fn add<W: Write>(
    builder: &mut tar::Builder<W>,
    source: &Path,
    name: &Path,
    keep_owner: bool,
) -> std::io::Result<()> {
    let named =
        |error: std::io::Error| std::io::Error::new(error.kind(), format!("{}: {error}", source.display()));
    let meta = std::fs::symlink_metadata(source).map_err(named)?;
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&meta);
    if !keep_owner {
        header.set_uid(0);
        header.set_gid(0);
    }
    let kind = meta.file_type();
    if kind.is_symlink() {
        let target = std::fs::read_link(source).map_err(named)?;
        return builder.append_link(&mut header, name, target);
    }
    if kind.is_dir() {
        if !name.as_os_str().is_empty() {
            header.set_size(0);
            builder.append_data(&mut header, name, std::io::empty())?;
        }
        let mut entries: Vec<_> =
            std::fs::read_dir(source).map_err(named)?.collect::<Result<_, _>>().map_err(named)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            add(builder, &entry.path(), &name.join(entry.file_name()), keep_owner)?;
        }
        return Ok(());
    }
    if kind.is_file() {
        let file = std::fs::File::open(source).map_err(named)?;
        header.set_size(meta.size());
        // A file that shrinks while it is read would otherwise shift all that follows it.
        let whole = file.take(meta.size()).chain(std::io::repeat(0)).take(meta.size());
        return builder.append_data(&mut header, name, whole);
    }
    if kind.is_socket() {
        return Ok(());
    }
    header.set_size(0);
    if kind.is_char_device() || kind.is_block_device() {
        let rdev = meta.rdev();
        header.set_device_major(rustix::fs::major(rdev))?;
        header.set_device_minor(rustix::fs::minor(rdev))?;
    }
    builder.append_data(&mut header, name, std::io::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landing(dir: &Path) -> Landing {
        Landing { dir: dir.to_owned(), strip: false, rename: Some("new".into()), first: "old".into() }
    }

    #[test]
    fn a_tree_goes_and_comes_back_under_another_name() {
        let source = tempfile::tempdir().unwrap();
        std::fs::create_dir(source.path().join("sub")).unwrap();
        std::fs::write(source.path().join("sub/file"), "text").unwrap();
        std::os::unix::fs::symlink("file", source.path().join("sub/link")).unwrap();
        let mut bytes = Vec::new();
        pack_as(source.path(), "old", false, false, &mut bytes).unwrap();
        let target = tempfile::tempdir().unwrap();
        unpack(bytes.as_slice(), &landing(target.path())).unwrap();
        assert_eq!(std::fs::read_to_string(target.path().join("new/sub/link")).unwrap(), "text");
    }

    #[test]
    fn a_hostile_archive_stays_inside() {
        let outside = tempfile::tempdir().unwrap();
        let target = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "old/way", outside.path()).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o644);
        builder.append_data(&mut header, "old/way/out", &b"evil"[..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        let error = unpack(bytes.as_slice(), &landing(target.path())).unwrap_err().to_string();
        assert!(error.contains("tries to leave"), "{error}");
        assert!(!outside.path().join("out").exists());
        assert_eq!(relocate(Path::new("../x"), &landing(target.path())), None);
    }
}
