//! Docker's json-file log.
//!
//! One object on each line: `{"log":"text\n","stream":"stdout","time":"2026-…Z"}`. A line longer than 16 KiB is
//! written in pieces without `\n`; a piece never splits a UTF-8 character (Docker's does, and garbles it). Escaping
//! follows Docker's encoder. Lines are gathered and written when the shim has nothing else to do, or at 64 KiB.

use std::io;

use chrono::{DateTime, Utc};

use super::journal::{Journal, PIECE};
use crate::task::LogFile;

/// The log of one container.
pub(super) struct JsonLog {
    pub(super) journal: Journal,
    /// An unfinished line of stdout and of stderr.
    partial: [Vec<u8>; 2],
    attrs: String,
}

impl JsonLog {
    pub(super) fn open(config: LogFile) -> io::Result<Self> {
        let attrs = if config.attrs.is_empty() {
            String::new()
        } else {
            format!(",\"attrs\":{}", serde_json::to_string(&config.attrs)?)
        };
        Ok(Self { journal: Journal::open(config)?, partial: [Vec::new(), Vec::new()], attrs })
    }

    /// Takes output of stream 0 (stdout) or 1 (stderr).
    pub(super) fn take(&mut self, stream: usize, mut bytes: &[u8]) {
        let now = timestamp(Utc::now());
        while !bytes.is_empty() {
            let room = PIECE - self.partial[stream].len();
            let window = &bytes[..room.min(bytes.len())];
            if let Some(end) = window.iter().position(|b| *b == b'\n') {
                let line = &bytes[..=end];
                bytes = &bytes[end + 1..];
                if self.partial[stream].is_empty() {
                    self.line(stream, line, &now);
                } else {
                    let mut whole = std::mem::take(&mut self.partial[stream]);
                    whole.extend_from_slice(line);
                    self.line(stream, &whole, &now);
                }
                continue;
            }
            self.partial[stream].extend_from_slice(window);
            bytes = &bytes[window.len()..];
            if self.partial[stream].len() >= PIECE {
                let mut piece = std::mem::take(&mut self.partial[stream]);
                let rest = piece.split_off(character_boundary(&piece));
                self.line(stream, &piece, &now);
                self.partial[stream] = rest;
            }
        }
        if self.partial[stream].is_empty() {
            self.partial[stream] = Vec::new();
        }
    }

    /// The streams ended: an unfinished line is written as it is, as Docker does.
    pub(super) fn finish(&mut self) {
        for stream in 0..2 {
            if !self.partial[stream].is_empty() {
                let last = std::mem::take(&mut self.partial[stream]);
                self.line(stream, &last, &timestamp(Utc::now()));
            }
        }
        self.journal.flush();
    }

    fn line(&mut self, stream: usize, text: &[u8], now: &str) {
        let (start, pending) = self.journal.begin();
        pending.extend_from_slice(b"{\"log\":\"");
        escape(text, pending);
        pending.extend_from_slice(if stream == 0 {
            b"\",\"stream\":\"stdout\""
        } else {
            b"\",\"stream\":\"stderr\""
        });
        pending.extend_from_slice(self.attrs.as_bytes());
        pending.extend_from_slice(b",\"time\":\"");
        pending.extend_from_slice(now.as_bytes());
        pending.extend_from_slice(b"\"}\n");
        self.journal.end(start);
    }
}

