//! The fields of headers and of PAX records.

use std::{
    io,
    time::{Duration, SystemTime},
};

use tar::Header;

use crate::ImageError;

pub(super) fn bad_header(error: io::Error) -> ImageError {
    // The error's own text quotes raw bytes of the archive.
    ImageError::corrupt("archive header has a field that is not a number").because(error)
}

/// Some writers leave out what they do not know; everybody reads that as zero.
pub(super) fn blank_is_zero(field: &[u8], value: io::Result<u64>) -> Result<u64, ImageError> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(0) } else { value.map_err(bad_header) }
}

pub(super) fn id(value: u64) -> Result<u32, ImageError> {
    // All ones means "leave it alone" to chown.
    u32::try_from(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| ImageError::corrupt(format!("archive entry has the impossible owner {value}")))
}

pub(super) fn number(bytes: &[u8], what: &str) -> Result<u64, ImageError> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| ImageError::corrupt(format!("archive has a bad {what}")))
}

pub(super) fn pax_records(mut bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ImageError> {
    let bad = || ImageError::corrupt("archive has a malformed PAX record");
    let mut records = Vec::new();
    while !bytes.is_empty() && bytes[0] != 0 {
        let space = bytes.iter().take(10).position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length = number(&bytes[..space], "PAX record length")?;
        let length =
            usize::try_from(length).ok().filter(|length| *length <= bytes.len() && *length > space + 1);
        let (record, rest) = bytes.split_at(length.ok_or_else(bad)?);
        let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        let key = String::from_utf8(record[..equals].to_vec()).map_err(|_| bad())?;
        records.push((key, record[equals + 1..].to_vec()));
        bytes = rest;
    }
    Ok(records)
}

pub(super) fn pax_time(value: &[u8]) -> Result<SystemTime, ImageError> {
    let bad = || ImageError::corrupt("archive has a bad mtime");
    let text = std::str::from_utf8(value).map_err(|_| bad())?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let since = Duration::new(seconds.parse().map_err(|_| bad())?, nanos.parse().map_err(|_| bad())?);
    let time = if negative {
        SystemTime::UNIX_EPOCH.checked_sub(since)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(since)
    };
    time.ok_or_else(bad)
}

pub(super) fn header_time(header: &Header) -> Result<SystemTime, ImageError> {
    // Read as unsigned; a time before 1970 is written in base 256 with its top bits set.
    let seconds = blank_is_zero(&header.as_old().mtime, header.mtime())?.cast_signed();
    let since = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(since)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(since)
    };
    time.ok_or_else(|| ImageError::corrupt("archive has a bad mtime"))
}
