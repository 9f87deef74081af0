//! Tar archives in and out of directories. Every archive is taken to be hostile.
//!
//! All path work goes through directory descriptors and `openat2` with `RESOLVE_IN_ROOT`, so neither `..` nor
//! a symlink, swapped or not, leads out of the destination. Sizes, counts and ratios are bounded by [`Limits`].
//! Everything here blocks; call it on a blocking thread.

use std::{
    io::{Read, Write},
    path::Path,
    time::SystemTime,
};

use crate::ImageError;

/// What an archive may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of unpacked archive, headers included.
    pub max_bytes: u64,
    /// Entries.
    pub max_entries: u64,
    /// Bytes of one file.
    pub max_file: u64,
    /// Unpacked bytes per packed byte, once more than 64 MiB are unpacked.
    pub max_ratio: u64,
}

impl Limits {
    /// For image layers, which may be large: bounded by what a disk holds.
    pub const LAYER: Self =
        Self { max_bytes: 256 << 30, max_entries: 10_000_000, max_file: 128 << 30, max_ratio: 2_000 };
    /// For plugin packages.
    pub const PLUGIN: Self =
        Self { max_bytes: 8 << 30, max_entries: 500_000, max_file: 4 << 30, max_ratio: 500 };
}

/// How to read the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image layer: whiteouts become overlay's, devices are made, the last of two entries wins.
    Layer,
    /// A plain tree, such as a plugin: devices, duplicates, absolute names and `..` are refused.
    Plain,
}

/// What an unpacked archive came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unpacked {
    /// Bytes of file content.
    pub size: u64,
    /// Entries.
    pub entries: u64,
}

/// What `docker cp` asks about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// The last component.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `os.FileMode`.
    pub mode: u32,
    /// When it was last written.
    pub mtime: SystemTime,
    /// Where a symlink points, resolved within the root; else empty.
    pub link_target: String,
}

/// How `docker cp` unpacks.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyOptions {
    /// Refuse to replace a directory by a file and the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Keep the archive's uid and gid instead of root's.
    pub copy_uid_gid: bool,
}

/// Unpacks an archive (plain, gzip or zstd, by its first bytes) into a directory that exists. On failure the
/// caller removes what was unpacked; see [`unpack_into_new`].
pub fn unpack(
    reader: impl Read + Send,
    dest: &Path,
    limits: &Limits,
    kind: Kind,
) -> Result<Unpacked, ImageError> {
    todo!("{} {limits:?} {kind:?} {}", dest.display(), size_of_val(&reader))
}

/// Unpacks into a directory that is made for it and that is gone again on failure.
pub fn unpack_into_new(
    reader: impl Read + Send,
    dest: &Path,
    limits: &Limits,
    kind: Kind,
) -> Result<Unpacked, ImageError> {
    todo!("{} {limits:?} {kind:?} {}", dest.display(), size_of_val(&reader))
}

/// Writes the tree under `dir` as a tar: sorted, with xattrs and hard links, without sockets. For
/// [`Kind::Layer`] overlay's whiteouts become tar's.
pub fn pack(dir: &Path, writer: impl Write, kind: Kind) -> Result<(), ImageError> {
    todo!("{} {kind:?} {}", dir.display(), size_of_val(&writer))
}

/// Describes `path` inside `root`. The last component is not followed.
pub fn stat(root: &Path, path: &str) -> Result<PathStat, ImageError> {
    todo!("{} {path}", root.display())
}

/// Writes the file or tree at `path` inside `root` as a tar whose first name is the last component, as
/// `docker cp` expects; a trailing `/.` means the content without the directory's own name.
pub fn copy_out(root: &Path, path: &str, writer: impl Write) -> Result<PathStat, ImageError> {
    todo!("{} {path} {}", root.display(), size_of_val(&writer))
}

/// Unpacks a tar into the directory `path` inside `root`.
pub fn copy_in(
    root: &Path,
    path: &str,
    reader: impl Read + Send,
    options: CopyOptions,
) -> Result<(), ImageError> {
    todo!("{} {path} {options:?} {}", root.display(), size_of_val(&reader))
}
