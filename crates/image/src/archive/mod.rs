//! Tar archives in and out of directories. Every archive is taken to be hostile.
//!
//! All path work goes through directory descriptors and `openat2` with `RESOLVE_IN_ROOT`, so neither `..` nor
//! a symlink, swapped or not, leads out of the destination. Sizes, counts and ratios are bounded by [`Limits`].
//! Everything here blocks; call it on a blocking thread.

mod compress;
mod copy;
mod entries;
mod fields;
mod nodes;
mod pack;
mod transfer;
mod tree;
mod unpack;

use std::{
    collections::HashSet,
    io::{Read, Write},
    path::Path,
    time::SystemTime,
};

pub use self::{
    compress::Compression,
    transfer::{
        Found, find, fingerprint, is_archive, make_directory, read_file, remove_file, transfer, unpack_from,
        walk,
    },
};
pub(crate) use self::{
    compress::{Stream, inflate},
    entries::{Entries, What},
    tree::Parts,
};
use self::{
    pack::Packer,
    tree::Tree,
    unpack::{Policy, Unpacker},
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
    /// Give everything to this user and group; else each entry's own numbers count.
    pub owner: Option<(u32, u32)>,
}

/// Unpacks an archive (plain, gzip or zstd, by its first bytes) into a directory that exists. On failure the
/// caller removes what was unpacked; see [`unpack_into_new`].
pub fn unpack(
    reader: impl Read + Send,
    dest: &Path,
    limits: &Limits,
    kind: Kind,
) -> Result<Unpacked, ImageError> {
    unpack_hashed(reader, dest, limits, kind).map(|(unpacked, _)| unpacked)
}

/// [`unpack`] that also tells the digest of the tar: the layer's `diff_id`.
pub(crate) fn unpack_hashed(
    reader: impl Read + Send,
    dest: &Path,
    limits: &Limits,
    kind: Kind,
) -> Result<(Unpacked, Stream), ImageError> {
    let layer = kind == Kind::Layer;
    let tree = Tree::open(dest, layer).map_err(|error| ImageError::io("opening", dest, error))?;
    let policy = Policy { whiteouts: layer, devices: layer, strict: !layer, keep_kinds: false, owner: None };
    let unpacker = Unpacker::new(tree, limits, policy);
    inflate(reader, limits, |reader| unpacker.run(reader))
}

/// Unpacks into a directory that is made for it and that is gone again on failure.
pub fn unpack_into_new(
    reader: impl Read + Send,
    dest: &Path,
    limits: &Limits,
    kind: Kind,
) -> Result<Unpacked, ImageError> {
    std::fs::create_dir(dest).map_err(|error| ImageError::io("creating", dest, error))?;
    unpack(reader, dest, limits, kind).inspect_err(|_| {
        if let Err(error) = crate::removal::remove_tree(dest) {
            tracing::warn!(%error, dir = %dest.display(), "what was unpacked could not be removed");
        }
    })
}

/// Writes the tree under `dir` as a tar: sorted, with xattrs and hard links, without sockets. For
/// [`Kind::Layer`] overlay's whiteouts become tar's. The same tree gives the same bytes.
pub fn pack(dir: &Path, writer: impl Write, kind: Kind) -> Result<(), ImageError> {
    pack_without(dir, writer, kind, HashSet::new())
}

/// [`pack`] that leaves out the names in `without`, as they would stand in the archive, without a slash at their end.
pub(crate) fn pack_without(
    dir: &Path,
    writer: impl Write,
    kind: Kind,
    without: HashSet<Vec<u8>>,
) -> Result<(), ImageError> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened =
        openat(CWD, dir, flags, Mode::empty()).map_err(|error| ImageError::io("opening", dir, error))?;
    let mut packer = Packer::new(writer, kind == Kind::Layer).without(without);
    packer.add_content(opened, b"")?;
    packer.finish()
}

/// Describes `path` inside `root`. The last component is not followed.
pub fn stat(root: &Path, path: &str) -> Result<PathStat, ImageError> {
    copy::stat(root, path)
}

/// Writes the file or tree at `path` inside `root` as a tar whose first name is the last component, as
/// `docker cp` expects; a trailing `/.` means the content without the directory's own name.
pub fn copy_out(root: &Path, path: &str, writer: impl Write) -> Result<PathStat, ImageError> {
    copy::copy_out(root, path, writer)
}

/// Unpacks a tar (packed or not) into the directory `path` inside `root`.
pub fn copy_in(
    root: &Path,
    path: &str,
    reader: impl Read + Send,
    options: CopyOptions,
) -> Result<(), ImageError> {
    copy::copy_in(root, path, reader, options)
}
