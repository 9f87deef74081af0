//! The files of a trail: JSON lines, each of which names the hash of the line before it.
//!
//! ```text
//! {"seq":7,"time":…,…,"prev":"<hash of line 6>","hash":"<SHA-256 of this line without this field>"}
//! ```
//!
//! `FILE` is written, `FILE.1` is the youngest of those that are full. `FILE.head` says how far the trail was when it was last
//! synced, so that an end that was cut off is missed.

use std::{
    ffi::OsString,
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// No line is longer: bodies are bounded.
const LONGEST: u64 = 4 << 20;
/// What the first line of a trail names.
pub(super) const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The end of a trail, to which lines are added.
#[derive(Debug)]
pub(super) struct Trail {
    path: PathBuf,
    max_size: u64,
    max_files: u32,
    file: File,
    head: File,
    size: u64,
    last: Last,
}

/// The last line of a trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Last {
    pub seq: u64,
    pub hash: String,
}

impl Last {
    fn none() -> Self {
        Self { seq: 0, hash: NOTHING.to_owned() }
    }
}

/// What was found when a trail was opened again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes of a line that was not written whole, and were taken away.
    pub torn: u64,
    /// How far the trail had been, if it is no longer that far.
    pub had: Option<u64>,
}

/// `FILE.N`; `FILE` itself for 0.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 { path.to_owned() } else { with(path, &number.to_string()) }
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// How far the trail was when it was last synced.
pub(super) fn noted(path: &Path) -> Option<Last> {
    let text = std::fs::read_to_string(with(path, "head")).ok()?;
    let (seq, hash) = text.trim().split_once(' ')?;
    Some(Last { seq: seq.parse().ok()?, hash: hash.to_owned() })
}

/// A line with its hash, and the hash.
pub(super) fn seal(seq: u64, prev: &str, fields: Map<String, Value>) -> (String, String) {
    let mut map = Map::new();
    map.insert("seq".to_owned(), seq.into());
    map.extend(fields);
    map.insert("prev".to_owned(), prev.into());
    let mut line = Value::Object(map).to_string();
    let hash = hex::encode(Sha256::digest(line.as_bytes()));
    line.pop();
    line.push_str(&format!(",\"hash\":\"{hash}\"}}"));
    (line, hash)
}

/// The number, the hash and the hash before it of a line that is what its hash says.
pub(super) fn unseal(line: &str) -> Result<(u64, String, String), &'static str> {
    const NO: &str = "it is not a line of an audit trail";
    let (body, hash) = line.rsplit_once(",\"hash\":\"").ok_or(NO)?;
    let hash = hash.strip_suffix("\"}").ok_or(NO)?;
    let body = format!("{body}}}");
    let fields: Map<String, Value> = serde_json::from_str(&body).map_err(|_| NO)?;
    let seq = fields.get("seq").and_then(Value::as_u64).ok_or(NO)?;
    let prev = fields.get("prev").and_then(Value::as_str).ok_or(NO)?;
    if hex::encode(Sha256::digest(body.as_bytes())) != hash {
        return Err("it was changed: its hash is of something else");
    }
    Ok((seq, hash.to_owned(), prev.to_owned()))
}

