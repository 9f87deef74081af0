//! Docker's `local` log: protobuf records, each between its length and its length.
//!
//! Lines are kept byte for byte. One that is longer than 16 KiB is written in pieces that say so, with the time of the
//! first; so is what a container leaves without a newline. Each record has a number, which Docker's readers pass
//! over: who takes the lines elsewhere sees by it how many a rotation took away.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use chrono::Utc;
use pintle_contract::log::{Piece, Source};
use pintle_wire::log::{self as wire, Record};

use super::journal::{Journal, PIECE};
use crate::task::LogFile;

/// The log of one container.
pub(super) struct LocalLog {
    pub(super) journal: Journal,
    attrs: BTreeMap<String, String>,
    sequence: u64,
    streams: [Unfinished; 2],
}

/// A line of one stream whose end was not seen yet.
#[derive(Default)]
struct Unfinished {
    bytes: Vec<u8>,
    /// The piece that was written last, and the time of the first.
    piece: Option<(Piece, i64)>,
}

impl LocalLog {
    pub(super) fn open(config: LogFile) -> io::Result<Self> {
        let sequence = settle(&config.path)?;
        let attrs = config.attrs.clone();
        Ok(Self { journal: Journal::open(config)?, attrs, sequence, streams: Default::default() })
    }

    /// Takes output of stream 0 (stdout) or 1 (stderr).
    pub(super) fn take(&mut self, stream: usize, mut bytes: &[u8]) {
        let now = Utc::now().timestamp_nanos_opt().unwrap_or_default();
        while !bytes.is_empty() {
            let held = self.streams[stream].bytes.len();
            let window = &bytes[..(PIECE - held).min(bytes.len())];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                let line = &bytes[..end];
                bytes = &bytes[end + 1..];
                if held == 0 && self.streams[stream].piece.is_none() {
                    self.record(stream, line, now, None);
                } else {
                    let mut whole = std::mem::take(&mut self.streams[stream].bytes);
                    whole.extend_from_slice(line);
                    self.piece(stream, &whole, now, true);
                }
                continue;
            }
            self.streams[stream].bytes.extend_from_slice(window);
            bytes = &bytes[window.len()..];
            if self.streams[stream].bytes.len() >= PIECE {
                let whole = std::mem::take(&mut self.streams[stream].bytes);
                self.piece(stream, &whole, now, false);
            }
        }
    }

    /// The streams ended.
    pub(super) fn finish(&mut self) {
        let now = Utc::now().timestamp_nanos_opt().unwrap_or_default();
        for stream in 0..2 {
            let rest = std::mem::take(&mut self.streams[stream].bytes);
            if !rest.is_empty() {
                self.piece(stream, &rest, now, false);
            }
            self.streams[stream].piece = None;
        }
        self.journal.flush();
    }

    /// What belongs to a line that may have been cut: only a line in one go is no piece.
    fn piece(&mut self, stream: usize, bytes: &[u8], now: i64, last: bool) {
        let (mut piece, time) = match self.streams[stream].piece.take() {
            Some(before) => before,
            None if last => return self.record(stream, bytes, now, None),
            None => (Piece { id: format!("{now:032x}{:032x}", self.sequence), ..Piece::default() }, now),
        };
        piece.ordinal += 1;
        piece.last = last;
        self.record(stream, bytes, time, Some(&piece));
        if !last {
            self.streams[stream].piece = Some((piece, time));
        }
    }

    fn record(&mut self, stream: usize, line: &[u8], time: i64, piece: Option<&Piece>) {
        self.sequence += 1;
        let source = if stream == 0 { Source::Stdout } else { Source::Stderr };
        let attributes = Some(&self.attrs);
        let (start, pending) = self.journal.begin();
        let sequence = Some(self.sequence);
        wire::push_record(&Record { source, time, line, piece, attributes, sequence }, pending);
        self.journal.end(start);
    }
}

/// The number of the last record. What a crash left behind it is cut off, so that what follows can be read.
fn settle(path: &Path) -> io::Result<u64> {
    let mut rotated = path.as_os_str().to_owned();
    rotated.push(".1");
    for (path, live) in [(path, true), (Path::new(&rotated), false)] {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        if length == 0 {
            continue;
        }
        if let Some(sequence) = last_record(&file, length)? {
            return Ok(sequence);
        }
        let (whole, sequence) = walk(&file)?;
        if live {
            file.set_len(whole)?;
        }
        if let Some(sequence) = sequence {
            return Ok(sequence);
        }
    }
    Ok(0)
}

