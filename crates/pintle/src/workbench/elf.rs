//! As much of an executable's header as says where it can run.

/// What kind of file a program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// An ELF executable for `machine`; `loader` is the program that it needs in turn.
    Elf {
        /// Rust's name for the architecture.
        machine: &'static str,
        /// `PT_INTERP`.
        loader: Option<String>,
    },
    /// A script for this interpreter.
    Script(String),
    /// Anything else.
    Unknown,
}

/// Judges a program by its first bytes; `head` should hold a few KiB.
pub fn judge(head: &[u8]) -> Program {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
        let text =
            String::from_utf8_lossy(line.get(..line.len().min(256)).unwrap_or_default()).trim().to_owned();
        let interpreter = text.split_whitespace().next().unwrap_or_default().to_owned();
        return if interpreter.is_empty() { Program::Unknown } else { Program::Script(interpreter) };
    }
    elf(head).unwrap_or(Program::Unknown)
}

fn elf(head: &[u8]) -> Option<Program> {
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let wide = *head.get(4)? == 2;
    let big = *head.get(5)? == 2;
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(size)?)?;
        let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        Some(if big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    };
    let machine = match (number(18, 2)?, wide, big) {
        (3, ..) => "x86",
        (62, ..) => "x86_64",
        (40, ..) => "arm",
        (183, ..) => "aarch64",
        (243, true, _) => "riscv64",
        (21, _, false) => "powerpc64le",
        (21, _, true) => "powerpc64",
        (22, ..) => "s390x",
        (8, ..) => "mips",
        (258, ..) => "loongarch64",
        _ => "another architecture",
    };
    let (table, entry, count) = if wide {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?)
    };
    let mut loader = None;
    for index in 0..count.min(64) {
        let at = usize::try_from(table.checked_add(index.checked_mul(entry)?)?).ok()?;
        if number(at, 4) != Some(3) {
            continue;
        }
        let (offset, size) = if wide {
            (number(at + 8, 8)?, number(at + 32, 8)?)
        } else {
            (number(at + 4, 4)?, number(at + 16, 4)?)
        };
        let (offset, size) = (usize::try_from(offset).ok()?, usize::try_from(size).ok()?.min(256));
        let text = head.get(offset..offset.checked_add(size)?)?;
        loader = Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
    }
    Some(Program::Elf { machine, loader })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_junk() {
        assert_eq!(judge(b"#!/bin/sh -e\necho"), Program::Script("/bin/sh".into()));
        assert_eq!(judge(b"#!\n"), Program::Unknown);
        assert_eq!(judge(b"MZ"), Program::Unknown);
        for length in 0..64 {
            let mut head = vec![0xff; length];
            head.splice(0..length.min(4), b"\x7fELF"[..length.min(4)].iter().copied());
            // Any header must be survived.
            let _ = judge(&head);
        }
    }

    #[test]
    fn this_very_test_is_for_this_machine() -> std::io::Result<()> {
        use std::io::Read;
        let mut head = Vec::new();
        std::fs::File::open("/proc/self/exe")?.take(16 << 10).read_to_end(&mut head)?;
        match judge(&head) {
            Program::Elf { machine, .. } => assert_eq!(machine, std::env::consts::ARCH),
            other => unreachable!("{other:?}"),
        }
        Ok(())
    }
}
