//! Which file is which among those of a log that is rotated: files change their names, and packed ones their numbers.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One file of a log, whatever it is called now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// Its file system.
    pub device: u64,
    /// Its number there. One that was removed is given to the next file.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970, where the file system knows.
    #[serde(default)]
    pub born: Option<u64>,
}

impl FileId {
    /// Of a file that is no packed one.
    pub fn of(facts: &Metadata) -> Self {
        let born = facts.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|since| u64::try_from(since.as_nanos()).ok());
        Self { device: facts.dev(), inode: facts.ino(), born }
    }

    /// Whether they are one file, as far as is known.
    pub fn is(&self, other: &Self) -> bool {
        let both = self.born.zip(other.born);
        (self.device, self.inode) == (other.device, other.inode) && both.is_none_or(|(one, two)| one == two)
    }
}

/// What the header of a packed file says of the one that it was made of, in JSON: Docker's `lastTime`, and which it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// When its last line was written.
    #[serde(rename = "lastTime")]
    pub last_time: DateTime<Utc>,
    /// Missing in files of Docker's.
    #[serde(flatten)]
    pub file: Option<FileId>,
}

impl Origin {
    /// Of a file that is to be packed.
    pub fn of(facts: &Metadata) -> Self {
        let nanos = u32::try_from(facts.mtime_nsec()).unwrap_or_default();
        let last_time = DateTime::from_timestamp(facts.mtime(), nanos).unwrap_or_default();
        Self { last_time, file: Some(FileId::of(facts)) }
    }

    /// Reads the `extra` field of a gzip header.
    pub fn parse(extra: &[u8]) -> Option<Self> {
        serde_json::from_slice(extra).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_header_is_read_and_ours_says_more() {
        let docker = Origin::parse(br#"{"lastTime":"2026-01-02T03:04:05.000000006Z"}"#).unwrap();
        assert_eq!((docker.last_time.timestamp_subsec_nanos(), docker.file), (6, None));
        let file = tempfile::tempfile().unwrap();
        let ours = Origin::of(&file.metadata().unwrap());
        let read = Origin::parse(&serde_json::to_vec(&ours).unwrap()).unwrap();
        assert_eq!(read, ours);
        assert!(read.file.unwrap().is(&FileId::of(&file.metadata().unwrap())));
    }

    #[test]
    fn a_number_that_was_given_again_is_another_file() {
        let one = FileId { device: 1, inode: 2, born: Some(3) };
        assert!(!one.is(&FileId { born: Some(4), ..one }));
        assert!(one.is(&FileId { born: None, ..one }), "noted by an engine that did not know");
    }
}