/// The number of the record that ends the file; `None` if no whole record does.
fn last_record(file: &File, length: u64) -> io::Result<Option<u64>> {
    let mut tail = [0; 4];
    if length < 8 {
        return Ok(None);
    }
    file.read_exact_at(&mut tail, length - 4)?;
    let Ok(size) = wire::record_before(tail) else { return Ok(None) };
    let Some(start) = length.checked_sub(size as u64) else { return Ok(None) };
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, start)?;
    let Ok(Some((message, _))) = wire::record_at(&bytes) else { return Ok(None) };
    Ok(wire::decode(message).ok().map(|(_, sequence)| sequence.unwrap_or_default()))
}

/// Reads from the start: where whole records end, and the number of the last.
fn walk(file: &File) -> io::Result<(u64, Option<u64>)> {
    let (mut at, mut sequence) = (0, None);
    let length = file.metadata()?.len();
    loop {
        let mut head = [0; 4];
        if at + 8 > length {
            return Ok((at, sequence));
        }
        file.read_exact_at(&mut head, at)?;
        let Ok(size) = wire::record_before(head) else { return Ok((at, sequence)) };
        if at + size as u64 > length {
            return Ok((at, sequence));
        }
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, at)?;
        let Ok(Some((message, _))) = wire::record_at(&bytes) else { return Ok((at, sequence)) };
        if let Ok((_, Some(number))) = wire::decode(message) {
            sequence = Some(number);
        }
        at += size as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use pintle_contract::LogEntry;

    use super::*;

    fn log(path: &Path, max_size: Option<u64>) -> LocalLog {
        let format = crate::task::LogFormat::Local;
        LocalLog::open(LogFile {
            path: path.to_owned(),
            max_size,
            max_files: 3,
            format,
            ..LogFile::default()
        })
        .unwrap()
    }

    fn entries(path: &Path) -> Vec<(LogEntry, u64)> {
        let bytes = fs::read(path).unwrap();
        let (mut rest, mut all) = (&bytes[..], Vec::new());
        while let Some((message, length)) = wire::record_at(rest).unwrap() {
            let (entry, sequence) = wire::decode(message).unwrap();
            all.push((entry, sequence.unwrap()));
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        all
    }

    #[test]
    fn long_lines_and_ends_without_newline_are_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("container.log");
        let mut log = log(&path, None);
        log.take(1, b"plain \xff\0\nin t");
        log.take(1, b"wo\n\n");
        log.take(0, &[b'x'; 40_000]);
        log.take(0, b"\nno end");
        log.finish();
        let all = entries(&path);
        let lines: Vec<_> = all.iter().map(|(entry, _)| entry.line.len()).collect();
        assert_eq!(lines, [8, 6, 0, 16_384, 16_384, 7_232, 6]);
        assert_eq!((all[0].0.source, all[3].0.source), (Source::Stderr, Source::Stdout));
        let pieces: Vec<_> =
            all.iter().map(|(entry, _)| entry.piece.as_ref().map(|p| (p.ordinal, p.last))).collect();
        assert_eq!(
            pieces,
            [None, None, None, Some((1, false)), Some((2, false)), Some((3, true)), Some((1, false))]
        );
        assert_eq!((all[3].0.time, &all[3].0.piece.as_ref().unwrap().id), {
            (all[5].0.time, &all[5].0.piece.as_ref().unwrap().id)
        });
        assert_eq!(all.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn numbers_go_on_over_rotations_crashes_and_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("container.log");
        let mut first = log(&path, Some(400));
        for _ in 0..40 {
            first.take(0, b"a line of text\n");
        }
        first.finish();
        let (_, last) = entries(&path).pop().unwrap();
        assert_eq!(last, 40);
        // A shim that died while it wrote.
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&[0, 0, 0, 9, 1]).unwrap();
        let mut second = log(&path, None);
        second.take(0, b"more\n");
        second.finish();
        let (entry, number) = entries(&path).pop().unwrap();
        assert_eq!((&entry.line[..], number), (&b"more"[..], 41));
    }
}
