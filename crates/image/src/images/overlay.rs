//! Mounting overlays.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, OFlags, StatxAttributes, StatxFlags, statx},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, mount, move_mount, unmount,
    },
};

use crate::ImageError;

/// What fsconfig takes for one value, and what mount(2) takes for all, with their ends.
const VALUE: usize = 255;
const PAGE: usize = 4095;

/// Redirects and shared copies would follow attributes that came with an image; `docker diff` needs neither.
const OPTIONS: [(&str, &str); 3] = [("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow")];

/// No option of any kernel.
const NO_OPTION: &str = "pintle_asks";

/// Mounts an overlay at `target`, in which device nodes work or do not. `lower` is topmost first and not empty.
///
/// # Errors
/// If the kernel refuses.
pub fn mount_overlay(
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
    target: &Path,
    devices: bool,
) -> Result<(), ImageError> {
    let failed = |error: io::Error, said: String| {
        ImageError::internal(format!("mounting {}: {error}{said}", target.display())).because(error)
    };
    // Open directories give every path a short name that no symlink can change.
    let open = |path: &Path| {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
            .map_err(|error| ImageError::io("opening", path, error))
    };
    let short = |path: &Path| -> Result<(PathBuf, Option<std::os::fd::OwnedFd>), ImageError> {
        if path.as_os_str().len() <= VALUE {
            return Ok((path.to_owned(), None));
        }
        let fd = open(path)?;
        Ok((PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())), Some(fd)))
    };
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|error| failed(error.into(), String::new()))?;
    // Before Linux 6.5 every option is taken and only read in the end, of which nothing comes back.
    if fsconfig_set_string(&fs, NO_OPTION, "").is_ok() {
        return mount_classic(lower, upper, work, target, devices);
    }
    for (key, value) in OPTIONS {
        // A kernel that lacks the feature lacks the danger.
        let _ = fsconfig_set_string(&fs, key, value);
    }
    let mut held = Vec::new();
    let mut set = |key: &str, path: &Path| -> Result<Result<(), Errno>, ImageError> {
        let (path, fd) = short(path)?;
        held.extend(fd);
        Ok(fsconfig_set_string(&fs, key, &path))
    };
    for (at, path) in lower.iter().enumerate() {
        match set("lowerdir+", path)? {
            Ok(()) => {}
            // Before Linux 6.7 there is only the one string.
            Err(Errno::INVAL) if at == 0 => return mount_classic(lower, upper, work, target, devices),
            Err(error) => return Err(failed(error.into(), said(&fs))),
        }
    }
    for (key, path) in [("upperdir", upper), ("workdir", work)] {
        set(key, path)?.map_err(|error| failed(error.into(), said(&fs)))?;
    }
    let _ = fsconfig_set_string(&fs, "source", "overlay");
    fsconfig_create(&fs).map_err(|error| failed(error.into(), said(&fs)))?;
    let attributes = if devices { MountAttrFlags::empty() } else { MountAttrFlags::MOUNT_ATTR_NODEV };
    let mounted = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|error| failed(error.into(), said(&fs)))?;
    move_mount(&mounted, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|error| failed(error.into(), String::new()))
}

/// The same with mount(2), whose options fit one page.
fn mount_classic(
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
    target: &Path,
    devices: bool,
) -> Result<(), ImageError> {
    let mut held = Vec::new();
    let mut names = Vec::new();
    for path in lower.iter().map(PathBuf::as_path).chain([upper, work]) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, rustix::fs::Mode::empty())
            .map_err(|error| ImageError::io("opening", path, error))?;
        names.push(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        held.push(fd);
    }
    let [lower @ .., upper, work] = names.as_slice() else {
        return Err(ImageError::internal("an overlay without directories"));
    };
    let options = OPTIONS.map(|(key, value)| format!("{key}={value}")).join(",");
    let data = format!("lowerdir={},upperdir={upper},workdir={work},{options}", lower.join(":"));
    if data.len() > PAGE {
        return Err(ImageError::unsupported(format!("{} layers are too many for this kernel", lower.len())));
    }
    let data = CString::new(data).map_err(|error| ImageError::internal(error.to_string()))?;
    let flags = if devices { MountFlags::empty() } else { MountFlags::NODEV };
    mount("overlay", target, "overlay", flags, data.as_c_str())
        .map_err(|error| ImageError::io("mounting", target, error))
}

/// What the kernel says about a failure, where it says something.
fn said(fs: &std::os::fd::OwnedFd) -> String {
    let mut text = String::new();
    if let Ok(fd) = fs.try_clone() {
        let mut log = File::from(fd);
        let mut line = [0; 512];
        while let Ok(count) = log.read(&mut line) {
            if count == 0 || text.len() > 2000 {
                break;
            }
            text.push_str(": ");
            text.push_str(String::from_utf8_lossy(&line[..count]).trim());
        }
    }
    text
}

/// Whether something is mounted exactly there.
pub(super) fn is_mounted(path: &Path) -> Result<bool, ImageError> {
    match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::empty()) {
        Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(error) => Err(ImageError::io("looking at", path, error)),
    }
}

/// Unmounts whatever is mounted there, at once for everybody who looks and later for whoever is inside.
pub(super) fn unmount_all(path: &Path) -> Result<(), ImageError> {
    // A second mount on top would come from a crash between a mount and its record.
    for _ in 0..16 {
        if !is_mounted(path)? {
            return Ok(());
        }
        match unmount(path.as_os_str().as_bytes(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(ImageError::io("unmounting", path, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Both ways of mounting show the same, whichever of them this kernel would take.
    #[test]
    fn both_ways_of_mounting_show_the_same() {
        type Way = fn(&[PathBuf], &Path, &Path, &Path, bool) -> Result<(), ImageError>;
        for (way, devices) in [(mount_overlay as Way, true), (mount_classic, true), (mount_classic, false)] {
            let dir = tempfile::tempdir().unwrap();
            let make = |name: &str| {
                let path = dir.path().join(name);
                fs::create_dir(&path).unwrap();
                path
            };
            // Names that mount options would have to escape.
            let (below, above) = (make("below,x=1"), make("above:colon"));
            let (upper, work, target) = (make("upper"), make("work"), make("target"));
            fs::write(below.join("name"), "below").unwrap();
            fs::write(above.join("name"), "above").unwrap();
            fs::write(below.join("only"), "below").unwrap();
            way(&[above, below], &upper, &work, &target, devices).unwrap();
            let read = |name: &str| fs::read_to_string(target.join(name)).unwrap();
            assert_eq!((read("name"), read("only")), ("above".to_owned(), "below".to_owned()));
            fs::write(target.join("written"), "").unwrap();
            assert!(upper.join("written").exists());
            let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let line = table.lines().find(|line| line.contains(target.to_str().unwrap())).unwrap().to_owned();
            unmount_all(&target).unwrap();
            assert_eq!(line.contains("nodev"), !devices, "{line}");
            assert!(!line.contains("redirect_dir=on") && !line.contains("metacopy=on"), "{line}");
        }
    }
}
