//! The entries of a tar stream: old, ustar, GNU and PAX headers, sparse files, with every part bounded.
//!
//! `tar::Header` decodes the fields of a block. The walk over the blocks is done here because extension records
//! must be bounded before they are read, and PAX sparse files must be understood.

use std::{
    io::{self, Read},
    time::SystemTime,
};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::{
    compress::read_error,
    fields::{bad_header, blank_is_zero, header_time, id, number, pax_records, pax_time},
};
use crate::ImageError;

const BLOCK: u64 = 512;
/// What one extension record may weigh. Extended attributes are at most 64 KiB each.
const MAX_EXTENSION: u64 = 1 << 20;
const MAX_SPARSE_PARTS: usize = 1 << 20;
/// What names and targets are cut to in messages.
const SHOWN: usize = 200;

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    File,
    Directory,
    Symlink,
    HardLink,
    Fifo,
    Char { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
}

/// One entry, its extension records applied.
#[derive(Debug)]
pub(crate) struct Entry {
    pub name: Vec<u8>,
    pub what: What,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: SystemTime,
    /// The file's length once unpacked.
    pub size: u64,
    /// For a sparse file: where its data goes, as offset and length.
    pub sparse: Option<Vec<(u64, u64)>>,
    pub xattrs: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// The name as a message may show it.
    pub fn shown(&self) -> String {
        shown(&self.name)
    }
}

/// Bytes from an archive as a message may show them.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(SHOWN).collect();
    format!("{text:?}")
}

/// Walks over a stream. After [`Entries::advance`], the entry's content is read from `self`.
pub(crate) struct Entries<R> {
    reader: R,
    /// Content of the current entry that has not been read.
    left: u64,
    padding: u64,
}

#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Vec<(String, Vec<u8>)>,
}

impl Extensions {
    fn pax(&self, key: &str) -> Option<&[u8]> {
        // The last record of a key counts (POSIX).
        self.pax.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_slice())
    }

    fn pax_number(&self, key: &str) -> Result<Option<u64>, ImageError> {
        self.pax(key).map(|value| number(value, key)).transpose()
    }
}

