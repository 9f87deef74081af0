//! Project quota: how much a directory tree may hold, on file systems that can count it (ext4, xfs and others).
//!
//! A directory is made part of a project, a number that whatever is made in it inherits; the file system counts
//! what each project holds and refuses more than its limit. The calls are quotactl(2)'s generic ones, which both
//! file systems answer.
#![expect(unsafe_code, reason = "quotactl(2) and the two ioctls have no safe wrapper")]

use std::ffi::{CString, c_int, c_void};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, mknodat, openat2};

/// What a project holds and may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes held.
    pub bytes: u64,
    /// Files and directories held.
    pub inodes: u64,
    /// Bytes that it may hold, 0 for no limit.
    pub limit: u64,
}

impl Usage {
    /// Whether nobody uses the project.
    #[must_use]
    pub fn is_free(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether the file system of `dir` counts projects and keeps them to their limits.
///
/// # Errors
/// Only what says nothing about quota: `dir` cannot be opened, or this process may not ask.
pub fn is_enforced(dir: &Path) -> io::Result<bool> {
    let dir = open(dir)?;
    if let Err(error) = attributes(&dir) {
        return unsupported(error);
    }
    let mut stat = Statistics::default();
    match quotactl(&dir, Q_XGETQSTAT, 0, (&raw mut stat).cast()) {
        Ok(()) => Ok(stat.flags & FS_QUOTA_PDQ_ENFD != 0),
        Err(error) => unsupported(error),
    }
}

/// What `project` holds on the file system of `dir`.
///
/// # Errors
/// What the kernel says, `ErrorKind::Unsupported` among it.
pub fn usage(dir: &Path, project: u32) -> io::Result<Usage> {
    let mut block = Block::default();
    match quotactl(&open(dir)?, Q_GETQUOTA, project, (&raw mut block).cast()) {
        Ok(()) => {}
        // xfs keeps no record of what nobody ever used.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Usage::default()),
        Err(error) => return Err(error),
    }
    Ok(Usage {
        bytes: block.space,
        inodes: block.inodes,
        limit: block.hard_blocks.saturating_mul(BLOCK_SIZE),
    })
}

/// Sets what `project` may hold on the file system of `dir`; 0 is no limit, and an unused project without a limit is
/// forgotten.
///
/// # Errors
/// What the kernel says.
pub fn set_limit(dir: &Path, project: u32, bytes: u64) -> io::Result<()> {
    let blocks = bytes.div_ceil(BLOCK_SIZE);
    let mut block =
        Block { hard_blocks: blocks, soft_blocks: blocks, valid: QIF_BLIMITS, ..Block::default() };
    quotactl(&open(dir)?, Q_SETQUOTA, project, (&raw mut block).cast())
}

/// The project that `dir` hands on to what is made in it, if it does.
///
/// # Errors
/// What the kernel says.
pub fn project(dir: &Path) -> io::Result<Option<u32>> {
    let attributes = attributes(&open(dir)?)?;
    Ok((attributes.flags & FS_XFLAG_PROJINHERIT != 0).then_some(attributes.project))
}

/// Makes the directory `dir`, the files and directories in it, and whatever is made in it from now on, part of
/// `project`. Follows no link and enters no other file system.
///
/// # Errors
/// What the kernel says. Some of what is in `dir` may then be part of `project` already.
pub fn assign(dir: &Path, project: u32) -> io::Result<()> {
    let root = open(dir)?;
    join(&root, project, FS_XFLAG_PROJINHERIT)?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    // A file is not waited for, should it have become a pipe meanwhile.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut pending = vec![PathBuf::from(".")];
    while let Some(path) = pending.pop() {
        let list = openat2(&root.file, &path, flags | OFlags::DIRECTORY, Mode::empty(), inside)?;
        for entry in rustix::fs::Dir::read_from(&list)? {
            let entry = entry?;
            let name = Path::new(std::ffi::OsStr::from_bytes(entry.file_name().to_bytes()));
            if name == Path::new(".") || name == Path::new("..") {
                continue;
            }
            let (kind, flag) = match entry.file_type() {
                FileType::Directory => (OFlags::DIRECTORY, FS_XFLAG_PROJINHERIT),
                FileType::RegularFile => (OFlags::empty(), 0),
                // A link or a device holds nothing, and cannot be opened.
                _ => continue,
            };
            let path = path.join(name);
            let opened = match openat2(&root.file, &path, flags | kind, Mode::empty(), inside) {
                // Something is mounted there, which is none of this file system's.
                Err(rustix::io::Errno::XDEV) => continue,
                opened => opened?,
            };
            join(&opened, project, flag)?;
            if flag != 0 {
                pending.push(path);
            }
        }
    }
    Ok(())
}

fn join(file: &impl AsRawFd, project: u32, flag: u32) -> io::Result<()> {
    let mut attributes = attributes(file)?;
    attributes.project = project;
    attributes.flags |= flag;
    // SAFETY: the descriptor is open, the argument is laid out as `struct fsxattr`, and the kernel only reads it.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSSETXATTR as _, &raw const attributes) };
    check(libc::c_long::from(result))
}

fn open(dir: &Path) -> io::Result<Dir> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(dir)?;
    Ok(Dir { file, path: dir.to_owned() })
}

struct Dir {
    file: File,
    path: PathBuf,
}

impl AsRawFd for Dir {
    fn as_raw_fd(&self) -> c_int {
        self.file.as_raw_fd()
    }
}

/// An error that means "no such thing here" as `Ok(false)`.
fn unsupported(error: io::Error) -> io::Result<bool> {
    const NOT_HERE: [i32; 7] = [
        libc::ENOSYS,
        libc::ESRCH,
        libc::EINVAL,
        libc::EOPNOTSUPP,
        libc::ENOTTY,
        libc::ENOTBLK,
        libc::ENODEV,
    ];
    match error.raw_os_error() {
        Some(code) if NOT_HERE.contains(&code) => Ok(false),
        _ => Err(error),
    }
}

/// `struct fsxattr` (linux/fs.h).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `struct fs_quota_stat` (linux/dqblk_xfs.h), of which the flags are all that is looked at; it has 80 bytes.
#[repr(C, align(8))]
struct Statistics {
    version: i8,
    flags: u16,
    padding: i8,
    rest: [u8; 123],
}

impl Default for Statistics {
    fn default() -> Self {
        Self { version: 0, flags: 0, padding: 0, rest: [0; 123] }
    }
}

/// `struct if_dqblk` (linux/quota.h).
#[repr(C)]
#[derive(Default)]
struct Block {
    /// Blocks of [`BLOCK_SIZE`].
    hard_blocks: u64,
    soft_blocks: u64,
    /// Bytes.
    space: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    /// Which of the fields count.
    valid: u32,
}

const BLOCK_SIZE: u64 = 1024;
const QIF_BLIMITS: u32 = 1;
/// Quota of projects, beside those of users and groups.
const PROJECTS: u32 = 2;
const Q_GETQUOTA: u32 = 0x0080_0007;
const Q_SETQUOTA: u32 = 0x0080_0008;
const Q_XGETQSTAT: u32 = ((b'X' as u32) << 8) + 5;
const FS_QUOTA_PDQ_ENFD: u16 = 1 << 5;
const FS_XFLAG_PROJINHERIT: u32 = 0x200;
/// `_IOR('X', 31, struct fsxattr)` and `_IOW('X', 32, struct fsxattr)`.
const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u32 = 0x401c_5820;

fn attributes(dir: &impl AsRawFd) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the descriptor is open, and the argument is as large as `struct fsxattr`, which the kernel fills.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_FSGETXATTR as _, &raw mut attributes) };
    check(libc::c_long::from(result))?;
    Ok(attributes)
}

