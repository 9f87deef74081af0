//! A container's output on disk: gathered, written, rotated, packed, in whatever format.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::jsonlog::JsonLog;
use super::locallog::LocalLog;
use super::packing::{Packing, packed};
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
        self.journal().flush();
    }

    /// Whether [`Log::flush`] would write anything.
    pub(super) fn is_dirty(&self) -> bool {
        let (Self::Json(JsonLog { journal, .. }) | Self::Local(LocalLog { journal, .. })) = self;
        journal.is_dirty()
    }

    /// Packs a piece of what was rotated.
    pub(super) fn pack(&mut self) {
        self.journal().pack();
    }

    /// Whether [`Log::pack`] would pack anything.
    pub(super) fn is_packing(&self) -> bool {
        let (Self::Json(JsonLog { journal, .. }) | Self::Local(LocalLog { journal, .. })) = self;
        journal.is_packing()
    }

    fn journal(&mut self) -> &mut Journal {
        let (Self::Json(JsonLog { journal, .. }) | Self::Local(LocalLog { journal, .. })) = self;
        journal
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
    unpacked: Unpacked,
}

/// What is to be packed: of the rotated files only the youngest can be plain.
#[derive(Default)]
enum Unpacked {
    #[default]
    Nothing,
    /// It waits until the live file has a record, by which the numbers of records go on.
    Waits,
    Begun(Box<Packing>),
}

impl Journal {
    pub(super) fn open(config: LogFile) -> io::Result<Self> {
        let (file, size) = open(&config.path)?;
        let unpacked = if config.compress { Unpacked::Waits } else { Unpacked::Nothing };
        Ok(Self { config, file: Some(file), size, pending: Vec::new(), lost: 0, torn: false, unpacked })
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

    fn is_packing(&self) -> bool {
        match self.unpacked {
            Unpacked::Nothing => false,
            Unpacked::Waits => self.size > 0 && self.pending.is_empty(),
            Unpacked::Begun(_) => true,
        }
    }

    fn pack(&mut self) {
        if self.is_packing() {
            self.pack_piece();
        }
    }

    fn pack_piece(&mut self) {
        let packed = match std::mem::take(&mut self.unpacked) {
            Unpacked::Nothing => return,
            Unpacked::Waits => Packing::begin(self.numbered(1)),
            Unpacked::Begun(packing) => (*packing).step(),
        };
        match packed {
            Ok(Some(more)) => self.unpacked = Unpacked::Begun(Box::new(more)),
            Ok(None) => {}
            Err(error) => eprintln!("packing {}: {error}", self.numbered(1).display()),
        }
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.config.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    /// The oldest file goes, and each of the others gets the next number. Readers know by the gap that this is under way.
    fn shift(&self) -> io::Result<()> {
        let oldest = self.numbered(self.config.max_files.saturating_sub(1));
        for gone in [packed(&oldest), oldest] {
            allow_missing(fs::remove_file(gone))?;
        }
        for number in (1..self.config.max_files.saturating_sub(1)).rev() {
            let (from, to) = (self.numbered(number), self.numbered(number + 1));
            allow_missing(fs::rename(packed(&from), packed(&to)))?;
            allow_missing(fs::rename(from, to))?;
        }
        fs::rename(&self.config.path, self.numbered(1))
    }

    fn rotate(&mut self) {
        while !matches!(self.unpacked, Unpacked::Nothing) {
            self.pack_piece();
        }
        let path = &self.config.path;
        let rotated = if self.config.max_files < 2 {
            self.file.as_ref().map_or(Ok(()), |file| file.set_len(0))
        } else {
            self.shift()
        };
        if self.config.compress {
            self.unpacked = Unpacked::Waits;
        }
        if let Err(error) = rotated {
            eprintln!("rotating {}: {error}", path.display());
        }
        match open(path) {
            Ok((file, size)) => (self.file, self.size) = (Some(file), size),
            Err(error) => eprintln!("opening {}: {error}", path.display()),
        }
    }
}

fn allow_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

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

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn unpack(path: &Path) -> String {
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn rotated_files_are_packed_when_there_is_time_or_when_the_next_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.log");
        let config = LogFile {
            path: path.clone(),
            max_size: Some(500),
            max_files: 4,
            compress: true,
            ..LogFile::default()
        };
        let mut log = Log::open(config.clone()).unwrap();
        for n in 0..100 {
            log.take(0, format!("line number {n}\n").as_bytes());
        }
        log.flush();
        // Nobody had time for the youngest.
        assert_eq!(names(dir.path()), ["c.log", "c.log.1", "c.log.2.gz", "c.log.3.gz"]);
        let oldest = unpack(&dir.path().join("c.log.3.gz"));
        while log.is_packing() {
            log.pack();
        }
        assert_eq!(names(dir.path()), ["c.log", "c.log.1.gz", "c.log.2.gz", "c.log.3.gz"]);
        assert_eq!(oldest, unpack(&dir.path().join("c.log.3.gz")));
        let all: String =
            [3, 2, 1].iter().map(|n| unpack(&dir.path().join(format!("c.log.{n}.gz")))).collect();
        let all = all + &fs::read_to_string(&path).unwrap();
        let numbers: Vec<u32> = all
            .lines()
            .map(|line| line.split("number ").nth(1).unwrap().split('\\').next().unwrap().parse().unwrap())
            .collect();
        let first = numbers[0];
        assert!(first > 0 && numbers == (first..100).collect::<Vec<_>>(), "{numbers:?}");

        // A shim that died while it packed: the next one does it again.
        log.take(0, &[b'x'; 1000]);
        log.take(0, b"\nmore\n");
        log.flush();
        log.pack();
        assert!(names(dir.path()).contains(&"c.log.1.gz.new".to_owned()));
        drop(log);
        let mut log = Log::open(config).unwrap();
        while log.is_packing() {
            log.pack();
        }
        assert_eq!(names(dir.path()), ["c.log", "c.log.1.gz", "c.log.2.gz", "c.log.3.gz"]);
    }
}