impl<R: Read> Entries<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0 }
    }

    /// The next entry, or `None` at the end of the archive.
    pub fn advance(&mut self) -> Result<Option<Entry>, ImageError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = blank_is_zero(&header.as_old().size, header.entry_size())?;
            match header.entry_type() {
                EntryType::GNULongName => extensions.long_name = Some(self.text(size)?),
                EntryType::GNULongLink => extensions.long_link = Some(self.text(size)?),
                EntryType::XHeader => {
                    let bytes = self.extension(size)?;
                    extensions.pax.extend(pax_records(&bytes)?);
                }
                // Git's archives have one; Docker ignores it as well.
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                _ => return self.entry(&header, size, extensions).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, size: u64, extensions: Extensions) -> Result<Entry, ImageError> {
        let stored = extensions.pax_number("size")?.unwrap_or(size);
        let name = match (extensions.pax("GNU.sparse.name"), extensions.pax("path"), &extensions.long_name) {
            (Some(name), _, _) | (None, Some(name), _) => name.to_vec(),
            (None, None, Some(name)) => name.clone(),
            (None, None, None) => header.path_bytes().into_owned(),
        };
        let link = match (extensions.pax("linkpath"), &extensions.long_link) {
            (Some(link), _) => link.to_vec(),
            (None, Some(link)) => link.clone(),
            (None, None) => header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default(),
        };
        let device = || -> Result<(u32, u32), ImageError> {
            let major = header.device_major().map_err(bad_header)?.unwrap_or(0);
            let minor = header.device_minor().map_err(bad_header)?.unwrap_or(0);
            Ok((major, minor))
        };
        let what = match header.entry_type() {
            // Before POSIX a directory was a file whose name ends in a slash.
            EntryType::Regular if name.ends_with(b"/") => What::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => What::File,
            EntryType::Directory => What::Directory,
            EntryType::Symlink => What::Symlink,
            EntryType::Link => What::HardLink,
            EntryType::Fifo => What::Fifo,
            EntryType::Char => device().map(|(major, minor)| What::Char { major, minor })?,
            EntryType::Block => device().map(|(major, minor)| What::Block { major, minor })?,
            other => {
                return Err(ImageError::unsupported(format!(
                    "archive entry {} has the unknown type {:#04x}",
                    shown(&name),
                    other.as_byte()
                )));
            }
        };
        let has_content = what == What::File;
        self.left = if has_content { stored } else { 0 };
        self.padding = padding(self.left);
        if !has_content && stored > 0 && what != What::HardLink && what != What::Symlink {
            // Some writers give directories and devices a size with no content; others have the content.
            self.left = if what == What::Directory { stored } else { 0 };
            self.padding = padding(self.left);
        }
        let mut entry = Entry {
            what,
            link,
            mode: u32::try_from(blank_is_zero(&header.as_old().mode, header.mode().map(u64::from))? & 0o7777)
                .unwrap_or(0),
            uid: id(extensions
                .pax_number("uid")?
                .map_or_else(|| blank_is_zero(&header.as_old().uid, header.uid()), Ok)?)?,
            gid: id(extensions
                .pax_number("gid")?
                .map_or_else(|| blank_is_zero(&header.as_old().gid, header.gid()), Ok)?)?,
            mtime: match extensions.pax("mtime") {
                Some(value) => pax_time(value)?,
                None => header_time(header)?,
            },
            size: if has_content { stored } else { 0 },
            sparse: None,
            xattrs: Vec::new(),
            name,
        };
        if header.entry_type() == EntryType::GNUSparse {
            self.gnu_sparse(header, &mut entry)?;
        } else if has_content {
            self.pax_sparse(&extensions, &mut entry)?;
        }
        for (key, value) in extensions.pax {
            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                entry.xattrs.push((name.to_owned(), value));
            }
        }
        Ok(entry)
    }

    fn gnu_sparse(&mut self, header: &Header, entry: &mut Entry) -> Result<(), ImageError> {
        let gnu =
            header.as_gnu().ok_or_else(|| ImageError::corrupt("sparse archive entry without its map"))?;
        let mut parts = Vec::new();
        let mut add = |part: &GnuSparseHeader| -> Result<(), ImageError> {
            if !part.is_empty() {
                let (offset, length) =
                    (part.offset().map_err(bad_header)?, part.length().map_err(bad_header)?);
                parts.push((offset, length));
            }
            Ok(())
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut more = gnu.is_extended();
        let mut blocks = 0;
        while more {
            blocks += 1;
            if blocks > MAX_SPARSE_PARTS / 21 {
                return Err(ImageError::corrupt("sparse archive entry with too large a map"));
            }
            let mut extension = GnuExtSparseHeader::new();
            self.reader.read_exact(extension.as_mut_bytes()).map_err(read_error)?;
            extension.sparse().iter().try_for_each(&mut add)?;
            more = extension.is_extended();
        }
        entry.size = gnu.real_size().map_err(bad_header)?;
        self.check_sparse(entry, parts)
    }

    fn pax_sparse(&mut self, extensions: &Extensions, entry: &mut Entry) -> Result<(), ImageError> {
        let Some(real) =
            extensions.pax_number("GNU.sparse.realsize")?.or(extensions.pax_number("GNU.sparse.size")?)
        else {
            return Ok(());
        };
        entry.size = real;
        let numbers = if extensions.pax("GNU.sparse.major") == Some(b"1") {
            self.sparse_map()?
        } else if let Some(map) = extensions.pax("GNU.sparse.map") {
            map.split(|byte| *byte == b',')
                .filter(|value| !value.is_empty())
                .map(|value| number(value, "GNU.sparse.map"))
                .collect::<Result<_, _>>()?
        } else {
            return Err(ImageError::unsupported(format!(
                "archive entry {} is sparse in a form that is not supported",
                entry.shown()
            )));
        };
        let parts = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        self.check_sparse(entry, parts)
    }

    /// PAX 1.0: the map stands before the data, as decimal lines, padded to whole blocks.
    fn sparse_map(&mut self) -> Result<Vec<u64>, ImageError> {
        let mut numbers = Vec::new();
        let mut expected = None;
        let mut digits = Vec::new();
        loop {
            let mut block = [0; BLOCK as usize];
            if self.left < BLOCK {
                return Err(ImageError::corrupt("sparse archive entry without its map"));
            }
            self.reader.read_exact(&mut block).map_err(read_error)?;
            self.left -= BLOCK;
            for byte in block {
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(ImageError::corrupt("sparse archive entry with a bad map"));
                    }
                    continue;
                }
                let value = number(&digits, "sparse map")?;
                digits.clear();
                match expected {
                    None if value > MAX_SPARSE_PARTS as u64 => {
                        return Err(ImageError::corrupt("sparse archive entry with too large a map"));
                    }
                    None => expected = Some(value * 2),
                    Some(_) => numbers.push(value),
                }
                if expected == Some(numbers.len() as u64) {
                    return Ok(numbers);
                }
            }
        }
    }

    fn check_sparse(&self, entry: &mut Entry, parts: Vec<(u64, u64)>) -> Result<(), ImageError> {
        let (mut end, mut stored) = (0u64, 0u64);
        for (offset, length) in &parts {
            let next = offset.checked_add(*length);
            let Some(next) = next.filter(|next| *offset >= end && *next <= entry.size) else {
                return Err(ImageError::corrupt(format!(
                    "archive entry {}: its sparse map contradicts itself",
                    entry.shown()
                )));
            };
            end = next;
            stored += length;
        }
        if stored != self.left {
            return Err(ImageError::corrupt(format!(
                "archive entry {}: its sparse map does not match its data",
                entry.shown()
            )));
        }
        entry.sparse = Some(parts);
        Ok(())
    }

    /// Passes over what was not read of the current entry.
    fn skip(&mut self) -> Result<(), ImageError> {
        let rest = self.left + self.padding;
        let skipped = io::copy(&mut (&mut self.reader).take(rest), &mut io::sink()).map_err(read_error)?;
        // An archive may lack the padding of its last entry, never content.
        if skipped < self.left {
            return Err(ImageError::corrupt("archive ends early: unexpected EOF"));
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, ImageError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.reader.read(&mut block[filled..]).map_err(read_error)? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(ImageError::corrupt("archive ends early: unexpected EOF")),
                count => filled += count,
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
        // Some old writers summed signed bytes.
        let signed: i32 =
            block[..148].iter().chain(&block[156..]).map(|byte| i32::from(byte.cast_signed())).sum();
        let said = header.cksum().unwrap_or(u32::MAX);
        if said != sum + 8 * 32 && i64::from(said) != i64::from(signed + 8 * 32) {
            return Err(ImageError::corrupt(
                "archive header checksum mismatch: not a tar archive, or a damaged one",
            ));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ImageError> {
        if size > MAX_EXTENSION {
            return Err(ImageError::corrupt(format!("archive extension record of {size} bytes")));
        }
        let mut bytes = Vec::new();
        (&mut self.reader).take(size).read_to_end(&mut bytes).map_err(read_error)?;
        if bytes.len() as u64 != size {
            return Err(ImageError::corrupt("archive ends early: unexpected EOF"));
        }
        self.padding = padding(size);
        Ok(bytes)
    }

    fn text(&mut self, size: u64) -> Result<Vec<u8>, ImageError> {
        let mut bytes = self.extension(size)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.truncate(end);
        Ok(bytes)
    }
}

/// The current entry's stored content.
impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.reader.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}
