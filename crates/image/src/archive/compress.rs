//! Compression, told by the first bytes and undone in this process, on a thread of its own.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use sha2::{Digest as _, Sha256};

use super::Limits;
use crate::{Digest, ImageError};

/// How some bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// Tells it by the first bytes.
    pub fn sniff(bytes: &[u8]) -> Result<Self, ImageError> {
        match bytes {
            [0x1f, 0x8b, 0x08, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // A skippable frame may come first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => Err(ImageError::unsupported("bzip2 archives are not supported")),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
                Err(ImageError::unsupported("xz archives are not supported"))
            }
            _ => Ok(Self::None),
        }
    }
}

/// The whole stream as it came out.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Its digest: a layer's `diff_id`.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
}

const CHUNK: usize = 256 << 10;
const CHUNKS_AHEAD: usize = 8;
/// Small archives of zeros are common and harmless.
const RATIO_COUNTS_FROM: u64 = 64 << 20;

type Chunk = Result<Vec<u8>, io::Error>;

/// Runs `consume` over the inflated stream while another thread inflates and hashes it. The rest of the
/// stream is read to its end after `consume` is done, so that the digest is of all of it.
pub(crate) fn inflate<T>(
    reader: impl Read + Send,
    limits: &Limits,
    consume: impl FnOnce(&mut dyn Read) -> Result<T, ImageError>,
) -> Result<(T, Stream), ImageError> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(CHUNKS_AHEAD);
        let worker = thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, move || produce(reader, limits, &sender))
            .map_err(|error| ImageError::internal(format!("starting a thread: {error}")))?;
        let mut incoming = Incoming { receiver, chunk: Vec::new(), at: 0 };
        let result = consume(&mut incoming)
            .and_then(|value| io::copy(&mut incoming, &mut io::sink()).map(|_| value).map_err(read_error));
        // Closing the channel ends the other thread if this one failed first.
        drop(incoming);
        let produced = worker.join().map_err(|_| ImageError::internal("the inflating thread panicked"))?;
        Ok((result?, produced?))
    })
}

/// A failure to read an archive, with the reason that the inflating thread gave.
pub(crate) fn read_error(error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ImageError::corrupt("archive ends early: unexpected EOF"),
        _ => ImageError::corrupt(format!("archive cannot be read: {error}")),
    }
}

fn produce(reader: impl Read, limits: &Limits, sender: &SyncSender<Chunk>) -> Result<Stream, ImageError> {
    let mut reader = BufReader::with_capacity(CHUNK, Counted { inner: reader, count: 0 });
    let fail = |error: io::Error| {
        let copy = io::Error::new(error.kind(), error.to_string());
        // The consumer may have gone already; its own error is then the one that counts.
        let _ = sender.send(Err(copy));
        read_error(error)
    };
    let head = reader.fill_buf().map_err(fail)?;
    match Compression::sniff(head)? {
        Compression::None => pump(reader, |reader| reader.get_ref().count, limits, sender),
        Compression::Gzip => pump(
            flate2::bufread::MultiGzDecoder::new(reader),
            |reader| reader.get_ref().get_ref().count,
            limits,
            sender,
        ),
        Compression::Zstd => pump(
            zstd::Decoder::with_buffer(reader).map_err(fail)?,
            |reader| reader.get_ref().get_ref().count,
            limits,
            sender,
        ),
    }
}

fn pump<R: Read>(
    mut reader: R,
    packed: impl Fn(&R) -> u64,
    limits: &Limits,
    sender: &SyncSender<Chunk>,
) -> Result<Stream, ImageError> {
    let mut hasher = Sha256::new();
    let mut size = 0u64;
    loop {
        let mut chunk = vec![0; CHUNK];
        let mut filled = 0;
        let failure = loop {
            match reader.read(&mut chunk[filled..]) {
                Ok(0) => break None,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
            if filled == chunk.len() {
                break None;
            }
        };
        chunk.truncate(filled);
        hasher.update(&chunk);
        size += filled as u64;
        let refused = if size > limits.max_bytes {
            Some(format!("archive unpacks to more than {} bytes", limits.max_bytes))
        } else if size > RATIO_COUNTS_FROM && size / packed(&reader).max(1) > limits.max_ratio {
            Some(format!("archive unpacks to more than {} times its size", limits.max_ratio))
        } else {
            None
        };
        if let Some(error) = failure.or(refused.map(io::Error::other)) {
            let copy = io::Error::new(error.kind(), error.to_string());
            let _ = sender.send(Ok(chunk)).and_then(|()| sender.send(Err(copy)));
            return Err(read_error(error));
        }
        if filled == 0 || sender.send(Ok(chunk)).is_err() {
            return Ok(Stream { digest: Digest::from_raw(&hasher.finalize()), size });
        }
    }
}

struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

struct Incoming {
    receiver: Receiver<Chunk>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            match self.receiver.recv() {
                Ok(chunk) => (self.chunk, self.at) = (chunk?, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
