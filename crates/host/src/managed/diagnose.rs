//! Finding out why a plugin did not come up: its last words, its binary, the sockets that it made instead.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::FileTypeExt,
    path::Path,
};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use serde::Deserialize;

use super::failure::StartFailure;

/// How many lines of output an error quotes, and how long each may be.
const LINES: usize = 5;
const LINE_LENGTH: usize = 400;
/// How much of the end of a log is looked at.
const TAIL: u64 = 64 << 10;
/// How much of the beginning of a program: its headers and what they name are in the first page or two.
const HEAD: u64 = 16 << 10;

#[derive(Deserialize)]
struct LogLine {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    time: String,
}

/// The last lines that a plugin wrote after `since` (RFC 3339, as the log has it): of stderr, or of stdout
/// where stderr is silent.
pub(crate) fn last_words(log: &Path, since: &str) -> Vec<String> {
    let Ok(mut file) = File::open(log) else { return Vec::new() };
    let length = file.metadata().map_or(0, |meta| meta.len());
    let start = length.saturating_sub(TAIL);
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(start)).is_err() || file.take(TAIL).read_to_end(&mut bytes).is_err() {
        return Vec::new();
    }
    let lines: Vec<LogLine> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<LogLine>(line).ok())
        .filter(|line| line.time.as_str() >= since)
        .collect();
    let of = |stream: &str| -> Vec<String> {
        let said = lines.iter().filter(|line| line.stream == stream).map(|line| shown(&line.log));
        let said: Vec<String> = said.filter(|text| !text.is_empty()).collect();
        said[said.len().saturating_sub(LINES)..].to_vec()
    };
    let stderr = of("stderr");
    if stderr.is_empty() { of("stdout") } else { stderr }
}

fn shown(text: &str) -> String {
    let clean = text.trim_end().chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    clean.take(LINE_LENGTH).collect()
}

/// Whether the entrypoint is for another kind of machine, or for a loader or a shell that is not there.
pub(crate) fn cannot_run(rootfs: &Path, entrypoint: &str, path: &str) -> Option<StartFailure> {
    let candidates: Vec<String> = if entrypoint.contains('/') {
        vec![entrypoint.to_owned()]
    } else {
        path.split(':').map(|dir| format!("{dir}/{entrypoint}")).collect()
    };
    let (name, head) = candidates.iter().find_map(|name| Some((name, head(rootfs, name)?)))?;
    let missing = |interpreter: &str| StartFailure::Interpreter {
        binary: name.clone(),
        interpreter: interpreter.to_owned(),
    };
    if let Some(rest) = head.strip_prefix(b"#!") {
        let line = rest.split(|byte| *byte == b'\n').next()?;
        let line = String::from_utf8_lossy(line);
        let interpreter = line.split_whitespace().next()?;
        let Some(head) = self::head(rootfs, interpreter) else { return Some(missing(interpreter)) };
        return judge(interpreter, &head);
    }
    judge(name, &head).or_else(|| {
        let loader = loader(&head)?;
        self::head(rootfs, &loader).is_none().then(|| missing(&loader))
    })
}

/// The program that must load this one, as its ELF headers name it.
fn loader(head: &[u8]) -> Option<String> {
    let number = |at: usize, width: usize| -> Option<usize> {
        let bytes = head.get(at..at.checked_add(width)?)?;
        let value = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        let big = head.get(5) == Some(&2);
        let value = if big { bytes.iter().fold(0, value) } else { bytes.iter().rev().fold(0, value) };
        usize::try_from(value).ok()
    };
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    // Where the 64-bit and the 32-bit layout keep things.
    let wide = head.get(4) == Some(&2);
    let (width, table, entry, count, offset, length) =
        if wide { (8, 0x20, 0x36, 0x38, 0x08, 0x20) } else { (4, 0x1c, 0x2a, 0x2c, 0x04, 0x10) };
    let (table, entry, count) = (number(table, width)?, number(entry, 2)?, number(count, 2)?);
    let headers = (0..count).filter_map(|index| table.checked_add(index.checked_mul(entry)?));
    let of_loader = headers.into_iter().find(|at| number(*at, 4) == Some(3))?;
    let (start, length) = (number(of_loader + offset, width)?, number(of_loader + length, width)?);
    let name = head.get(start..start.checked_add(length)?)?;
    Some(String::from_utf8_lossy(name.split(|byte| *byte == 0).next()?).into_owned())
}

