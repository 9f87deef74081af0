//! The lines of several containers as one stream, in the order of their times.

use std::{
    collections::{HashMap, VecDeque},
    io::Write,
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use chrono::DateTime;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::logs::LogOptions;
use crate::client::{Client, ClientError, Frame, Frames, JsonStream, Response};
use crate::commands::{Done, filter};
use crate::failure::Failure;
use crate::json::Fields;

/// How long a line waits for an earlier one of another container.
const PATIENCE: Duration = Duration::from_millis(100);
/// The colours of names, in turn.
const COLOURS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

/// Whose lines, and how they are shown.
pub struct Merge<'a> {
    /// The engine.
    pub client: &'a Client,
    /// Which lines.
    pub which: &'a LogOptions,
    /// With the attributes of each.
    pub details: bool,
    /// Containers by name.
    pub names: &'a [String],
    /// And those that match; of these those that start later, too.
    pub filters: &'a [String],
    /// Names have colours.
    pub coloured: bool,
}

/// A container whose lines are shown.
struct Shown {
    id: String,
    name: String,
    tty: bool,
    /// Its stream is open.
    open: bool,
    /// The time of its last line.
    seen: i64,
}

/// A container's stream.
struct Source {
    response: Response,
    tty: bool,
    frames: Frames,
    /// The beginning of a line of a terminal's.
    rest: BytesMut,
    lines: VecDeque<Line>,
    ended: bool,
}

struct Line {
    time: i64,
    stderr: bool,
    stamp: Bytes,
    text: Bytes,
}

enum Arrived {
    /// Of the container at this place.
    Lines(usize, Source, Result<(), ClientError>),
    /// A container that matches was started.
    Start(JsonStream, Result<Option<Value>, ClientError>),
}

#[derive(Default)]
struct State<'c> {
    shown: Vec<Shown>,
    /// Those that have lines.
    ready: HashMap<usize, Source>,
    /// Those that were asked for more, and when.
    asked: HashMap<usize, Instant>,
    arriving: FuturesUnordered<BoxFuture<'c, Arrived>>,
    failed: bool,
}

impl Merge<'_> {
    /// Shows all lines that there are and, if it is to follow, all that come.
    pub async fn run(self) -> Done {
        let mut state = State::default();
        if self.which.follow && !self.filters.is_empty() {
            // Before the list: nobody starts unseen.
            let starts = ["type=container".to_owned(), "event=start".to_owned()];
            let events =
                self.client.get("/events").query_some("filters", filter::encode(&starts)?).send().await?;
            state.arriving.push(next_start(events.json_stream()).boxed());
        }
        for name in self.names {
            let document = self.client.get(format!("/containers/{name}/json")).value().await?;
            self.show(
                &mut state,
                document.text("Id"),
                document.at("Config").flag("Tty"),
                document.text("Name"),
            )
            .await?;
        }
        self.look(&mut state).await?;
        let mut out =
            Output { timestamps: self.which.timestamps, coloured: self.coloured, ..Output::default() };
        loop {
            while let Some((at, line)) = state.take(self.which.follow) {
                out.write(&state.shown, at, &line)?;
            }
            out.flush()?;
            let arrived = match state.due().filter(|_| self.which.follow) {
                Some(due) => match timeout_at(due, state.arriving.next()).await {
                    Ok(arrived) => arrived,
                    Err(_) => continue,
                },
                None => state.arriving.next().await,
            };
            match arrived {
                None => break,
                Some(Arrived::Lines(at, source, result)) => state.put(at, source, result),
                Some(Arrived::Start(events, event)) => {
                    if event?.is_none() {
                        break;
                    }
                    self.look(&mut state).await?;
                    state.arriving.push(next_start(events).boxed());
                }
            }
        }
        if state.failed { Err(Failure::silent(1).into()) } else { Ok(()) }
    }

    /// Shows everyone who matches and is not shown yet.
    async fn look(&self, state: &mut State<'_>) -> Result<(), anyhow::Error> {
        if self.filters.is_empty() {
            return Ok(());
        }
        let filters = filter::encode(self.filters)?;
        let list = self
            .client
            .get("/containers/json")
            .query("all", "1")
            .query_some("filters", filters)
            .value()
            .await?;
        for container in list.as_array().into_iter().flatten() {
            let id = container.text("Id");
            // A list does not say whether there is a terminal. Whoever is gone by now has no lines.
            if let Ok(document) = self.client.get(format!("/containers/{id}/json")).value().await {
                self.show(state, id, document.at("Config").flag("Tty"), document.text("Name")).await?;
            }
        }
        Ok(())
    }

    async fn show(
        &self,
        state: &mut State<'_>,
        id: &str,
        tty: bool,
        name: &str,
    ) -> Result<(), anyhow::Error> {
        let known = state.shown.iter().position(|shown| shown.id == id);
        if known.is_some_and(|at| state.shown.get(at).is_some_and(|shown| shown.open)) {
            return Ok(());
        }
        let mut which = LogOptions { timestamps: true, ..self.which.clone() };
        if let Some(seen) = known.and_then(|at| Some(state.shown.get(at)?.seen)).filter(|seen| *seen > 0) {
            let after = seen + 1;
            which.since = Some(format!("{}.{:09}", after / 1_000_000_000, after % 1_000_000_000));
            which.tail = "all".to_owned();
        }
        let request = self.client.get(format!("/containers/{id}/logs")).switch("details", self.details);
        let name = name.trim_start_matches('/').to_owned();
        let response = match which.apply(request)?.send().await {
            Ok(response) => response,
            Err(error @ ClientError::Connect { .. }) => return Err(error.into()),
            Err(error) => {
                eprintln!("{name}: {error}");
                state.failed = true;
                return Ok(());
            }
        };
        let at = known.unwrap_or_else(|| {
            state.shown.push(Shown { id: id.to_owned(), name, tty, open: true, seen: 0 });
            state.shown.len() - 1
        });
        if let Some(shown) = state.shown.get_mut(at) {
            shown.open = true;
            let source = Source::new(response, shown.tty);
            state.ask(at, source);
        }
        Ok(())
    }
}

