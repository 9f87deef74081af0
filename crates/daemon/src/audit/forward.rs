//! The trail's lines on their way to log drivers: at least once, in order, at each one's own pace.
//!
//! The trail's files are the queue, so a destination that is down costs nothing and loses nothing until the oldest file is
//! removed. `FILE.sent-NAME` has the number of the last line that was acknowledged.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use pintle_contract::log::{LogEntry, LogInfo, LogStream};
use pintle_engine::containers::LogDrivers;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::trail::numbered;

/// Lines that are handed over at once.
const BATCH: usize = 256;
/// What a driver may take for one call.
const BUDGET: Duration = Duration::from_secs(30);
/// How often the trail is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What the last lines may take when the engine goes down.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The name of its driver.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// One destination's way.
pub(super) struct Forward {
    pub(super) name: String,
    pub(super) destination: Destination,
    pub(super) trail: PathBuf,
    pub(super) max_files: u32,
    pub(super) engine: String,
    pub(super) drivers: LogDrivers,
    pub(super) ends: CancellationToken,
}

impl Forward {
    fn position(&self) -> PathBuf {
        let mut name = self.trail.clone().into_os_string();
        name.push(format!(".sent-{}", self.name));
        PathBuf::from(name)
    }

    /// Sends lines until the engine goes down, and what is there then.
    pub(super) async fn run(self) {
        let mut pause = Duration::from_millis(250);
        let mut fails = false;
        while !self.ends.is_cancelled() {
            let begun = self.sent();
            match self.session().await {
                Ok(()) => return,
                Err(why) => {
                    if self.sent() > begun {
                        (pause, fails) = (Duration::from_millis(250), false);
                    }
                    if !std::mem::replace(&mut fails, true) {
                        tracing::error!("the audit trail does not reach {}: {why}", self.name);
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = self.ends.cancelled() => {}
            }
        }
    }

    fn sent(&self) -> u64 {
        std::fs::read_to_string(self.position()).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn commit(&self, seq: u64) -> io::Result<()> {
        let path = self.position();
        let new = path.with_extension("new");
        std::fs::write(&new, format!("{seq}\n"))?;
        std::fs::rename(new, path)
    }

    /// One stream to the driver, for as long as it lasts.
    async fn session(&self) -> Result<(), String> {
        let driver = self.drivers.find(&self.destination.driver).await.map_err(|error| error.to_string())?;
        let info = LogInfo {
            options: self.destination.options.clone(),
            id: self.engine.clone(),
            name: format!("/pintle-audit-{}", self.name),
            ..LogInfo::default()
        };
        let mut stream = within(driver.start(info)).await?;
        let mut reader = Reader::new(self.trail.clone(), self.max_files, self.sent());
        // Numbers of the lines that were handed over and are not acknowledged, from the stream's line `acked` on.
        let (mut waiting, mut acked) = (std::collections::VecDeque::new(), 0u64);
        loop {
            let ends = self.ends.is_cancelled();
            let (read, lines) = tokio::task::spawn_blocking(move || {
                let lines = reader.next();
                (reader, lines)
            })
            .await
            .map_err(|error| error.to_string())?;
            reader = read;
            let lines = lines.map_err(|error| error.to_string())?;
            if let Some(missing) = lines.missing {
                tracing::error!(
                    "{missing} lines of the audit trail were removed before {} had them",
                    self.name
                );
            }
            if lines.lines.is_empty() {
                if ends {
                    return self.farewell(stream, waiting.back().copied()).await;
                }
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = self.ends.cancelled() => {}
                }
            }
            waiting.extend(lines.lines.iter().map(|(seq, _)| *seq));
            // Of no lines, too: what a driver gathers it lets go when it is asked.
            let batch: Vec<LogEntry> = lines.lines.into_iter().map(|(_, entry)| entry).collect();
            let total = within(stream.send(&batch)).await?;
            let mut last = None;
            while acked < total
                && let Some(seq) = waiting.pop_front()
            {
                acked += 1;
                last = Some(seq);
            }
            if let Some(seq) = last {
                self.commit(seq).map_err(|error| format!("{}: {error}", self.position().display()))?;
            }
        }
    }

    /// What was handed over is acknowledged by the end of the stream.
    async fn farewell(&self, mut stream: Box<dyn LogStream>, last: Option<u64>) -> Result<(), String> {
        let stopped = tokio::time::timeout(FAREWELL, stream.stop()).await;
        stopped.map_err(|_| format!("no answer within {FAREWELL:?}"))?.map_err(|error| error.to_string())?;
        last.map_or(Ok(()), |seq| self.commit(seq)).map_err(|error| error.to_string())
    }
}

async fn within<T>(call: impl Future<Output = Result<T, pintle_contract::DriverError>>) -> Result<T, String> {
    let done = tokio::time::timeout(BUDGET, call).await;
    done.map_err(|_| format!("no answer within {BUDGET:?}"))?.map_err(|error| error.to_string())
}

/// Lines that were read.
#[derive(Debug, Default)]
struct Lines {
    lines: Vec<(u64, LogEntry)>,
    /// How many before them are gone.
    missing: Option<u64>,
}

/// Reads a trail from line to line, over its files.
struct Reader {
    path: PathBuf,
    max_files: u32,
    /// The number of the last line that was read.
    after: u64,
    open: Option<Open>,
}

struct Open {
    file: BufReader<File>,
    inode: u64,
    /// Where the next line begins.
    offset: u64,
}

impl Reader {
    fn new(path: PathBuf, max_files: u32, after: u64) -> Self {
        Self { path, max_files, after, open: None }
    }

    /// The next lines, as many as there are and no more than a batch.
    fn next(&mut self) -> io::Result<Lines> {
        let mut read = Lines::default();
        // Twice: the end of a file that is full, and the beginning of the one after it.
        for _ in 0..2 {
            if self.open.is_none() {
                self.open = self.locate(&mut read)?;
            }
            self.fill(&mut read)?;
            let is_over = match (&self.open, std::fs::metadata(&self.path)) {
                (Some(open), Ok(now)) => now.ino() != open.inode || now.len() < open.offset,
                (None, Ok(_)) => true,
                _ => false,
            };
            if read.lines.len() >= BATCH || !is_over {
                break;
            }
            self.open = None;
        }
        Ok(read)
    }

    fn fill(&mut self, read: &mut Lines) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.file.seek(SeekFrom::Start(open.offset))?;
        let mut line = Vec::new();
        while read.lines.len() < BATCH {
            line.clear();
            let length = open.file.read_until(b'\n', &mut line)?;
            if line.pop_if(|last| *last == b'\n').is_none() {
                // It is being written.
                break;
            }
            open.offset += length as u64;
            let fields: Value = serde_json::from_slice(&line).unwrap_or_default();
            let seq = fields["seq"].as_u64().unwrap_or(self.after + 1);
            if seq <= self.after {
                continue;
            }
            self.after = seq;
            let time =
                fields["time"].as_str().and_then(|time| chrono::DateTime::parse_from_rfc3339(time).ok());
            let time = time.and_then(|time| time.timestamp_nanos_opt()).unwrap_or_default();
            read.lines.push((seq, LogEntry { time, line: line.clone(), ..LogEntry::default() }));
        }
        Ok(())
    }

    /// The file that the next line is in, or the oldest that there is.
    fn locate(&self, read: &mut Lines) -> io::Result<Option<Open>> {
        let mut found: Option<(u64, Open)> = None;
        for number in (0..=self.max_files).rev() {
            let Some((first, open)) = begins(&numbered(&self.path, number))? else { continue };
            if found.is_none() || first <= self.after + 1 {
                found = Some((first, open));
            }
        }
        let Some((first, open)) = found else { return Ok(None) };
        if first > self.after + 1 && self.after > 0 {
            read.missing = Some(first - self.after - 1);
        }
        Ok(Some(open))
    }
}

/// The number of a file's first line.
fn begins(path: &Path) -> io::Result<Option<(u64, Open)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let inode = file.metadata()?.ino();
    let mut file = BufReader::new(file);
    let mut line = String::new();
    file.read_line(&mut line)?;
    let fields: Value = serde_json::from_str(&line).unwrap_or_default();
    Ok(fields["seq"].as_u64().map(|first| (first, Open { file, inode, offset: 0 })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::trail::Trail;

    fn texts(lines: &Lines) -> Vec<u64> {
        lines.lines.iter().map(|(seq, _)| *seq).collect()
    }

    #[test]
    fn lines_are_read_on_over_rotations_and_what_is_gone_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trail");
        let (mut trail, _) = Trail::open(&path, 400, 2).unwrap();
        let mut write = |count: usize| {
            for _ in 0..count {
                trail.append([serde_json::Map::new()]).unwrap();
            }
        };
        let mut reader = Reader::new(path.clone(), 2, 0);
        assert!(reader.next().unwrap().lines.is_empty());
        write(2);
        assert_eq!(texts(&reader.next().unwrap()), [1, 2]);
        assert!(reader.next().unwrap().lines.is_empty());
        write(3);
        assert_eq!(texts(&reader.next().unwrap()), [3, 4, 5], "over a rotation");
        // A line that is being written is none.
        std::io::Write::write_all(
            &mut std::fs::OpenOptions::new().append(true).open(&path).unwrap(),
            b"{\"seq\":6",
        )
        .unwrap();
        assert!(reader.next().unwrap().lines.is_empty());
        write(20);
        let read = reader.next().unwrap();
        let more = reader.next().unwrap();
        let all = [texts(&read), texts(&more)].concat();
        assert_eq!(all.last(), Some(&25));
        assert!(read.missing.or(more.missing).is_some_and(|missing| missing > 0), "older files were removed");
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
        // Somebody else, from the beginning.
        let mut other = Reader::new(path, 2, 0);
        let from_the_oldest = [texts(&other.next().unwrap()), texts(&other.next().unwrap())].concat();
        assert!(from_the_oldest[0] > 6 && from_the_oldest.last() == Some(&25), "{from_the_oldest:?}");
    }
}
