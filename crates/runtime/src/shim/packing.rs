//! A rotated log, packed with gzip a piece at a time: the shim has one thread, and the container's output does not wait.
//!
//! The packed file has its name only when it is whole, and the other goes after that: a reader finds one of them always.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

use crate::rotated::Origin;

/// What is packed at once: less than a millisecond.
const PIECE: usize = 64 * 1024;

/// A file that is being packed.
pub(super) struct Packing {
    plain: PathBuf,
    from: File,
    to: GzEncoder<File>,
}

impl Packing {
    /// Begins with a file that nobody writes any more; `None` if it is not there.
    pub(super) fn begin(plain: PathBuf) -> io::Result<Option<Self>> {
        let from = match File::open(&plain) {
            Ok(from) => from,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let origin = serde_json::to_vec(&Origin::of(&from.metadata()?))?;
        let mut options = OpenOptions::new();
        let to = options.create(true).write(true).truncate(true).mode(0o640).open(unfinished(&plain))?;
        let to = GzBuilder::new().extra(origin).write(to, Compression::fast());
        Ok(Some(Self { plain, from, to }))
    }

    /// Packs the next piece; `None` when all is done. After an error the file stays as it is.
    pub(super) fn step(mut self) -> io::Result<Option<Self>> {
        match self.piece() {
            Ok(true) => Ok(Some(self)),
            Ok(false) => self.finish().map(|()| None),
            Err(error) => {
                let _ = fs::remove_file(unfinished(&self.plain));
                Err(error)
            }
        }
    }

    fn piece(&mut self) -> io::Result<bool> {
        let mut buffer = [0; PIECE];
        let count = self.from.read(&mut buffer)?;
        self.to.write_all(buffer.get(..count).unwrap_or_default())?;
        if count == 0 {
            self.to.try_finish()?;
        }
        Ok(count > 0)
    }

    fn finish(self) -> io::Result<()> {
        fs::rename(unfinished(&self.plain), packed(&self.plain))?;
        fs::remove_file(&self.plain)
    }
}

fn unfinished(plain: &Path) -> PathBuf {
    with(plain, ".gz.new")
}

/// What a file is called when it is packed.
pub(super) fn packed(plain: &Path) -> PathBuf {
    with(plain, ".gz")
}

fn with(plain: &Path, ending: &str) -> PathBuf {
    let mut name = plain.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("log.1");
        let text: Vec<u8> = (0..40_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        fs::write(&plain, &text).unwrap();
        let origin = Origin::of(&fs::metadata(&plain).unwrap());
        let mut packing = Packing::begin(plain.clone()).unwrap();
        while let Some(more) = packing {
            assert!(plain.exists() && !packed(&plain).exists());
            packing = more.step().unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the packed file alone is left");
        let mut read = flate2::read::GzDecoder::new(File::open(packed(&plain)).unwrap());
        assert_eq!(read.header().and_then(|header| Origin::parse(header.extra()?)), Some(origin));
        let mut again = Vec::new();
        read.read_to_end(&mut again).unwrap();
        assert!(again == text);
        assert!(Packing::begin(plain).unwrap().is_none(), "there is nothing left to pack");
    }
}
