//! Reading a log that is written, rotated and truncated by somebody else meanwhile.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use pintle_runtime::{FileId, LogFormat};
use serde::{Deserialize, Serialize};

use super::{
    records,
    segments::{Segment, open_all},
};

/// How much is read at once.
const CHUNK: usize = 64 << 10;
/// A record longer than this is not one of ours: it is dropped.
const LONGEST: usize = 4 << 20;

/// Where reading stopped: behind so many bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    #[serde(flatten)]
    pub file: FileId,
    pub offset: u64,
}

/// Reads complete records from the oldest file to the newest, and goes on where writing goes on.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    format: LogFormat,
    /// Still to be read, the next one last.
    pending: Vec<Segment>,
    current: Option<Segment>,
    /// The beginning of a record whose end is not there yet.
    partial: Vec<u8>,
    dropping: bool,
}

/// How many bytes a reader that stopped at `position` has before it.
pub(super) fn behind(path: &Path, position: Option<Position>) -> io::Result<u64> {
    let mut bytes = 0;
    for segment in open_all(path)? {
        bytes += segment.length()?;
        if let Some(position) = position
            && segment.id.is(&position.file)
        {
            return Ok(bytes.saturating_sub(position.offset));
        }
    }
    Ok(bytes)
}

/// What one read brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read1 {
    /// Complete records: lines with their newlines, or whatever the format has.
    Lines(Vec<u8>),
    /// Nothing more at this moment.
    End,
}

impl Reader {
    /// Opens what there is; with `tail`, at the last so many lines. Reads nothing yet but what it needs to
    /// count lines.
    pub fn open(path: &Path, format: LogFormat, tail: Option<usize>) -> io::Result<Self> {
        // Newest first.
        let mut files = open_all(path)?;
        if let Some(lines) = tail {
            let mut left = lines;
            let mut keep = files.len();
            for (at, segment) in files.iter_mut().enumerate() {
                let file = segment.content()?;
                left = match format {
                    LogFormat::Json => seek_to_tail(file, left)?,
                    LogFormat::Local => records::seek_to_tail(file, left)?,
                };
                if left == 0 {
                    keep = at + 1;
                    break;
                }
            }
            files.truncate(keep);
        }
        let mut pending = files;
        // Only the newest file is still written, and it may not exist yet.
        let current = pending.pop();
        Ok(Self { path: path.to_owned(), format, pending, current, partial: Vec::new(), dropping: false })
    }

    /// Goes on where another reader stopped; from the oldest file that there is if that place is gone.
    pub fn resume(path: &Path, format: LogFormat, position: Option<Position>) -> io::Result<Self> {
        let mut reader = Self::open(path, format, None)?;
        let Some(position) = position else { return Ok(reader) };
        let mut older = Vec::new();
        let mut files: Vec<Segment> = reader.pending.drain(..).chain(reader.current.take()).collect();
        // The next one to read is the last.
        while let Some(mut segment) = files.pop() {
            if segment.id.is(&position.file) && segment.length()? >= position.offset {
                segment.content()?.seek(SeekFrom::Start(position.offset))?;
                reader.current = Some(segment);
                reader.pending = files;
                return Ok(reader);
            }
            older.push(segment);
        }
        older.reverse();
        reader.current = older.pop();
        reader.pending = older;
        Ok(reader)
    }

