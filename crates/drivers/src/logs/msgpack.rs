//! As much of `MessagePack` as the forward protocol needs.

use pintle_contract::DriverError;

/// Appends the head of an array.
pub(super) fn array(out: &mut Vec<u8>, length: u8) {
    match length {
        0..=15 => out.push(0x90 | length),
        _ => out.extend_from_slice(&[0xdc, 0, length]),
    }
}

/// Appends the head of a map.
pub(super) fn map(out: &mut Vec<u8>, length: usize) {
    match u16::try_from(length) {
        Ok(short @ 0..=15) => out.push(0x80 | short.to_be_bytes()[1]),
        Ok(short) => {
            out.push(0xde);
            out.extend_from_slice(&short.to_be_bytes());
        }
        Err(_) => {
            out.push(0xdf);
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

/// Appends a string. The bytes are sent as they are: receivers take what is no UTF-8.
pub(super) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        length @ 0..=31 => out.push(0xa0 | u8::try_from(length).unwrap_or_default()),
        length => sized(out, [0xd9, 0xda, 0xdb], length),
    }
    out.extend_from_slice(bytes);
}

/// Appends bytes.
pub(super) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    sized(out, [0xc4, 0xc5, 0xc6], bytes.len());
    out.extend_from_slice(bytes);
}

fn sized(out: &mut Vec<u8>, marks: [u8; 3], length: usize) {
    if let Ok(length) = u8::try_from(length) {
        out.extend_from_slice(&[marks[0], length]);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(marks[1]);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(marks[2]);
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
}

/// Appends a number.
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    match u32::try_from(number) {
        Ok(small @ 0..=127) => out.push(small.to_be_bytes()[3]),
        Ok(middle) => {
            out.push(0xce);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        Err(_) => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Nil,
    Flag(bool),
    Number(i64),
    /// A string, or bytes.
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// The value of a map's key.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(name, _)| name.bytes() == Some(key.as_bytes())).map(|(_, value)| value)
    }

    /// What a string or bytes hold.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The elements of an array.
    pub(super) fn items(&self) -> &[Value] {
        if let Self::Array(items) = self { items } else { &[] }
    }
}

/// Reads one value and says how long it is; `None` if its end is not there yet.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Value, usize)>, DriverError> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.value(0) {
        Ok(value) => Ok(Some((value, reader.at))),
        Err(Stop::More) => Ok(None),
        Err(Stop::Nonsense) => Err(DriverError::internal("what it answers is not the forward protocol")),
    }
}

enum Stop {
    More,
    Nonsense,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], Stop> {
        // Nobody who answers says more than this.
        if count > 1 << 20 {
            return Err(Stop::Nonsense);
        }
        let taken = self.bytes.get(self.at..self.at + count).ok_or(Stop::More)?;
        self.at += count;
        Ok(taken)
    }

    fn unsigned(&mut self, count: usize) -> Result<usize, Stop> {
        let taken = self.take(count)?;
        Ok(taken.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn text(&mut self, length: usize) -> Result<Value, Stop> {
        Ok(Value::Bytes(self.take(length)?.to_vec()))
    }

    fn array(&mut self, length: usize, depth: u8) -> Result<Value, Stop> {
        (0..length).map(|_| self.value(depth)).collect::<Result<_, _>>().map(Value::Array)
    }

    fn map(&mut self, length: usize, depth: u8) -> Result<Value, Stop> {
        let pairs = (0..length).map(|_| Ok((self.value(depth)?, self.value(depth)?)));
        pairs.collect::<Result<_, _>>().map(Value::Map)
    }

    fn value(&mut self, depth: u8) -> Result<Value, Stop> {
        if depth > 8 {
            return Err(Stop::Nonsense);
        }
        let depth = depth + 1;
        let mark = self.take(1)?.first().copied().unwrap_or_default();
        let low = |mask: u8| usize::from(mark & mask);
        match mark {
            0..=0x7f => Ok(Value::Number(mark.into())),
            0x80..=0x8f => self.map(low(15), depth),
            0x90..=0x9f => self.array(low(15), depth),
            0xa0..=0xbf => self.text(low(31)),
            0xc0 => Ok(Value::Nil),
            0xc2 => Ok(Value::Flag(false)),
            0xc3 => Ok(Value::Flag(true)),
            0xc4..=0xc6 => {
                let length = self.unsigned(1 << (mark - 0xc4))?;
                self.text(length)
            }
            0xcc..=0xcf => {
                let number = self.unsigned(1 << (mark - 0xcc))?;
                Ok(Value::Number(i64::try_from(number).unwrap_or(i64::MAX)))
            }
            0xd9..=0xdb => {
                let length = self.unsigned(1 << (mark - 0xd9))?;
                self.text(length)
            }
            0xdc | 0xdd => {
                let length = self.unsigned(2 << (mark - 0xdc))?;
                self.array(length, depth)
            }
            0xde | 0xdf => {
                let length = self.unsigned(2 << (mark - 0xde))?;
                self.map(length, depth)
            }
            0xe0..=0xff => Ok(Value::Number(i64::from(i8::from_ne_bytes([mark])))),
            _ => Err(Stop::Nonsense),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        array(&mut out, 4);
        string(&mut out, b"HELO");
        binary(&mut out, &[7; 300]);
        number(&mut out, 70_000);
        map(&mut out, 1);
        string(&mut out, &[b'k'; 40]);
        number(&mut out, 5);
        let (value, length) = read(&out).unwrap().unwrap();
        assert_eq!(length, out.len());
        assert_eq!(value.items()[1].bytes().unwrap(), [7; 300]);
        assert_eq!(value.items()[2], Value::Number(70_000));
        assert_eq!(value.items()[3].get(&"k".repeat(40)), Some(&Value::Number(5)));
        for end in 0..out.len() {
            assert_eq!(read(&out[..end]).unwrap(), None);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_answered_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
