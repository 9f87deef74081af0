//! A container's output on disk: gathered, written, rotated, in whatever format.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::jsonlog::JsonLog;
use super::locallog::LocalLog;
use crate::task::{LogFile, LogFormat};

/// Docker's piece size.
pub(super) const PIECE: usize = 16 * 1024;
/// Gathered lines are written when they reach this.
const BATCH: usize = 64 * 1024;

/// The log of one container.
pub(super) enum Log {
    Json(JsonLog),
    Local(LocalLog),
}

impl Log {
    pub(super) fn open(config: LogFile) -> io::Result<Self> {
        Ok(match config.format {
            LogFormat::Json => Self::Json(JsonLog::open(config)?),
            LogFormat::Local => Self::Local(LocalLog::open(config)?),
        })
    }

    /// Takes output of stream 0 (stdout) or 1 (stderr).
    pub(super) fn take(&mut self, stream: usize, bytes: &[u8]) {
        match self {
            Self::Json(log) => log.take(stream, bytes),
            Self::Local(log) => log.take(stream, bytes),
        }
    }

    /// The streams ended: an unfinished line is written too.
    pub(super) fn finish(&mut self) {
        match self {
            Self::Json(log) => log.finish(),
            Self::Local(log) => log.finish(),
        }
    }

    /// Writes what is gathered.
    pub(super) fn flush(&mut self) {
        match self {
            Self::Json(log) => log.journal.flush(),
            Self::Local(log) => log.journal.flush(),
        }
    }

    /// Whether [`Log::flush`] would write anything.
    pub(super) fn is_dirty(&self) -> bool {
        match self {
            Self::Json(log) => log.journal.is_dirty(),
            Self::Local(log) => log.journal.is_dirty(),
        }
    }
}

/// The files, and what is gathered for them.
pub(super) struct Journal {
    config: LogFile,
    file: Option<File>,
    size: u64,
    pending: Vec<u8>,
    /// Bytes that a full disk did not take, since it last took some.
    lost: u64,
    /// The file ends in a part of a record.
    torn: bool,
}

impl Journal {
    pub(super) fn open(config: LogFile) -> io::Result<Self> {
        let (file, size) = open(&config.path)?;
        Ok(Self { config, file: Some(file), size, pending: Vec::new(), lost: 0, torn: false })
    }

    /// Where the next record begins, and what to append it to.
    pub(super) fn begin(&mut self) -> (usize, &mut Vec<u8>) {
        (self.pending.len(), &mut self.pending)
    }

    /// The record that begins at `start` is whole.
    pub(super) fn end(&mut self, start: usize) {
        // Docker rotates before the line that finds the file full.
        if let Some(max) = self.config.max_size.filter(|max| *max > 0)
            && self.size + start as u64 >= max
        {
            let record = self.pending.split_off(start);
            self.flush();
            self.rotate();
            self.pending = record;
        }
        if self.pending.len() >= BATCH {
            self.flush();
        }
    }

    fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes what is gathered. On a full disk the lines are lost, the container goes on.
    pub(super) fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if let Some(file) = &mut self.file {
            // What follows a part of a record must not become part of it. Readers pass over a line of JSON that is no
            // record; half a record of the other format would hide all that follow.
            let mended = match (self.torn, self.config.format) {
                (false, _) => Ok(()),
                (true, LogFormat::Json) => file.write_all(b"\n"),
                (true, LogFormat::Local) => file.set_len(self.size),
            };
            let written = mended.and_then(|()| file.write_all(&self.pending));
            let size = file.metadata().map_or(self.size, |metadata| metadata.len());
            let whole = self.pending.len() as u64;
            match written {
                Ok(()) => {
                    if self.lost > 0 {
                        let path = self.config.path.display();
                        eprintln!("writing {path}: works again; {} bytes of log are lost", self.lost);
                    }
                    (self.lost, self.torn) = (0, false);
                }
                Err(error) => {
                    // Said once, not with every line: what is said here is in memory, on most machines.
                    if self.lost == 0 {
                        eprintln!("writing {}: {error}; log is being lost", self.config.path.display());
                    }
                    let fresh = size.saturating_sub(self.size);
                    self.lost += whole.saturating_sub(fresh);
                    self.torn |= fresh > 0;
                }
            }
            if !(self.torn && self.config.format == LogFormat::Local) {
                self.size = size;
            }
        }
        self.pending.clear();
        if self.pending.capacity() > BATCH {
            self.pending = Vec::new();
        }
    }

    fn rotate(&mut self) {
        let path = &self.config.path;
        let numbered = |n: u32| -> PathBuf {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        let rotated: io::Result<()> = if self.config.max_files < 2 {
            self.file.as_ref().map_or(Ok(()), |file| file.set_len(0))
        } else {
            (|| {
                for n in (1..self.config.max_files.saturating_sub(1)).rev() {
                    match fs::rename(numbered(n), numbered(n + 1)) {
                        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                        _ => {}
                    }
                }
                fs::rename(path, numbered(1))
            })()
        };
        if let Err(error) = rotated {
            eprintln!("rotating {}: {error}", path.display());
        }
        match open(path) {
            Ok((file, size)) => (self.file, self.size) = (Some(file), size),
            Err(error) => eprintln!("opening {}: {error}", path.display()),
        }
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_costs_lines_and_tears_none() {
        for format in [LogFormat::Json, LogFormat::Local] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("c.log");
            let mut log = Log::open(LogFile { path: path.clone(), format, ..LogFile::default() }).unwrap();
            let journal = |log: &mut Log, act: &mut dyn FnMut(&mut Journal)| match log {
                Log::Json(log) => act(&mut log.journal),
                Log::Local(log) => act(&mut log.journal),
            };
            log.take(0, b"one\n");
            log.flush();
            let mut file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
            journal(&mut log, &mut |journal| std::mem::swap(&mut journal.file, &mut file));
            log.take(0, b"two\n");
            log.flush();
            // As much of a record as there was room for.
            let whole = fs::metadata(&path).unwrap().len();
            OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"log\":\"tor").unwrap();
            journal(&mut log, &mut |journal| {
                assert!(journal.lost > 0);
                std::mem::swap(&mut journal.file, &mut file);
                (journal.torn, journal.size) = (true, whole);
            });
            log.take(0, b"three\n");
            log.finish();
            journal(&mut log, &mut |journal| assert!(journal.lost == 0 && !journal.torn));
            let bytes = fs::read(&path).unwrap();
            let found = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
            assert!(found(b"one") && !found(b"two") && found(b"three"));
            match format {
                LogFormat::Json => assert_eq!(bytes.split(|byte| *byte == b'\n').count(), 4),
                LogFormat::Local => assert!(!found(b"tor")),
            }
        }
    }
}