    /// Behind the last record that was read.
    pub fn position(&mut self) -> io::Result<Option<Position>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let offset = current.content()?.stream_position()?.saturating_sub(self.partial.len() as u64);
        Ok(Some(Position { file: current.id, offset }))
    }

    /// The next complete lines.
    pub fn read(&mut self) -> io::Result<Read1> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let Some(current) = &mut self.current else {
                match Segment::plain(&self.path) {
                    Ok(live) => self.current = Some(live),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Read1::End),
                    Err(error) => return Err(error),
                }
                continue;
            };
            let count = current.content()?.read(&mut buffer)?;
            if count > 0 {
                let bytes = buffer.get(..count).unwrap_or_default();
                let lines = match self.format {
                    LogFormat::Json => self.take_lines(bytes),
                    LogFormat::Local => self.take_records(bytes),
                };
                if lines.is_empty() {
                    continue;
                }
                return Ok(Read1::Lines(lines));
            }
            if let Some(next) = self.pending.pop() {
                self.move_to(next);
                continue;
            }
            if !self.follow()? {
                return Ok(Read1::End);
            }
        }
    }

    fn move_to(&mut self, next: Segment) {
        // A line does not go on in another file: what is half is lost.
        self.partial.clear();
        self.dropping = false;
        self.current = Some(next);
    }

    /// At the end of the newest file that we know: whether there is more to read, because writing goes on elsewhere or
    /// from the start again. Our own file is then read to its end once more: what was written to it between our last
    /// look and the rotation may be any amount.
    fn follow(&mut self) -> io::Result<bool> {
        let Some(current) = &mut self.current else { return Ok(false) };
        let ours = current.id;
        let live = match std::fs::metadata(&self.path) {
            Ok(live) => live,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if ours.is(&FileId::of(&live)) {
            let file = current.content()?;
            let truncated = file.stream_position()? > live.len();
            if truncated {
                file.seek(SeekFrom::Start(0))?;
                self.partial.clear();
                self.dropping = false;
            }
            return Ok(truncated);
        }
        // Rotated, perhaps more than once: go on behind our file, or with all there is if it is gone.
        for segment in open_all(&self.path)? {
            if segment.id.is(&ours) {
                break;
            }
            self.pending.push(segment);
        }
        Ok(!self.pending.is_empty())
    }

    fn take_lines(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        if self.dropping {
            match bytes.iter().position(|&byte| byte == b'\n') {
                Some(end) => {
                    self.dropping = false;
                    bytes = bytes.get(end + 1..).unwrap_or_default();
                }
                None => return Vec::new(),
            }
        }
        let Some(last) = bytes.iter().rposition(|&byte| byte == b'\n') else {
            self.partial.extend_from_slice(bytes);
            if self.partial.len() > LONGEST {
                self.partial = Vec::new();
                self.dropping = true;
            }
            return Vec::new();
        };
        let (whole, rest) = bytes.split_at(last + 1);
        let mut lines = std::mem::take(&mut self.partial);
        lines.extend_from_slice(whole);
        self.partial.extend_from_slice(rest);
        lines
    }
}

impl Reader {
    fn take_records(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.dropping {
            return Vec::new();
        }
        self.partial.extend_from_slice(bytes);
        let (whole, damaged) = records::whole(&self.partial);
        let rest = self.partial.split_off(whole);
        if damaged {
            // Where the next record begins cannot be known: the next file is read.
            self.dropping = true;
            return std::mem::take(&mut self.partial);
        }
        std::mem::replace(&mut self.partial, rest)
    }
}

/// Seeks to the start of the last `lines` complete lines and says how many are missing. At most as many bytes
/// as those lines have are read.
fn seek_to_tail(file: &mut File, lines: usize) -> io::Result<usize> {
    let length = file.metadata()?.len();
    if lines == 0 {
        // A line that is half written now belongs to what comes.
        let (_, complete) = scan_back(file, length, 1)?;
        file.seek(SeekFrom::Start(complete.map_or(0, |at| at + 1)))?;
        return Ok(0);
    }
    // Each line ends with a newline: the start of the n-th last is behind the (n+1)-th last newline.
    let (seen, start) = scan_back(file, length, lines.saturating_add(1))?;
    file.seek(SeekFrom::Start(start.map_or(0, |at| at + 1)))?;
    Ok(if start.is_some() { 0 } else { lines.saturating_sub(seen) })
}