impl State<'_> {
    fn ask(&mut self, at: usize, source: Source) {
        self.asked.insert(at, Instant::now());
        self.arriving.push(next_lines(at, source).boxed());
    }

    /// When a line that is there is no longer kept back for one that may be earlier.
    fn due(&self) -> Option<Instant> {
        let latest = self.asked.values().max()?;
        (!self.ready.is_empty()).then(|| *latest + PATIENCE)
    }

    /// The earliest line, unless it has to wait.
    fn take(&mut self, follow: bool) -> Option<(usize, Line)> {
        let waits = !self.asked.is_empty() && (!follow || self.due()? > Instant::now());
        if waits {
            return None;
        }
        let first = |(at, source): (&usize, &Source)| Some((source.lines.front()?.time, *at));
        let (time, at) = self.ready.iter().filter_map(first).min()?;
        let line = self.ready.get_mut(&at)?.lines.pop_front()?;
        if let Some(shown) = self.shown.get_mut(at) {
            shown.seen = shown.seen.max(time);
        }
        if self.ready.get(&at).is_some_and(|source| source.lines.is_empty())
            && let Some(source) = self.ready.remove(&at)
        {
            if source.ended {
                self.close(at);
            } else {
                self.ask(at, source);
            }
        }
        Some((at, line))
    }

    fn put(&mut self, at: usize, mut source: Source, result: Result<(), ClientError>) {
        self.asked.remove(&at);
        if let Err(error) = result {
            eprintln!("{}: {error}", self.shown.get(at).map_or("", |shown| &shown.name));
            self.failed = true;
            source.ended = true;
        }
        match (source.lines.is_empty(), source.ended) {
            (false, _) => {
                self.ready.insert(at, source);
            }
            (true, true) => self.close(at),
            (true, false) => self.ask(at, source),
        }
    }

    fn close(&mut self, at: usize) {
        if let Some(shown) = self.shown.get_mut(at) {
            shown.open = false;
        }
    }
}

async fn next_start(mut events: JsonStream) -> Arrived {
    let event = events.next().await;
    Arrived::Start(events, event)
}

async fn next_lines(at: usize, mut source: Source) -> Arrived {
    let result = source.read().await;
    Arrived::Lines(at, source, result)
}

impl Source {
    fn new(response: Response, tty: bool) -> Self {
        Self {
            response,
            tty,
            frames: Frames::default(),
            rest: BytesMut::new(),
            lines: VecDeque::new(),
            ended: false,
        }
    }

