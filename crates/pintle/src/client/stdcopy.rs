//! Docker's framing of two output streams on one connection: type, three zeros, big-endian length, data.

use std::io;

use bytes::{Buf, Bytes, BytesMut};

/// The most that one frame may hold. Engines send 16 to 32 KiB.
const MAX_FRAME: usize = 16 << 20;

/// A piece of output.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// Standard output.
    Out(Bytes),
    /// Standard error.
    Err(Bytes),
    /// The engine's own complaint about the stream.
    System(Bytes),
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame. A frame of an unknown type or of absurd length is an error.
    pub fn next(&mut self) -> io::Result<Option<Frame>> {
        let Some((header, _)) = self.buffer.split_first_chunk::<8>() else { return Ok(None) };
        let [kind, _, _, _, length @ ..] = *header;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME || kind > 3 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "unrecognized stream from the engine"));
        }
        if self.buffer.len() < 8 + length {
            return Ok(None);
        }
        self.buffer.advance(8);
        let data = self.buffer.split_to(length).freeze();
        Ok(Some(match kind {
            2 => Frame::Err(data),
            3 => Frame::System(data),
            _ => Frame::Out(data),
        }))
    }

    /// Whether the stream ended between frames.
    #[cfg(test)]
    pub fn is_clean(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the bytes are cut, the frames come out whole and in order.
        #[test]
        fn cuts_do_not_matter(
            frames in prop::collection::vec((1u8..=2, prop::collection::vec(any::<u8>(), 0..40)), 0..10),
            cut in 1usize..20,
        ) {
            let mut bytes = Vec::new();
            for (kind, data) in &frames {
                bytes.extend([*kind, 0, 0, 0]);
                bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
                bytes.extend(data);
            }
            let mut reader = Frames::default();
            let mut got = Vec::new();
            for piece in bytes.chunks(cut) {
                reader.push(piece);
                while let Some(frame) = reader.next().unwrap() {
                    got.push(match frame {
                        Frame::Out(data) => (1, data.to_vec()),
                        Frame::Err(data) => (2, data.to_vec()),
                        Frame::System(data) => (3, data.to_vec()),
                    });
                }
            }
            prop_assert!(reader.is_clean());
            prop_assert_eq!(got, frames);
        }
    }

    #[test]
    fn nonsense_is_an_error_and_not_a_wait() {
        let mut reader = Frames::default();
        reader.push(b"plain text, no frames");
        assert!(reader.next().is_err());
    }
}
