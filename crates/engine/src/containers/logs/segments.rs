//! The files of a log: the live one, and those that were rotated, of which some are packed.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flate2::read::GzDecoder;
use pintle_runtime::{FileId, Origin};

/// More rotated files than this are not looked for.
const MOST_FILES: u32 = 1000;
/// A rotation takes a moment, longer if its process is kept from running. One that takes this long was broken off.
const LONGEST_ROTATION: Duration = Duration::from_secs(2);

/// One file of a log.
#[derive(Debug)]
pub(super) struct Segment {
    /// Of what it was made of, if it is packed.
    pub id: FileId,
    name: PathBuf,
    file: File,
    packed: bool,
}

impl Segment {
    /// A file that is not packed.
    pub fn plain(name: &Path) -> io::Result<Self> {
        let file = File::open(name)?;
        Ok(Self { id: FileId::of(&file.metadata()?), name: name.to_owned(), file, packed: false })
    }

    fn packed(name: PathBuf) -> io::Result<Self> {
        let file = File::open(&name)?;
        let header = GzDecoder::new(&file);
        let origin = header.header().and_then(|header| Origin::parse(header.extra()?));
        let id = match origin.and_then(|origin| origin.file) {
            Some(id) => id,
            None => FileId::of(&file.metadata()?),
        };
        Ok(Self { id, name, file, packed: true })
    }

    /// How many bytes of log it has.
    pub fn length(&self) -> io::Result<u64> {
        let length = self.file.metadata()?.len();
        if !self.packed || length < 4 {
            return Ok(length);
        }
        let mut end = [0; 4];
        self.file.read_exact_at(&mut end, length - 4)?;
        Ok(u64::from(u32::from_le_bytes(end)))
    }

    /// Its bytes. Those of a packed file are unpacked first, into a file without a name.
    pub fn content(&mut self) -> io::Result<&mut File> {
        if self.packed {
            self.file.seek(SeekFrom::Start(0))?;
            let beside = self.name.parent().unwrap_or(Path::new("/"));
            let mut plain = tempfile::tempfile_in(beside)?;
            match io::copy(&mut GzDecoder::new(&self.file), &mut plain) {
                Ok(_) => {}
                // What comes before the damage can be read all the same.
                Err(error) if is_damage(&error) => {
                    tracing::warn!(file = %self.name.display(), %error, "a packed log is damaged");
                }
                Err(error) => return Err(error),
            }
            plain.seek(SeekFrom::Start(0))?;
            (self.file, self.packed) = (plain, false);
        }
        Ok(&mut self.file)
    }

    /// Whether the name is still this file's.
    fn is_in_place(&self) -> io::Result<bool> {
        match std::fs::metadata(&self.name) {
            Ok(now) => Ok(FileId::of(&self.file.metadata()?).is(&FileId::of(&now))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// The live file and the rotated ones, newest first. Waits for the end of a rotation that is under way.
pub(super) fn open_all(path: &Path) -> io::Result<Vec<Segment>> {
    let begun = Instant::now();
    loop {
        let (segments, settled) = look(path)?;
        if settled || begun.elapsed() > LONGEST_ROTATION {
            return Ok(segments);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The files that have their numbers now, and whether they all had them at one and the same moment.
///
/// A rotation renames the oldest file first, so it is seen as a number that is missing while the next one is there;
/// and since no file gets a lower number again, one that still has its number has had it all the while. A file that
/// was packed has lost its name.
pub(super) fn look(path: &Path) -> io::Result<(Vec<Segment>, bool)> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut settled = true;
    for number in 0..MOST_FILES {
        match open(path, number) {
            Ok(segment) => segments.push(segment),
            // A live file that is not there yet is found later, by following.
            Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let next = numbered(path, number + 1);
                if !next.exists() && !packed(&next).exists() {
                    break;
                }
                settled = false;
            }
            Err(error) => return Err(error),
        }
    }
    for segment in &segments {
        settled &= segment.is_in_place()?;
    }
    Ok((segments, settled))
}

/// The file with this number, packed or not.
fn open(path: &Path, number: u32) -> io::Result<Segment> {
    let name = numbered(path, number);
    match Segment::plain(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && number > 0 => Segment::packed(packed(&name)),
        opened => opened,
    }
}

/// The name of a rotated file, or of the live one for 0.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 { path.to_owned() } else { with(path, &format!(".{number}")) }
}

/// What a rotated file is called when it is packed.
pub(super) fn packed(plain: &Path) -> PathBuf {
    with(plain, ".gz")
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
