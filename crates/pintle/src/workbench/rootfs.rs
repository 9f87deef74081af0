//! What is in a plugin's root file system, looked at as the plugin will see it: links are followed inside it only.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::elf::{self, Program};
use super::validate::{Level, Report, counted};

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// As much of a root file system is counted.
const MAX_ENTRIES: usize = 200_000;

/// Leftovers that a plugin never needs.
const LEFTOVERS: [&str; 7] = [
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/cache/apk",
    "usr/share/doc",
    "usr/share/man",
    "root/.cache",
    "usr/share/locale",
];

/// Adds what is wrong with `root`, or what it does not need, to `report`.
pub fn check(root: &Path, entrypoint: &[String], report: &mut Report) {
    if !root.is_dir() {
        report.add(
            Level::Error,
            "rootfs",
            "is not a directory; it holds the files that the plugin sees as /",
        );
        return;
    }
    let Some(program) = entrypoint.first() else { return };
    let is_static = check_program(root, program, report);
    let (files, bytes) = weigh(root, 0);
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let size = |bytes: u64| crate::render::units::size(bytes as f64);
    report.note(format!("rootfs: {}, {}", counted(files, "file"), size(bytes)));
    if is_static && files > 50 {
        report.add(
            Level::Hint,
            "rootfs",
            format!(
                "{program} is static, yet {files} files ({}) come with it; it may need none of them",
                size(bytes)
            ),
        );
    }
    for name in LEFTOVERS {
        let (files, bytes) = weigh(&root.join(name), 0);
        if files > 0 && bytes > 100_000 {
            report.add(Level::Hint, format!("rootfs/{name}"), format!("{} that can be dropped", size(bytes)));
        }
    }
}

/// Whether the program is static.
fn check_program(root: &Path, program: &str, report: &mut Report) -> bool {
    let place = |program: &str| format!("rootfs/{}", program.trim_start_matches('/'));
    let found = if program.starts_with('/') {
        resolve(root, program)
    } else {
        ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"]
            .iter()
            .find_map(|dir| resolve(root, &format!("/{dir}/{program}")))
    };
    let Some(path) = found else {
        report.add(Level::Error, place(program), "does not exist, and the entrypoint names it");
        return false;
    };
    let Ok(meta) = std::fs::metadata(&path) else {
        report.add(Level::Error, place(program), "cannot be read");
        return false;
    };
    if !meta.is_file() {
        report.add(Level::Error, place(program), "is not a file, and the entrypoint names it");
        return false;
    }
    if meta.permissions().mode() & 0o111 == 0 {
        report.add(Level::Error, place(program), "is not executable: chmod +x");
    }
    let mut head = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(64 << 10).read_to_end(&mut head));
    if read.is_err() {
        report.add(Level::Error, place(program), "cannot be read");
        return false;
    }
    match elf::judge(&head) {
        Program::Elf { machine, loader } => {
            let host = std::env::consts::ARCH;
            if machine != host && (machine, host) != ("x86", "x86_64") {
                report.add(Level::Error, place(program), format!("is for {machine}; this machine is {host}"));
            }
            if let Some(loader) = &loader
                && resolve(root, loader).is_none()
            {
                report.add(
                    Level::Error,
                    place(program),
                    format!(
                        "needs {loader}, which rootfs does not have: link it statically, or add its libraries"
                    ),
                );
            }
            loader.is_none()
        }
        Program::Script(interpreter) => {
            if resolve(root, &interpreter).is_none() {
                report.add(
                    Level::Error,
                    place(program),
                    format!("is a script for {interpreter}, which rootfs does not have"),
                );
            }
            false
        }
        Program::Unknown => {
            report.add(Level::Error, place(program), "is neither a program nor a script with #!");
            false
        }
    }
}

/// The file that `path` is, seen from inside `root`; `None` if there is none.
fn resolve(root: &Path, path: &str) -> Option<PathBuf> {
    let mut pending: Vec<OsString> = parts(Path::new(path));
    let mut at: Vec<OsString> = Vec::new();
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        at.push(part);
        let here: PathBuf = root.iter().map(OsString::from).chain(at.iter().cloned()).collect();
        let meta = std::fs::symlink_metadata(&here).ok()?;
        if !meta.is_symlink() {
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return None;
        }
        let target = std::fs::read_link(&here).ok()?;
        at.pop();
        if target.is_absolute() {
            at.clear();
        }
        pending.extend(parts(&target));
    }
    Some(root.iter().map(OsString::from).chain(at).collect())
}

/// The parts of a path, last first.
fn parts(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// Files and bytes below `dir`.
fn weigh(dir: &Path, depth: usize) -> (usize, u64) {
    let mut sum = (0, 0);
    let Ok(entries) = std::fs::read_dir(dir) else { return sum };
    for entry in entries.flatten().take(MAX_ENTRIES) {
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            if depth < 64 {
                let (files, bytes) = weigh(&entry.path(), depth + 1);
                sum = (sum.0 + files, sum.1 + bytes);
            }
        } else {
            sum = (sum.0 + 1, sum.1 + meta.len());
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn findings(prepare: impl FnOnce(&Path), program: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let mut report = Report::default();
        check(dir.path(), &[program.to_owned()], &mut report);
        report.to_string()
    }

    fn script(root: &Path, text: &str, mode: u32) {
        std::fs::write(root.join("run"), text).unwrap();
        std::fs::set_permissions(root.join("run"), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn each_cause_is_named() {
        assert!(findings(|_| {}, "/run").contains("does not exist"));
        assert!(
            findings(|root| std::fs::create_dir(root.join("run")).unwrap(), "/run").contains("is not a file")
        );
        assert!(findings(|root| script(root, "#!/bin/sh\n", 0o755), "/run").contains("a script for /bin/sh"));
        assert!(findings(|root| script(root, "junk", 0o755), "/run").contains("neither a program"));
        assert!(findings(|root| script(root, "junk", 0o644), "/run").contains("is not executable"));
        let mut foreign = std::fs::read("/proc/self/exe").unwrap();
        foreign.truncate(4096);
        foreign[18] = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
        let other = findings(
            |root| {
                std::fs::write(root.join("run"), &foreign).unwrap();
                std::fs::set_permissions(root.join("run"), std::fs::Permissions::from_mode(0o755)).unwrap();
            },
            "/run",
        );
        assert!(other.contains("this machine is"), "{other}");
    }

    #[test]
    fn links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::write(dir.path().join("bin/real"), "").unwrap();
        symlink("/bin/real", dir.path().join("absolute")).unwrap();
        symlink("../../../../bin/real", dir.path().join("bin/climbing")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        symlink("/etc/passwd", dir.path().join("outside")).unwrap();
        let real = Some(dir.path().join("bin/real"));
        assert_eq!(resolve(dir.path(), "/absolute"), real);
        assert_eq!(resolve(dir.path(), "/bin/climbing"), real);
        assert_eq!(resolve(dir.path(), "/loop"), None);
        assert_eq!(resolve(dir.path(), "/outside"), None);
    }
}
