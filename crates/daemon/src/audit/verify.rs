//! Whether a trail is as it was written.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use super::trail::{self, NOTHING, numbered};

/// More files are not looked for.
const MOST_FILES: u32 = 10_000;

/// What a sound trail says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Files that were read.
    pub files: usize,
    /// Lines in them.
    pub lines: u64,
    /// The number of the first; above 1 if older files were rotated away.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
    /// The hash of the last line, to be kept somewhere else: with it everything before is known.
    pub hash: String,
}

/// The first place where a trail is not what it was.
#[derive(Debug)]
pub struct Broken {
    /// The file.
    pub file: PathBuf,
    /// The line in it, from 1; 0 for the file as such.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        write!(f, ": {}", self.why)
    }
}

impl std::error::Error for Broken {}

/// Reads a trail from its oldest file to its newest. With `known` it also has to contain a line of that hash.
///
/// # Errors
/// The first line that was changed, left out or put in, or what else is missing.
pub fn verify(path: &Path, known: Option<&str>) -> Result<Sound, Broken> {
    let at = |file: &Path, line: u64, why: String| Broken { file: file.to_owned(), line, why };
    let mut files: Vec<PathBuf> = Vec::new();
    for number in 0..MOST_FILES {
        let file = numbered(path, number);
        if file.exists() {
            files.push(file);
        } else if number > 0 {
            break;
        }
    }
    if files.is_empty() {
        return Err(at(path, 0, "there is no such trail".to_owned()));
    }
    let mut sound = Sound { files: files.len(), lines: 0, first: 0, last: 0, hash: NOTHING.to_owned() };
    let mut met = known.is_none();
    for file in files.iter().rev() {
        let unreadable =
            |line: u64| move |error: io::Error| at(file, line, format!("cannot be read: {error}"));
        let reader = BufReader::new(File::open(file).map_err(unreadable(0))?);
        let mut number = 0;
        for line in reader.lines() {
            number += 1;
            let line = line.map_err(unreadable(number))?;
            let wrong = |why: String| at(file, number, why);
            let (seq, hash, prev) = trail::unseal(&line).map_err(|why| wrong(why.to_owned()))?;
            if sound.lines == 0 {
                sound.first = seq;
                if seq == 1 && prev != NOTHING {
                    return Err(wrong("it says that it is the first, and names one before it".to_owned()));
                }
            } else if prev != sound.hash {
                return Err(wrong(format!(
                    "the line before it, of number {}, is not the one that it was written after",
                    sound.last
                )));
            } else if seq <= sound.last {
                return Err(wrong(format!("it has number {seq} after number {}", sound.last)));
            } else if seq != sound.last + 1 {
                return Err(wrong(format!("lines {} to {} are missing", sound.last + 1, seq - 1)));
            }
            met |= known == Some(hash.as_str());
            (sound.last, sound.hash) = (seq, hash);
            sound.lines += 1;
        }
    }
    if let Some(noted) = trail::noted(path).filter(|noted| noted.seq > sound.last) {
        let (from, to) = (sound.last + 1, noted.seq);
        return Err(at(path, 0, format!("the end was cut off: lines {from} to {to} are missing")));
    }
    if !met {
        return Err(at(path, 0, format!("it has no line with the hash {}", known.unwrap_or_default())));
    }
    Ok(sound)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{super::trail::Trail, *};

    fn written(dir: &Path, count: u32, max_size: u64) -> PathBuf {
        let path = dir.join("trail");
        let (mut trail, _) = Trail::open(&path, max_size, 50).unwrap();
        for number in 0..count {
            let fields = [("n".to_owned(), Value::from(number))].into_iter().collect();
            trail.append([fields]).unwrap();
        }
        path
    }

    #[test]
    fn a_trail_of_many_files_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), 20, 300);
        let sound = verify(&path, None).unwrap();
        assert!(sound.files > 3 && sound.lines == 20 && (sound.first, sound.last) == (1, 20), "{sound:?}");
        verify(&path, Some(&sound.hash)).unwrap();
        assert!(verify(&path, Some(NOTHING)).unwrap_err().why.contains("no line with the hash"));
        // The oldest may be gone, none in between.
        std::fs::remove_file(numbered(&path, u32::try_from(sound.files).unwrap() - 1)).unwrap();
        assert!(verify(&path, None).unwrap().first > 1);
        std::fs::write(numbered(&path, 2), "").unwrap();
        assert!(verify(&path, None).unwrap_err().why.contains("not the one that it was written after"));
    }

    #[test]
    fn whatever_is_done_to_it_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), 9, 1 << 20);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let broken = |lines: &[&str]| {
            std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
            let broken = verify(&path, None).unwrap_err();
            (broken.line, broken.why)
        };
        for gone in 1..8 {
            let rest = [&lines[..gone], &lines[gone + 1..]].concat();
            assert_eq!(broken(&rest).0, gone as u64 + 1, "without line {gone}");
        }
        let changed = lines[4].replace("\"n\":4", "\"n\":5");
        let with = [&lines[..4], &[changed.as_str()], &lines[5..]].concat();
        assert_eq!(broken(&with), (5, "it was changed: its hash is of something else".to_owned()));
        let twice = [&lines[..5], &lines[4..]].concat();
        assert_eq!(broken(&twice).0, 6);
        assert_eq!(broken(&lines[..7]), (0, "the end was cut off: lines 8 to 9 are missing".to_owned()));
        // Somebody who seals lines again cannot meet a hash that is kept elsewhere.
        let (forged, _) = trail::seal(1, NOTHING, serde_json::Map::new());
        std::fs::write(&path, format!("{forged}\n")).unwrap();
        std::fs::remove_file(dir.path().join("trail.head")).unwrap();
        verify(&path, None).unwrap();
        assert!(verify(&path, trail::unseal(lines[8]).ok().map(|(_, hash, _)| hash).as_deref()).is_err());
    }
}