/// The first bytes of a file inside `rootfs`, wherever its links point there.
fn head(rootfs: &Path, name: &str) -> Option<Vec<u8>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, rootfs, flags, Mode::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat2(&root, name, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
    let mut bytes = Vec::new();
    File::from(file).take(HEAD).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn judge(name: &str, head: &[u8]) -> Option<StartFailure> {
    let found = elf_machine(head)?;
    let host = host();
    let runs = found == host || (host == "amd64" && found == "386") || (host == "arm64" && found == "arm");
    (!runs).then(|| StartFailure::Architecture { binary: name.to_owned(), found, host: host.to_owned() })
}

/// Go's name for the machine that an ELF file is for.
fn elf_machine(head: &[u8]) -> Option<String> {
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return None;
    }
    let number = [head[18], head[19]];
    let machine = if head[5] == 2 { u16::from_be_bytes(number) } else { u16::from_le_bytes(number) };
    let little = head[5] != 2;
    Some(match machine {
        0x03 => "386".to_owned(),
        0x08 => if little { "mipsle" } else { "mips" }.to_owned(),
        0x15 => if little { "ppc64le" } else { "ppc64" }.to_owned(),
        0x16 => "s390x".to_owned(),
        0x28 => "arm".to_owned(),
        0x3e => "amd64".to_owned(),
        0xb7 => "arm64".to_owned(),
        0xf3 => "riscv64".to_owned(),
        0x102 => "loong64".to_owned(),
        other => format!("ELF machine {other}"),
    })
}

fn host() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "loongarch64" => "loong64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The sockets in a plugin's directory, by file name.
pub(crate) fn sockets_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let sockets = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()));
    let mut names: Vec<String> =
        sockets.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn elf(machine: u16) -> Vec<u8> {
        let mut bytes = vec![0u8; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes
    }

    #[test]
    fn a_foreign_binary_is_named_with_both_machines() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        let foreign = if host() == "s390x" { (0xb7, "arm64") } else { (0x16, "s390x") };
        fs::write(dir.path().join("bin/real"), elf(foreign.0)).unwrap();
        symlink("/bin/real", dir.path().join("bin/link")).unwrap();
        fs::write(dir.path().join("bin/script"), "#! /bin/link -x\n").unwrap();
        fs::write(dir.path().join("bin/text"), "echo").unwrap();
        fs::write(dir.path().join("bin/lost"), "#!/bin/none\n").unwrap();
        for (entrypoint, named) in [
            ("/bin/real", "/bin/real"),
            ("real", "/bin/real"),
            ("/bin/link", "/bin/link"),
            ("script", "/bin/link"),
        ] {
            let failure = cannot_run(dir.path(), entrypoint, "/usr/bin:/bin").unwrap();
            let expected = StartFailure::Architecture {
                binary: named.into(),
                found: foreign.1.into(),
                host: host().into(),
            };
            assert_eq!(failure, expected, "{entrypoint}");
        }
        let lost = StartFailure::Interpreter { binary: "/bin/lost".into(), interpreter: "/bin/none".into() };
        assert_eq!(cannot_run(dir.path(), "lost", "/bin"), Some(lost));
        for entrypoint in ["/bin/text", "/bin/missing", "missing"] {
            assert_eq!(cannot_run(dir.path(), entrypoint, "/bin"), None);
        }
    }

    #[test]
    fn a_program_without_its_loader_is_told_from_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        // This machine's own shell is linked dynamically, and its loader stays behind.
        let shell = fs::read("/bin/sh").unwrap();
        let named = loader(&shell).unwrap();
        assert!(Path::new(&named).exists(), "{named}");
        fs::write(dir.path().join("sh"), &shell).unwrap();
        let failure = cannot_run(dir.path(), "/sh", "").unwrap();
        assert_eq!(failure, StartFailure::Interpreter { binary: "/sh".into(), interpreter: named.clone() });
        let there = dir.path().join(named.trim_start_matches('/'));
        fs::create_dir_all(there.parent().unwrap()).unwrap();
        fs::copy(&named, there).unwrap();
        assert_eq!(cannot_run(dir.path(), "/sh", ""), None);
        for length in 0..shell.len().min(300) {
            let _ = loader(&shell[..length]);
        }
    }

    #[test]
    fn last_words_are_the_newest_of_stderr() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("json.log");
        let mut text = String::new();
        for number in 0..9 {
            let time = format!("2026-11-23T10:00:0{number}.000000000Z");
            text += &serde_json::json!({"log": format!("line {number}\n"), "stream": "stderr", "time": time})
                .to_string();
            text.push('\n');
        }
        text += "half a li";
        fs::write(&log, &text).unwrap();
        assert_eq!(last_words(&log, ""), ["line 4", "line 5", "line 6", "line 7", "line 8"]);
        assert_eq!(last_words(&log, "2026-11-23T10:00:07"), ["line 7", "line 8"]);
        assert_eq!(last_words(&dir.path().join("none"), ""), [""; 0]);
        fs::write(&log, text.replace("stderr", "stdout")).unwrap();
        assert_eq!(last_words(&log, "").len(), 5);
    }
}