/// quotactl(2) for projects. `argument` is as large as `command` needs.
fn quotactl(dir: &Dir, command: u32, project: u32, argument: *mut c_void) -> io::Result<()> {
    // QCMD of linux/quota.h.
    let command = command << 8 | PROJECTS;
    // SAFETY: the callers pass what `command` reads or writes, and it outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_quotactl_fd, dir.as_raw_fd(), command, project, argument) };
    match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
        result => return result,
    }
    // Before Linux 5.14 the file system is named by its device, for which there may be no node in `/dev`. The node has
    // one name, so that one which a crash leaves is replaced by the next.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let node = Node::new(dir)?;
    // SAFETY: as above, and the name of the node ends with NUL.
    let result = unsafe { libc::syscall(libc::SYS_quotactl, command, node.name.as_ptr(), project, argument) };
    check(result)
}

/// A node of a file system's own device, for one call.
struct Node {
    path: PathBuf,
    name: CString,
}

impl Node {
    fn new(dir: &Dir) -> io::Result<Self> {
        let path = dir.path.join(".device");
        let _ = std::fs::remove_file(&path);
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &path, FileType::BlockDevice, mode, dir.file.metadata()?.dev())?;
        let name = CString::new(path.as_os_str().as_bytes())?;
        Ok(Self { path, name })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_layouts() {
        assert_eq!(size_of::<Attributes>(), 28);
        assert_eq!((size_of::<Statistics>(), std::mem::offset_of!(Statistics, flags)), (128, 2));
        // The last field is 32 bits wide, the structure a multiple of 64.
        assert_eq!(size_of::<Block>(), 72);
    }

    #[test]
    fn a_file_system_without_projects_says_so() {
        // tmpfs and proc never have them.
        for dir in ["/proc", "/sys"] {
            assert!(!is_enforced(Path::new(dir)).unwrap(), "{dir}");
        }
        is_enforced(Path::new("/no/such/directory")).unwrap_err();
        let dir = tempfile::tempdir().unwrap();
        if !is_enforced(dir.path()).unwrap() {
            // What cannot be kept to is refused, not taken in silence.
            set_limit(dir.path(), 1 << 20, 4096).unwrap_err();
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a device node was left");
        }
    }
}
