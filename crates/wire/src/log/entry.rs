//! The message `LogEntry`, in protobuf, and its two envelopes.
//!
//! | field | is |
//! |---|---|
//! | 1 `source` | string |
//! | 2 `time_nano` | varint |
//! | 3 `line` | bytes, no newline |
//! | 4 `partial` | bool |
//! | 5 `partial_log_metadata` | 1 `last` bool, 2 `id` string, 3 `ordinal` varint |
//! | 6 `attrs` | map of strings |
//! | 1000 | the line's number, in files of pintle's; other readers pass over it |

use std::collections::BTreeMap;

use pintle_contract::{
    LogEntry,
    log::{Piece, Source},
};

/// No message of either envelope is longer: lines are cut at 16 KiB, attributes are labels and variables.
const LONGEST: usize = 1 << 20;
const SEQUENCE: u64 = 1000;
const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// What a message says, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Where it was written.
    pub source: Source,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// Without the newline.
    pub line: &'a [u8],
    /// Set on each piece of a long line.
    pub piece: Option<&'a Piece>,
    /// Beside the line.
    pub attributes: Option<&'a BTreeMap<String, String>>,
    /// The line's number, only in files.
    pub sequence: Option<u64>,
}

impl<'a> From<&'a LogEntry> for Record<'a> {
    fn from(entry: &'a LogEntry) -> Self {
        Self {
            source: entry.source,
            time: entry.time,
            line: &entry.line,
            piece: entry.piece.as_ref(),
            attributes: Some(&entry.attributes),
            sequence: None,
        }
    }
}

/// Why bytes are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The message is damaged.
    #[error("a log entry is damaged")]
    Damaged,
    /// The envelope says more than any entry has.
    #[error("a log entry says that it has {0} bytes")]
    TooLong(usize),
}

/// Appends an entry as it goes through a pipe: its length in four bytes, big-endian, and the message.
pub fn push_frame(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    push_message(record, out);
    let length = length_of(out.len() - start - 4);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length);
    }
}

/// Appends an entry as the `local` format has it: a frame, and the length once more, to be read backwards.
pub fn push_record(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    push_frame(record, out);
    let length = length_of(out.len() - start - 4);
    out.extend_from_slice(&length);
}

fn length_of(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

/// The message's length if `bytes` begin with a frame whose four first bytes are there.
pub fn frame_length(bytes: &[u8]) -> Result<Option<usize>, EntryError> {
    let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length > LONGEST { Err(EntryError::TooLong(length)) } else { Ok(Some(length)) }
}

/// The message of the record that `bytes` begin with, and the record's whole length. `None`: it is not all there.
pub fn record_at(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, EntryError> {
    let Some(length) = frame_length(bytes)? else { return Ok(None) };
    let (Some(message), Some(tail)) = (bytes.get(4..4 + length), bytes.get(4 + length..8 + length)) else {
        return Ok(None);
    };
    if bytes.first_chunk::<4>().is_some_and(|head| head == tail) {
        Ok(Some((message, 8 + length)))
    } else {
        Err(EntryError::Damaged)
    }
}

/// How long the record is that ends where `tail`, four bytes, end.
pub fn record_before(tail: [u8; 4]) -> Result<usize, EntryError> {
    frame_length(&tail).map(|length| length.unwrap_or_default() + 8)
}

fn push_message(record: &Record<'_>, out: &mut Vec<u8>) {
    push_bytes(1, record.source.name().as_bytes(), out);
    push_number(2, record.time.cast_unsigned(), out);
    if !record.line.is_empty() {
        push_bytes(3, record.line, out);
    }
    if let Some(piece) = record.piece {
        push_number(4, 1, out);
        let mut inner = Vec::with_capacity(piece.id.len() + 16);
        if piece.last {
            push_number(1, 1, &mut inner);
        }
        push_bytes(2, piece.id.as_bytes(), &mut inner);
        push_number(3, i64::from(piece.ordinal).cast_unsigned(), &mut inner);
        push_bytes(5, &inner, out);
    }
    for (key, value) in record.attributes.into_iter().flatten() {
        let mut inner = Vec::with_capacity(key.len() + value.len() + 8);
        push_bytes(1, key.as_bytes(), &mut inner);
        push_bytes(2, value.as_bytes(), &mut inner);
        push_bytes(6, &inner, out);
    }
    if let Some(sequence) = record.sequence {
        push_number(SEQUENCE, sequence, out);
    }
}

fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn push_number(field: u64, value: u64, out: &mut Vec<u8>) {
    push_varint(field << 3 | VARINT, out);
    push_varint(value, out);
}

fn push_bytes(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    push_varint(field << 3 | BYTES, out);
    push_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Reads a message, and the line's number if it has one. Fields that are not known are passed over.
pub fn decode(message: &[u8]) -> Result<(LogEntry, Option<u64>), EntryError> {
    let mut entry = LogEntry::default();
    let mut sequence = None;
    let (mut partial, mut piece) = (false, None);
    each_field(message, |field, value| {
        match (field, value) {
            (1, Value::Bytes(b"stderr")) => entry.source = Source::Stderr,
            (2, Value::Number(time)) => entry.time = time.cast_signed(),
            (3, Value::Bytes(line)) => entry.line = line.to_vec(),
            (4, Value::Number(set)) => partial = set != 0,
            (5, Value::Bytes(inner)) => piece = Some(decode_piece(inner)?),
            (6, Value::Bytes(inner)) => {
                let (key, value) = decode_pair(inner)?;
                entry.attributes.insert(key, value);
            }
            (SEQUENCE, Value::Number(number)) => sequence = Some(number),
            _ => {}
        }
        Ok(())
    })?;
    // Entries of engines before 19.03 say that they are pieces and no more.
    entry.piece = piece.or_else(|| partial.then(Piece::default));
    Ok((entry, sequence))
}

fn decode_piece(bytes: &[u8]) -> Result<Piece, EntryError> {
    let mut piece = Piece::default();
    each_field(bytes, |field, value| {
        match (field, value) {
            (1, Value::Number(last)) => piece.last = last != 0,
            (2, Value::Bytes(id)) => piece.id = String::from_utf8_lossy(id).into_owned(),
            (3, Value::Number(ordinal)) => piece.ordinal = ordinal as i32,
            _ => {}
        }
        Ok(())
    })?;
    Ok(piece)
}

fn decode_pair(bytes: &[u8]) -> Result<(String, String), EntryError> {
    let mut pair = (String::new(), String::new());
    each_field(bytes, |field, value| {
        match (field, value) {
            (1, Value::Bytes(key)) => pair.0 = String::from_utf8_lossy(key).into_owned(),
            (2, Value::Bytes(value)) => pair.1 = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(pair)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

fn each_field<'a>(
    mut bytes: &'a [u8],
    mut take: impl FnMut(u64, Value<'a>) -> Result<(), EntryError>,
) -> Result<(), EntryError> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            VARINT => Value::Number(varint(&mut bytes)?),
            BYTES => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| EntryError::Damaged)?;
                Value::Bytes(cut(&mut bytes, length)?)
            }
            1 => cut(&mut bytes, 8).map(|_| Value::Other)?,
            5 => cut(&mut bytes, 4).map(|_| Value::Other)?,
            _ => return Err(EntryError::Damaged),
        };
        take(key >> 3, value)?;
    }
    Ok(())
}

fn cut<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], EntryError> {
    let (head, rest) = bytes.split_at_checked(length).ok_or(EntryError::Damaged)?;
    *bytes = rest;
    Ok(head)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, EntryError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(EntryError::Damaged)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(EntryError::Damaged)
}