    async fn read(&mut self) -> Result<(), ClientError> {
        let chunk = self.response.chunk().await?;
        self.ended = chunk.is_none();
        let chunk = chunk.unwrap_or_default();
        if self.tty {
            self.rest.extend_from_slice(&chunk);
            while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line = self.rest.split_to(end + 1).freeze();
                self.lines.push_back(Line::new(line, false));
            }
            if self.ended && !self.rest.is_empty() {
                let rest = self.rest.split().freeze();
                self.lines.push_back(Line::new(rest, false));
            }
            return Ok(());
        }
        self.frames.push(&chunk);
        while let Some(frame) = self.frames.next()? {
            match frame {
                Frame::Out(data) => self.lines.push_back(Line::new(data, false)),
                Frame::Err(data) => self.lines.push_back(Line::new(data, true)),
                Frame::System(data) => {
                    return Err(ClientError::InStream(String::from_utf8_lossy(&data).into_owned()));
                }
            }
        }
        Ok(())
    }
}

impl Line {
    /// `2026-01-02T03:04:05.123456789Z text`.
    fn new(mut text: Bytes, stderr: bool) -> Self {
        let end = text.iter().position(|&byte| byte == b' ').unwrap_or_default();
        let stamp = text.split_to(end);
        if text.first() == Some(&b' ') {
            text.advance(1);
        }
        let time =
            std::str::from_utf8(&stamp).ok().and_then(|stamp| DateTime::parse_from_rfc3339(stamp).ok());
        let time = time.and_then(|time| time.timestamp_nanos_opt()).unwrap_or_default();
        Self { time, stderr, stamp, text }
    }
}

/// Standard output and error, which may be one terminal.
#[derive(Default)]
struct Output {
    timestamps: bool,
    coloured: bool,
    out: Vec<u8>,
    err: Vec<u8>,
    /// Whose line was begun and has not ended.
    open: Option<(usize, bool)>,
}

impl Output {
    fn write(&mut self, shown: &[Shown], at: usize, line: &Line) -> std::io::Result<()> {
        if line.stderr && !self.out.is_empty()
            || !line.stderr && !self.err.is_empty()
            || self.held() > 64 << 10
        {
            self.flush()?;
        }
        let goes_on = self.open == Some((at, line.stderr));
        if let Some((_, stderr)) = self.open.filter(|_| !goes_on) {
            if stderr { &mut self.err } else { &mut self.out }.push(b'\n');
        }
        let to = if line.stderr { &mut self.err } else { &mut self.out };
        if !goes_on {
            let width = shown.iter().map(|shown| shown.name.chars().count()).max().unwrap_or_default();
            let name = shown.get(at).map_or("", |shown| &shown.name);
            match COLOURS.get(at % COLOURS.len()).filter(|_| self.coloured) {
                Some(colour) => write!(to, "\x1b[{colour}m{name:width$} |\x1b[0m ")?,
                None => write!(to, "{name:width$} | ")?,
            }
            if self.timestamps {
                to.extend_from_slice(&line.stamp);
                to.push(b' ');
            }
        }
        to.extend_from_slice(&line.text);
        self.open = (!line.text.ends_with(b"\n")).then_some((at, line.stderr));
        Ok(())
    }

    fn held(&self) -> usize {
        self.out.len() + self.err.len()
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(&self.out)?;
        out.flush()?;
        std::io::stderr().lock().write_all(&self.err)?;
        self.out.clear();
        self.err.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(names: &[&str]) -> Vec<Shown> {
        let one = |name: &&str| Shown {
            id: (*name).to_owned(),
            name: (*name).to_owned(),
            tty: false,
            open: true,
            seen: 0,
        };
        names.iter().map(one).collect()
    }

    fn line(text: &'static str) -> Line {
        Line::new(Bytes::from_static(text.as_bytes()), false)
    }

    #[test]
    fn a_line_has_its_time_in_front() {
        let line = line("1970-01-01T00:00:01.5Z a b\n");
        assert_eq!(
            (line.time, &line.text[..], &line.stamp[..]),
            (1_500_000_000, &b"a b\n"[..], &b"1970-01-01T00:00:01.5Z"[..])
        );
    }

    #[test]
    fn names_are_aligned_and_pieces_of_a_line_are_joined() {
        let shown = shown(&["db", "frontend"]);
        let mut out = Output::default();
        for (at, text) in [
            (0, "1970-01-01T00:00:01Z one "),
            (0, "1970-01-01T00:00:01Z line\n"),
            (1, "1970-01-01T00:00:02Z cut"),
            (0, "1970-01-01T00:00:03Z x\n"),
        ] {
            out.write(&shown, at, &line(text)).unwrap();
        }
        assert_eq!(String::from_utf8_lossy(&out.out), "db       | one line\nfrontend | cut\ndb       | x\n");
    }
}
