//! Pintle's own: what a plugin wrote, from the rotated file that its shim keeps.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures_util::stream;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::logs::{at, tail};
use crate::{
    app::App,
    hijack::offer::MULTIPLEXED,
    http::{Call, reply, router::Outcome},
    status::Failure,
};

/// How often a followed log is looked at.
const INTERVAL: Duration = Duration::from_millis(200);
/// A line that is longer was not written by a shim.
const MAX_LINE: usize = 1 << 20;

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    time: DateTime<Utc>,
}

#[derive(Clone, Copy)]
struct Wanted {
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    timestamps: bool,
}

impl Wanted {
    /// The frame of one line of the file, if the client wants it.
    fn frame(&self, line: &[u8]) -> Option<Bytes> {
        let entry: Entry = serde_json::from_slice(line).ok()?;
        if self.since.is_some_and(|since| entry.time < since)
            || self.until.is_some_and(|until| entry.time > until)
        {
            return None;
        }
        let mut text = String::new();
        if self.timestamps {
            text.push_str(&entry.time.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true));
            text.push(' ');
        }
        text.push_str(&entry.log);
        let mut frame = BytesMut::with_capacity(8 + text.len());
        frame.extend_from_slice(&[if entry.stream == "stderr" { 2 } else { 1 }, 0, 0, 0]);
        frame.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend_from_slice(text.as_bytes());
        Some(frame.freeze())
    }
}

pub(crate) async fn logs(app: Arc<App>, call: Call) -> Outcome {
    let query = &call.query;
    let wanted = Wanted {
        since: at(query, "since")?,
        until: at(query, "until")?,
        timestamps: query.truth("timestamps"),
    };
    let path = app.host.log_path(&call.name)?;
    let (reading, last) = (path.clone(), tail(query));
    let (frames, end) = tokio::task::spawn_blocking(move || past(&reading, wanted, last))
        .await
        .map_err(|error| Failure::internal(error.to_string()))?;
    let follow = query.truth("follow").then(|| Follow { path, at: end, rest: Vec::new(), wanted });
    let draining = app.draining.clone();
    let (name, host) = (call.name.clone(), app.host.clone());
    let pieces = stream::unfold((frames, follow), move |(mut frames, mut following)| {
        let (draining, name, host) = (draining.clone(), name.clone(), host.clone());
        async move {
            loop {
                if let Some(frame) = frames.pop_front() {
                    return Some((Ok(frame), (frames, following)));
                }
                let follow = following.as_mut()?;
                follow.more(&mut frames).await;
                if frames.is_empty() {
                    // A plugin that was removed writes no more.
                    host.get(&name).ok()?;
                    tokio::select! {
                        () = tokio::time::sleep(INTERVAL) => {}
                        () = draining.cancelled() => return None,
                    }
                }
            }
        }
    });
    Ok(reply::stream(MULTIPLEXED, pieces))
}

/// The frames of what is there, and how long the current file is.
fn past(path: &Path, wanted: Wanted, last: Option<usize>) -> (VecDeque<Bytes>, u64) {
    let mut frames = VecDeque::new();
    let mut end = 0;
    let rotated = |number: u32| PathBuf::from(format!("{}.{number}", path.display()));
    let oldest = (1..100).take_while(|number| rotated(*number).exists()).last().unwrap_or(0);
    for file in (1..=oldest).rev().map(rotated).chain([path.to_owned()]) {
        let text = std::fs::read(&file).unwrap_or_default();
        let complete = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in text[..complete].split(|byte| *byte == b'\n') {
            frames.extend(wanted.frame(line));
            if last.is_some_and(|last| frames.len() > last) {
                frames.pop_front();
            }
        }
        end = complete as u64;
    }
    (frames, end)
}

/// Where a followed log was read up to.
struct Follow {
    path: PathBuf,
    at: u64,
    rest: Vec<u8>,
    wanted: Wanted,
}

impl Follow {
    /// Reads what was written meanwhile. What cannot be read now is tried again.
    async fn more(&mut self, frames: &mut VecDeque<Bytes>) {
        let Ok(mut file) = tokio::fs::File::open(&self.path).await else { return };
        if file.metadata().await.is_ok_and(|metadata| metadata.len() < self.at) {
            // A new file has taken its place.
            self.at = 0;
            self.rest.clear();
        }
        if file.seek(std::io::SeekFrom::Start(self.at)).await.is_err() {
            return;
        }
        let mut piece = Vec::new();
        let Ok(amount) = file.take(MAX_LINE as u64).read_to_end(&mut piece).await else { return };
        self.at += amount as u64;
        self.rest.extend_from_slice(&piece);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            frames.extend(self.wanted.frame(&line));
        }
        if self.rest.len() > MAX_LINE {
            self.rest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Wanted = Wanted { since: None, until: None, timestamps: false };

    fn line(text: &str, stream: &str, second: u32) -> String {
        format!(
            "{{\"log\":\"{text}\\n\",\"stream\":\"{stream}\",\"time\":\"2026-01-01T00:00:{second:02}Z\"}}\n"
        )
    }

    #[tokio::test]
    async fn rotated_files_come_first_and_following_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(dir.path().join("log.1"), line("a", "stdout", 1)).unwrap();
        std::fs::write(&path, line("b", "stderr", 2)).unwrap();
        let (frames, end) = past(&path, ALL, None);
        assert_eq!(frames, [&b"\x01\0\0\0\0\0\0\x02a\n"[..], b"\x02\0\0\0\0\0\0\x02b\n"]);
        assert_eq!(past(&path, ALL, Some(1)).0.len(), 1);
        assert_eq!(
            past(&path, Wanted { since: Some("2026-01-01T00:00:02Z".parse().unwrap()), ..ALL }, None).0.len(),
            1
        );
        let mut follow = Follow { path: path.clone(), at: end, rest: Vec::new(), wanted: ALL };
        let mut frames = VecDeque::new();
        std::fs::write(&path, line("b", "stderr", 2) + &line("c", "stdout", 3)).unwrap();
        follow.more(&mut frames).await;
        assert_eq!(frames, [&b"\x01\0\0\0\0\0\0\x02c\n"[..]]);
        std::fs::write(&path, line("d", "stdout", 4)).unwrap();
        follow.more(&mut frames).await;
        assert_eq!(frames.len(), 2);
    }
}
