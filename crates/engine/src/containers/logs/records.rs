//! Finding one's way in files of the `local` format.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

use pintle_wire::log as wire;

/// How many bytes are whole records, and whether what follows cannot become one.
pub(super) fn whole(bytes: &[u8]) -> (usize, bool) {
    let mut at = 0;
    loop {
        match wire::record_at(bytes.get(at..).unwrap_or_default()) {
            Ok(Some((_, length))) => at += length,
            Ok(None) => return (at, false),
            Err(_) => return (at, true),
        }
    }
}

/// Seeks to the start of the last `wanted` records and says how many are missing.
pub(super) fn seek_to_tail(file: &mut File, wanted: usize) -> io::Result<usize> {
    let length = file.metadata()?.len();
    let mut at = length;
    let mut left = wanted;
    while left > 0 && at > 0 {
        let Some(start) = before(file, at)? else { return walk(file, length, wanted) };
        at = start;
        left -= 1;
    }
    if wanted == 0 && before(file, length)?.is_none() {
        return walk(file, length, 0);
    }
    file.seek(SeekFrom::Start(at))?;
    Ok(left)
}

/// Where the record begins that ends at `end`; `None` if none ends there.
fn before(file: &File, end: u64) -> io::Result<Option<u64>> {
    let mut length = [0; 4];
    if end < 8 {
        return Ok((end == 0).then_some(0));
    }
    file.read_exact_at(&mut length, end - 4)?;
    let Ok(size) = wire::record_before(length) else { return Ok(None) };
    let Some(start) = end.checked_sub(size as u64) else { return Ok(None) };
    let mut head = [0; 4];
    file.read_exact_at(&mut head, start)?;
    Ok((head == length).then_some(start))
}

/// The same from the start, for a file whose last record is being written at this moment.
fn walk(file: &mut File, length: u64, wanted: usize) -> io::Result<usize> {
    let mut starts = VecDeque::new();
    let mut at = 0;
    while at + 8 <= length {
        let mut head = [0; 4];
        file.read_exact_at(&mut head, at)?;
        let Ok(size) = wire::record_before(head) else { break };
        if at + size as u64 > length {
            break;
        }
        starts.push_back(at);
        if starts.len() > wanted {
            starts.pop_front();
        }
        at += size as u64;
    }
    let left = wanted.saturating_sub(starts.len());
    file.seek(SeekFrom::Start(starts.front().copied().unwrap_or(at)))?;
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use pintle_contract::LogEntry;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_tail_is_found_with_and_without_half_a_record_behind(
            lines in proptest::collection::vec("[a-z]{0,9}", 0..30), torn in 0usize..12, wanted in 0usize..35,
        ) {
            let mut bytes = Vec::new();
            for line in &lines {
                let entry = LogEntry { line: line.clone().into_bytes(), ..LogEntry::default() };
                wire::push_record(&wire::Record::from(&entry), &mut bytes);
            }
            let mut half = Vec::new();
            wire::push_record(&wire::Record::from(&LogEntry::default()), &mut half);
            bytes.extend_from_slice(&half[..torn]);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let left = seek_to_tail(&mut file, wanted).unwrap();
            prop_assert_eq!(left, wanted.saturating_sub(lines.len()));
            let mut rest = Vec::new();
            file.read_to_end(&mut rest).unwrap();
            let (end, damaged) = whole(&rest);
            prop_assert_eq!((rest.len() - end, damaged), (torn, false));
            let found: Vec<String> = super::super::line::entries(&rest)
                .map(|(entry, _)| String::from_utf8(entry.line).unwrap())
                .collect();
            prop_assert_eq!(&found[..], &lines[lines.len().saturating_sub(wanted)..]);
        }
    }
}