/// RFC 3339 with nanoseconds, trailing zeros cut as Go cuts them.
pub(super) fn timestamp(time: DateTime<Utc>) -> String {
    let nanos = time.timestamp_subsec_nanos();
    let mut text = time.format("%Y-%m-%dT%H:%M:%S").to_string();
    if nanos > 0 {
        let digits = format!("{nanos:09}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// The largest cut that leaves no character in two, if the end is inside one.
fn character_boundary(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    for at in (tail..bytes.len()).rev() {
        let wanted = match bytes[at] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return bytes.len(),
        };
        return if at + wanted > bytes.len() { at } else { bytes.len() };
    }
    bytes.len()
}

/// JSON string content as Docker's encoder writes it: `<`, `>`, `&`, U+2028 and U+2029 escaped, bad UTF-8 replaced.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        let text = chunk.valid();
        let mut plain = 0;
        for (at, ch) in text.char_indices() {
            let code;
            let escaped: &[u8] = match ch {
                '"' => b"\\\"",
                '\\' => b"\\\\",
                '\n' => b"\\n",
                '\r' => b"\\r",
                '\t' => b"\\t",
                '\u{2028}' => b"\\u2028",
                '\u{2029}' => b"\\u2029",
                '<' | '>' | '&' | '\0'..='\x1f' => {
                    code = format!("\\u{:04x}", ch as u32);
                    code.as_bytes()
                }
                _ => continue,
            };
            out.extend_from_slice(&text.as_bytes()[plain..at]);
            out.extend_from_slice(escaped);
            plain = at + ch.len_utf8();
        }
        out.extend_from_slice(&text.as_bytes()[plain..]);
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use proptest::prelude::*;

    fn log(dir: &tempfile::TempDir, max_size: Option<u64>, max_files: u32) -> JsonLog {
        JsonLog::open(LogFile {
            path: dir.path().join("c-json.log"),
            max_size,
            max_files,
            ..LogFile::default()
        })
        .unwrap()
    }

    fn lines(path: &Path) -> Vec<(String, String)> {
        fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(value["time"].as_str().unwrap().ends_with('Z'));
                (value["log"].as_str().unwrap().to_owned(), value["stream"].as_str().unwrap().to_owned())
            })
            .collect()
    }

    #[test]
    fn the_line_is_dockers() {
        let mut out = Vec::new();
        escape("a\"b\\c\n\u{1}<&>\u{2028}é".as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a\\\"b\\\\c\\n\\u0001\\u003c\\u0026\\u003e\\u2028é");
        let time = DateTime::from_timestamp(1_700_000_000, 120_000_000).unwrap();
        assert_eq!(timestamp(time), "2023-11-14T22:13:20.12Z");
        assert_eq!(timestamp(DateTime::from_timestamp(0, 0).unwrap()), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn long_lines_come_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(&dir, None, 1);
        let mut text = vec![b'x'; 40_000];
        text.push(b'\n');
        log.take(0, &text);
        log.take(1, b"unfinished");
        log.finish();
        let lines = lines(&dir.path().join("c-json.log"));
        let sizes: Vec<usize> = lines.iter().map(|(l, _)| l.len()).collect();
        assert_eq!(sizes, [16_384, 16_384, 7_233, 10]);
        assert!(!lines[0].0.ends_with('\n') && lines[2].0.ends_with('\n') && lines[3].0 == "unfinished");
        assert_eq!(lines[3].1, "stderr");
    }

    #[test]
    fn a_piece_never_splits_a_character() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(&dir, None, 1);
        let text = "a".to_owned() + &"é".repeat(20_000) + "\n";
        log.take(0, text.as_bytes());
        log.finish();
        let joined: String = lines(&dir.path().join("c-json.log")).into_iter().map(|(l, _)| l).collect();
        assert_eq!(joined, text);
    }

    #[test]
    fn files_rotate() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(&dir, Some(1000), 3);
        for n in 0..100 {
            log.take(0, format!("line number {n}\n").as_bytes());
        }
        log.finish();
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["c-json.log", "c-json.log.1", "c-json.log.2"]);
        for name in &names {
            assert!(fs::metadata(dir.path().join(name)).unwrap().len() < 1200, "{name}");
        }
        let last = lines(&dir.path().join("c-json.log")).pop().unwrap().0;
        assert_eq!(last, "line number 99\n");
    }

    #[test]
    fn one_file_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(&dir, Some(1000), 1);
        for n in 0..100 {
            log.take(0, format!("line number {n}\n").as_bytes());
        }
        log.finish();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(fs::metadata(dir.path().join("c-json.log")).unwrap().len() < 1200);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        #[test]
        fn nothing_is_lost(
            newlines in 1u32..2000,
            seeds in proptest::collection::vec(any::<u32>(), 0..20_000),
            cuts in proptest::collection::vec(1usize..9000, 1..40),
        ) {
            // Mostly letters, some of several bytes, some nonsense, and a newline now and then.
            let mut text = Vec::new();
            for seed in seeds {
                match (seed % newlines, seed % 7) {
                    (0, _) => text.push(b'\n'),
                    (_, 0) => text.push((seed >> 8) as u8),
                    (_, 1) => text.extend("é€𝄞".as_bytes()),
                    _ => text.push(b'a' + (seed % 26) as u8),
                }
            }
            let dir = tempfile::tempdir().unwrap();
            let mut log = log(&dir, None, 1);
            let mut rest = &text[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                log.take(0, now);
                rest = later;
            }
            log.finish();
            let joined: String = lines(&dir.path().join("c-json.log")).into_iter().map(|(l, _)| l).collect();
            let mut expected = String::new();
            for chunk in text.utf8_chunks() {
                expected.push_str(chunk.valid());
                expected.extend(std::iter::repeat_n('\u{fffd}', chunk.invalid().len()));
            }
            prop_assert_eq!(joined, expected);
        }
    }
}
