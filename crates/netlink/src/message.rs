//! The bytes of rtnetlink: a header, a fixed part, then attributes, each padded to four bytes. Sources: the kernel's
//! `include/uapi/linux/{netlink,rtnetlink}.h`, RFC 3549.

pub(crate) const REQUEST: u16 = 0x1;
pub(crate) const ACK: u16 = 0x4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
/// The upper two bits of an attribute's number are flags.
const KIND_MASK: u16 = 0x3fff;

/// A request that is being written.
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of `kind` with more `flags` than that it is one, and its fixed part.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((REQUEST | flags).to_ne_bytes());
        bytes.extend([0; 8]);
        let mut message = Self { bytes };
        message.fixed(fixed);
        message
    }

    /// A structure without a header of its own.
    pub(crate) fn fixed(&mut self, part: &[u8]) {
        self.bytes.extend(part);
        self.pad();
    }

    pub(crate) fn bytes(&mut self, kind: u16, payload: &[u8]) {
        // Only constant-size values and names of at most 256 bytes come here.
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(payload);
        self.pad();
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    pub(crate) fn u16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        let mut payload = text.as_bytes().to_vec();
        payload.push(0);
        self.bytes(kind, &payload);
    }

    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX).to_ne_bytes();
        let kind = (kind | NESTED).to_ne_bytes();
        if let Some(head) = self.bytes.get_mut(start..start + 4) {
            head.copy_from_slice(&[length[0], length[1], kind[0], kind[1]]);
        }
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The whole, with its length and this number.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        if let Some(head) = self.bytes.get_mut(..4) {
            head.copy_from_slice(&length.to_ne_bytes());
        }
        if let Some(place) = self.bytes.get_mut(8..12) {
            place.copy_from_slice(&sequence.to_ne_bytes());
        }
        self.bytes
    }
}

/// One message of an answer.
pub(crate) struct Reply<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) body: &'a [u8],
}

/// The messages in a datagram; ends at the first that is cut short.
pub(crate) fn replies(mut datagram: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(read_u32(datagram, 0)?).ok().filter(|length| *length >= HEADER)?;
        let reply = Reply {
            kind: read_u16(datagram, 4)?,
            flags: read_u16(datagram, 6)?,
            sequence: read_u32(datagram, 8)?,
            body: datagram.get(HEADER..length)?,
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(reply)
    })
}

/// The attributes of a list; ends at the first that is cut short.
pub(crate) fn attributes(mut list: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(list, 0)?);
        let kind = read_u16(list, 2)? & KIND_MASK;
        let payload = list.get(4..length)?;
        list = list.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

pub(crate) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

pub(crate) fn read_i32(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..at + 4)?.try_into().ok().map(i32::from_ne_bytes)
}

/// Text up to the first zero byte.
pub(crate) fn read_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut message = Message::new(16, ACK, &[1; 16]);
        message.text(3, "eth0");
        message.nest(18, |info| {
            info.text(1, "veth");
            info.nest(2, |data| data.u32(7, 9));
        });
        let bytes = message.finish(42);
        let reply = replies(&bytes).next().unwrap();
        assert_eq!((reply.kind, reply.flags, reply.sequence), (16, REQUEST | ACK, 42));
        let list: Vec<_> = attributes(&reply.body[16..]).collect();
        assert_eq!(list[0].0, 3);
        assert_eq!(read_text(list[0].1), "eth0");
        assert_eq!(list[1].0, 18);
        let inner: Vec<_> = attributes(list[1].1).collect();
        assert_eq!(read_text(inner[0].1), "veth");
        assert_eq!(attributes(inner[1].1).next(), Some((7, &9u32.to_ne_bytes()[..])));
        assert_eq!(replies(&bytes).count(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            for reply in replies(&bytes) {
                let _ = attributes(reply.body).count();
            }
            let _ = attributes(&bytes).count();
        }
    }
}