/// Looks for newlines from the end; how many were seen, and where the `wanted`-th is.
fn scan_back(file: &File, length: u64, wanted: usize) -> io::Result<(usize, Option<u64>)> {
    let mut buffer = vec![0; CHUNK];
    let mut end = length;
    let mut seen = 0;
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let size = usize::try_from(end - start).unwrap_or(CHUNK);
        let chunk = buffer.get_mut(..size).unwrap_or_default();
        file.read_exact_at(chunk, start)?;
        for (at, byte) in chunk.iter().enumerate().rev() {
            if *byte == b'\n' {
                seen += 1;
                if seen == wanted {
                    return Ok((seen, Some(start + at as u64)));
                }
            }
        }
        end = start;
    }
    Ok((seen, None))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, time::Duration};

    use proptest::prelude::*;

    use super::{
        super::segments::{look, numbered, packed},
        *,
    };

    fn append(path: &Path, text: &str) {
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn rotate(path: &Path, files: u32) {
        for number in (1..files).rev() {
            let (from, to) = (numbered(path, number - 1), numbered(path, number));
            if number > 1 {
                let _ = fs::rename(packed(&from), packed(&to));
            }
            let _ = fs::rename(from, to);
        }
        append(path, "");
    }

    fn drain(reader: &mut Reader) -> String {
        let mut all = Vec::new();
        while let Read1::Lines(lines) = reader.read().unwrap() {
            all.extend(lines);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn rotated_files_come_first_and_half_a_line_waits_for_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        append(&path, "1\n2\n");
        rotate(&path, 3);
        append(&path, "3\nhal");
        let mut reader = Reader::open(&path, LogFormat::Json, None).unwrap();
        assert_eq!(drain(&mut reader), "1\n2\n3\n");
        append(&path, "f\n");
        assert_eq!(drain(&mut reader), "half\n");
    }

    #[test]
    fn following_survives_rotations_and_truncation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        let mut reader = Reader::open(&path, LogFormat::Json, None).unwrap();
        assert_eq!(drain(&mut reader), "");
        append(&path, "1\n");
        assert_eq!(drain(&mut reader), "1\n");
        append(&path, "2\n");
        rotate(&path, 5);
        append(&path, "3\n");
        rotate(&path, 5);
        append(&path, "4\n");
        assert_eq!(drain(&mut reader), "2\n3\n4\n");
        File::create(&path).unwrap();
        append(&path, "5\n");
        // Same length as before truncation would be missed; shorter is seen.
        File::create(&path).unwrap();
        assert_eq!(drain(&mut reader), "");
        append(&path, "6\n");
        assert_eq!(drain(&mut reader), "6\n");
    }

    #[test]
    fn a_rotation_that_is_under_way_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        append(&path, "1\n");
        let mut following = Reader::open(&path, LogFormat::Json, None).unwrap();
        assert_eq!(drain(&mut following), "1\n");
        for n in 2..5 {
            rotate(&path, 9);
            append(&path, &format!("{n}\n"));
        }
        // 1 is the third, 2 the second, 3 the first, 4 the live one. The next rotation has come to the first when its
        // process is kept from running.
        for number in [3, 2, 1] {
            fs::rename(numbered(&path, number), numbered(&path, number + 1)).unwrap();
        }
        let rest = std::thread::spawn({
            let path = path.clone();
            move || {
                std::thread::sleep(Duration::from_millis(100));
                fs::rename(&path, numbered(&path, 1)).unwrap();
                append(&path, "5\n");
            }
        });
        let mut new = Reader::open(&path, LogFormat::Json, None).unwrap();
        let (all, followed) = (drain(&mut new), drain(&mut following));
        rest.join().unwrap();
        assert_eq!(all + &drain(&mut new), "1\n2\n3\n4\n5\n");
        assert_eq!(followed + &drain(&mut following), "2\n3\n4\n5\n");
    }

    #[test]
    fn a_rotation_that_was_broken_off_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        for n in 1..4 {
            append(&path, &format!("{n}\n"));
            rotate(&path, 9);
        }
        fs::rename(numbered(&path, 3), numbered(&path, 4)).unwrap();
        fs::rename(numbered(&path, 2), numbered(&path, 3)).unwrap();
        assert_eq!(drain(&mut Reader::open(&path, LogFormat::Json, None).unwrap()), "1\n2\n3\n");
    }

    #[test]
    fn much_that_is_written_before_a_rotation_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        append(&path, "1\n");
        let mut reader = Reader::open(&path, LogFormat::Json, None).unwrap();
        assert_eq!(drain(&mut reader), "1\n");
        // The end of the file was seen; before the next look at its name come many lines, and a rotation.
        let many = "0123456789abcde\n".repeat(LONGEST / 16 + 1000);
        append(&path, &many);
        rotate(&path, 3);
        append(&path, "2\n");
        assert!(reader.follow().unwrap());
        assert!(drain(&mut reader) == many + "2\n");
    }

    /// Packs a rotated file as the shim does.
    fn pack(path: &Path, number: u32) {
        let plain = numbered(path, number);
        let origin = pintle_runtime::Origin::of(&fs::metadata(&plain).unwrap());
        let packed = File::create(packed(&plain)).unwrap();
        let builder = flate2::GzBuilder::new().extra(serde_json::to_vec(&origin).unwrap());
        let mut packed = builder.write(packed, flate2::Compression::fast());
        packed.write_all(&fs::read(&plain).unwrap()).unwrap();
        packed.finish().unwrap();
        fs::remove_file(plain).unwrap();
    }

    #[test]
    fn a_place_in_a_file_that_was_packed_since_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        append(&path, "1\n2\n");
        let mut reader = Reader::open(&path, LogFormat::Json, None).unwrap();
        assert_eq!(drain(&mut reader), "1\n2\n");
        let place = reader.position().unwrap();
        append(&path, "3\n");
        for n in 4..7 {
            // The file system gives the numbers of files that went to those that come.
            rotate(&path, 9);
            pack_all(&path);
            append(&path, &format!("{n}\n"));
        }
        assert_eq!(drain(&mut Reader::resume(&path, LogFormat::Json, place).unwrap()), "3\n4\n5\n6\n");
        assert_eq!(drain(&mut reader), "3\n4\n5\n6\n");
        assert_eq!(behind(&path, place).unwrap(), 8);
        assert_eq!(behind(&path, reader.position().unwrap()).unwrap(), 0);
        assert_eq!(drain(&mut Reader::open(&path, LogFormat::Json, Some(2)).unwrap()), "5\n6\n");
        // Noted by an engine that knew nothing of when files were made.
        let place = place.map(|at| Position { file: FileId { born: None, ..at.file }, ..at });
        assert_eq!(drain(&mut Reader::resume(&path, LogFormat::Json, place).unwrap()), "3\n4\n5\n6\n");
    }

    #[test]
    fn of_a_damaged_file_everything_before_the_damage_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
        append(&path, &lines);
        rotate(&path, 3);
        append(&path, "live\n");
        pack_all(&path);
        let packed = dir.path().join("l.1.gz");
        let half = fs::metadata(&packed).unwrap().len() / 2;
        fs::OpenOptions::new().write(true).open(&packed).unwrap().set_len(half).unwrap();
        let read = drain(&mut Reader::open(&path, LogFormat::Json, None).unwrap());
        assert!(
            read.starts_with("0\n1\n2\n") && read.ends_with("live\n") && read.len() < lines.len(),
            "{read}"
        );
    }

    fn pack_all(path: &Path) {
        for number in (1..9).filter(|number| numbered(path, *number).exists()) {
            pack(path, number);
        }
    }

    #[test]
    fn a_log_that_outran_us_is_read_from_what_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        append(&path, "1\n");
        let mut reader = Reader::open(&path, LogFormat::Json, None).unwrap();
        assert_eq!(drain(&mut reader), "1\n");
        for n in 2..6 {
            rotate(&path, 2);
            append(&path, &format!("{n}\n"));
        }
        assert_eq!(drain(&mut reader), "4\n5\n");
    }

    proptest! {
        #[test]
        fn tail_gives_the_last_lines_wherever_they_are(
            lines in proptest::collection::vec("[a-z]{0,6}", 0..40),
            cuts in proptest::collection::vec(0usize..40, 0..3),
            tail in 0usize..50,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("l");
            append(&path, "");
            for (at, line) in lines.iter().enumerate() {
                if cuts.contains(&at) {
                    rotate(&path, 9);
                }
                append(&path, &format!("{line}\n"));
            }
            let got = drain(&mut Reader::open(&path, LogFormat::Json, Some(tail)).unwrap());
            let from = lines.len().saturating_sub(tail);
            let want: String = lines[from..].iter().map(|line| format!("{line}\n")).collect();
            prop_assert_eq!(got, want);
        }

        #[test]
        fn a_rotation_that_stops_anywhere_loses_and_repeats_nothing(
            files in 1u32..6, steps in 0u32..6, tail in proptest::option::of(0usize..8),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("l");
            for n in 0..files {
                append(&path, &format!("{n}\n"));
                rotate(&path, 9);
            }
            append(&path, "live\n");
            // The oldest first, as many as there was time for.
            for number in (0..=files).rev().take(steps as usize) {
                fs::rename(numbered(&path, number), numbered(&path, number + 1)).unwrap();
            }
            let lines: Vec<_> = (0..files).map(|n| n.to_string()).chain(["live".to_owned()]).collect();
            let from = tail.map_or(0, |tail| lines.len().saturating_sub(tail));
            let want: String = lines[from..].iter().map(|line| format!("{line}\n")).collect();
            let (found, _) = look(&path).unwrap();
            prop_assert_eq!(found.len(), lines.len());
            if steps == 0 || steps > files {
                prop_assert_eq!(drain(&mut Reader::open(&path, LogFormat::Json, tail).unwrap()), want);
            }
        }

        #[test]
        fn reading_at_any_time_loses_and_repeats_nothing(
            steps in proptest::collection::vec((0u8..5, "[a-z]{1,5}"), 0..60),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("l");
            append(&path, "");
            let mut reader = Reader::open(&path, LogFormat::Json, None).unwrap();
            let (mut want, mut got) = (String::new(), String::new());
            for (what, text) in steps {
                match what {
                    0 | 1 => {
                        append(&path, &format!("{text}\n"));
                        want.push_str(&format!("{text}\n"));
                    }
                    2 => rotate(&path, 100),
                    3 if numbered(&path, 1).exists() => pack(&path, 1),
                    _ => got.push_str(&drain(&mut reader)),
                }
            }
            got.push_str(&drain(&mut reader));
            prop_assert_eq!(got, want);
        }
    }
}