impl Trail {
    /// Opens the trail, or begins one, and takes away what was written of a line that has no end.
    pub(super) fn open(path: &Path, max_size: u64, max_files: u32) -> io::Result<(Self, Found)> {
        if let Some(dir) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let file = private(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another engine writes it")),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        let head = private(&with(path, "head"))?;
        let mut found = Found::default();
        let mut trail =
            Self { path: path.to_owned(), max_size, max_files, file, head, size: 0, last: Last::none() };
        let length = trail.file.metadata()?.len();
        trail.size = trail.whole(length)?;
        found.torn = length - trail.size;
        if found.torn > 0 {
            trail.file.set_len(trail.size)?;
        }
        // The newest line is in an older file if this one was just begun.
        for number in 0..=max_files {
            let mut older = match File::open(numbered(path, number)) {
                Ok(older) => older,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Some(last) = last_of(&mut older)? {
                trail.last = last;
                break;
            }
        }
        found.had = noted(path).map(|noted| noted.seq).filter(|seq| *seq > trail.last.seq);
        if let Some(seq) = found.had {
            // Numbers are never given twice.
            trail.last.seq = seq;
        }
        Ok((trail, found))
    }

    /// How much of so many bytes is whole lines.
    fn whole(&mut self, length: u64) -> io::Result<u64> {
        let from = length.saturating_sub(LONGEST);
        let mut end = Vec::new();
        self.file.seek(SeekFrom::Start(from))?;
        (&self.file).take(length - from).read_to_end(&mut end)?;
        let whole = end.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at as u64 + 1);
        Ok(from + whole)
    }

    /// Adds lines; all of them are on the disk, or none is.
    pub(super) fn append(&mut self, batch: impl IntoIterator<Item = Map<String, Value>>) -> io::Result<()> {
        if self.size > self.max_size {
            self.rotate()?;
        }
        let mut last = self.last.clone();
        let mut bytes = Vec::new();
        for fields in batch {
            last.seq += 1;
            let (line, hash) = seal(last.seq, &last.hash, fields);
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
            last.hash = hash;
        }
        let written = self.file.write_all_at(&bytes, self.size).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What was written of it must not be there when there is room again.
            let _ = self.file.set_len(self.size);
            return Err(error);
        }
        self.size += bytes.len() as u64;
        self.last = last;
        // Not synced: after a power cut it may be behind, and says nothing then.
        let head = format!("{:020} {}\n", self.last.seq, self.last.hash);
        self.head.write_all_at(head.as_bytes(), 0)
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (0..self.max_files).rev() {
            match std::fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let file = private(&self.path)?;
        // Nobody else can have it: whoever opens a trail has the lock of the old file first.
        let _ = file.try_lock();
        (self.file, self.size) = (file, 0);
        Ok(())
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn last_of(file: &mut File) -> io::Result<Option<Last>> {
    let length = file.metadata()?.len();
    let mut end = String::new();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    end.push_str(&String::from_utf8_lossy(&bytes));
    let Some(line) = end.lines().next_back() else { return Ok(None) };
    match unseal(line) {
        Ok((seq, hash, _)) => Ok(Some(Last { seq, hash })),
        // What follows is chained to what is there, broken as it is: `verify` says so.
        Err(_) => Ok(Some(Last { seq: 0, hash: hex::encode(Sha256::digest(line.as_bytes())) })),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn fields(text: &str) -> Map<String, Value> {
        [("text".to_owned(), text.into())].into_iter().collect()
    }

    #[test]
    fn a_line_is_what_its_hash_says() {
        let (line, hash) = seal(3, NOTHING, fields("a \"quoted\" \u{1f600},\"hash\":\"x\"}"));
        assert_eq!(unseal(&line), Ok((3, hash, NOTHING.to_owned())));
        assert!(unseal(&line.replace("quoted", "Quoted")).unwrap_err().contains("changed"));
        for nonsense in ["", "{}", "{\"hash\":\"\"}", "[1,\"hash\":\"\"}", &line[1..]] {
            assert!(unseal(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_trail_goes_on_where_it_was_and_without_half_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/trail");
        let (mut trail, found) = Trail::open(&path, 1 << 20, 3).unwrap();
        assert_eq!(found, Found::default());
        assert!(Trail::open(&path, 1 << 20, 3).unwrap_err().to_string().contains("another engine"));
        trail.append(["a", "b"].map(fields)).unwrap();
        drop(trail);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":3,\"ti").unwrap();
        let (mut trail, found) = Trail::open(&path, 1 << 20, 3).unwrap();
        assert_eq!(found, Found { torn: 12, had: None });
        trail.append([fields("c")]).unwrap();
        let seqs: Vec<u64> =
            std::fs::read_to_string(&path).unwrap().lines().map(|line| unseal(line).unwrap().0).collect();
        assert_eq!(seqs, [1, 2, 3]);
        // An end that is gone is missed, and its numbers are not given again.
        drop(trail);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text[..text.len() - 1].rfind('\n').unwrap() + 1]).unwrap();
        let (trail, found) = Trail::open(&path, 1 << 20, 3).unwrap();
        assert_eq!((found.had, trail.last.seq), (Some(3), 3));
    }
}
