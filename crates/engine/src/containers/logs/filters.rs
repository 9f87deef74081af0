//! What happens to lines on their way to one driver: joined, left out, parsed, redacted, limited.
//!
//! The options begin with `pintle-` and are the engine's: no driver hears of them. What is kept on this host is not touched.

use std::collections::BTreeMap;

use pintle_contract::{LogEntry, log::Source};
use regex::bytes::Regex;
use serde_json::Value;

use crate::EngineError;

const PREFIX: &str = "pintle-";
/// An event of several lines is not longer than this.
const LONGEST: usize = 256 << 10;

/// The filters of one driver.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    include: Option<Regex>,
    exclude: Option<Regex>,
    include_field: Option<(Vec<String>, Regex)>,
    exclude_field: Option<(Vec<String>, Regex)>,
    redact: Option<Regex>,
    with: Vec<u8>,
    parse: Option<Parse>,
    /// Begins an event of several lines.
    first: Option<Regex>,
    rate: Option<Rate>,
    /// An event that may get more lines.
    held: Option<LogEntry>,
    /// The long line whose pieces are left out, by its id.
    left_out: Option<String>,
}

#[derive(Debug)]
enum Parse {
    Json,
    Groups(Regex),
}

/// Lines in each second, by the lines' own time, so that what is sent again is cut alike.
#[derive(Debug)]
struct Rate {
    limit: u64,
    second: i64,
    count: u64,
    left_out: u64,
}

impl Filters {
    /// Takes the filters out of a driver's options; the rest is the driver's.
    pub(crate) fn take(
        options: &BTreeMap<String, String>,
    ) -> Result<(Self, BTreeMap<String, String>), EngineError> {
        let mut filters = Self { with: b"[redacted]".to_vec(), ..Self::default() };
        let mut rest = BTreeMap::new();
        for (key, value) in options {
            let Some(name) = key.strip_prefix(PREFIX) else {
                rest.insert(key.clone(), value.clone());
                continue;
            };
            let bad =
                |why: &str| EngineError::invalid(format!("invalid log opt {key:.100}: {value:.100}: {why}"));
            let pattern = |text: &str| Regex::new(text).map_err(|error| bad(&error.to_string()));
            let field = || {
                let (path, text) =
                    value.split_once('=').ok_or_else(|| bad("it must be FIELD=PATTERN, or A.B=PATTERN"))?;
                Ok::<_, EngineError>((path.split('.').map(str::to_owned).collect(), pattern(text)?))
            };
            match name {
                "include" => filters.include = Some(pattern(value)?),
                "exclude" => filters.exclude = Some(pattern(value)?),
                "include-field" => filters.include_field = Some(field()?),
                "exclude-field" => filters.exclude_field = Some(field()?),
                "redact" => filters.redact = Some(pattern(value)?),
                "redact-with" => filters.with = value.as_bytes().to_vec(),
                "parse" if value == "json" => filters.parse = Some(Parse::Json),
                "parse" => {
                    let parsed = pattern(value)?;
                    if parsed.capture_names().flatten().next().is_none() {
                        return Err(bad(
                            "it must be json, or a pattern with named groups: (?P<level>[A-Z]+)",
                        ));
                    }
                    filters.parse = Some(Parse::Groups(parsed));
                }
                "multiline" => filters.first = Some(pattern(value)?),
                "rate" => {
                    let limit = value.trim_end_matches("/s").parse().ok().filter(|limit| *limit > 0);
                    let limit = limit.ok_or_else(|| bad("it must be a number of lines in a second"))?;
                    filters.rate = Some(Rate { limit, second: 0, count: 0, left_out: 0 });
                }
                _ => {
                    return Err(bad(
                        "there are include, exclude, include-field, exclude-field, redact, redact-with, parse, multiline \
                         and rate",
                    ));
                }
            }
        }
        Ok((filters, rest))
    }

    /// Whether an event waits for more lines.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Takes one entry and appends what is to be sent by now.
    pub(super) fn push(&mut self, entry: LogEntry, out: &mut Vec<LogEntry>) {
        let Some(first) = &self.first else { return self.emit(entry, out) };
        let begins = match &entry.piece {
            Some(piece) if piece.ordinal > 1 => false,
            _ => first.is_match(&entry.line),
        };
        let apart = self.held.as_ref().is_none_or(|held| {
            begins || held.source != entry.source || held.line.len() + entry.line.len() > LONGEST
        });
        if apart {
            self.flush(out);
            self.held = Some(LogEntry { piece: None, ..entry });
        } else if let Some(held) = &mut self.held {
            // The pieces of a long line have nothing between them.
            if entry.piece.as_ref().is_none_or(|piece| piece.ordinal <= 1) {
                held.line.push(b'\n');
            }
            held.line.extend_from_slice(&entry.line);
        }
    }

    /// Appends the event that waits.
    pub(super) fn flush(&mut self, out: &mut Vec<LogEntry>) {
        if let Some(held) = self.held.take() {
            self.emit(held, out);
        }
    }

    fn emit(&mut self, mut entry: LogEntry, out: &mut Vec<LogEntry>) {
        // What the first piece of a long line is, all of them are.
        let later = entry.piece.as_ref().is_some_and(|piece| piece.ordinal > 1);
        let wanted = if later {
            entry.piece.as_ref().map(|piece| &piece.id) != self.left_out.as_ref()
        } else {
            let wanted = self.is_wanted(&entry.line);
            self.left_out = entry.piece.as_ref().filter(|_| !wanted).map(|piece| piece.id.clone());
            wanted
        };
        if !wanted || !self.is_in_time(&entry, out) {
            return;
        }
        if entry.piece.is_none() {
            self.parse(&mut entry);
        }
        if let Some(redact) = &self.redact {
            let with = || regex::bytes::NoExpand(&self.with);
            entry.line = redact.replace_all(&entry.line, with()).into_owned();
            for value in entry.attributes.values_mut() {
                let text = redact.replace_all(value.as_bytes(), with());
                *value = String::from_utf8_lossy(&text).into_owned();
            }
        }
        out.push(entry);
    }

    fn is_wanted(&self, line: &[u8]) -> bool {
        let document: Option<Value> = if self.include_field.is_some() || self.exclude_field.is_some() {
            serde_json::from_slice(line).ok()
        } else {
            None
        };
        let field = |(path, pattern): &(Vec<String>, Regex)| {
            let at = document
                .as_ref()
                .and_then(|document| path.iter().try_fold(document, |value, name| value.get(name.as_str())));
            at.is_some_and(|value| pattern.is_match(text(value).as_bytes()))
        };
        self.include.as_ref().is_none_or(|pattern| pattern.is_match(line))
            && self.exclude.as_ref().is_none_or(|pattern| !pattern.is_match(line))
            && self.include_field.as_ref().is_none_or(field)
            && self.exclude_field.as_ref().is_none_or(|wanted| !field(wanted))
    }

    /// Counts it, and says in its place how many were left out before.
    fn is_in_time(&mut self, entry: &LogEntry, out: &mut Vec<LogEntry>) -> bool {
        let Some(rate) = &mut self.rate else { return true };
        let second = entry.time.div_euclid(1_000_000_000);
        if second != rate.second {
            if rate.left_out > 0 {
                let text = format!(
                    "pintle: {} lines were left out: more than {} a second",
                    rate.left_out, rate.limit
                );
                out.push(LogEntry {
                    source: Source::Stderr,
                    time: entry.time,
                    line: text.into_bytes(),
                    ..LogEntry::default()
                });
            }
            (rate.second, rate.count, rate.left_out) = (second, 0, 0);
        }
        rate.count += 1;
        let in_time = rate.count <= rate.limit;
        rate.left_out += u64::from(!in_time);
        in_time
    }

    fn parse(&self, entry: &mut LogEntry) {
        match &self.parse {
            None => {}
            Some(Parse::Json) => {
                if let Ok(Value::Object(fields)) = serde_json::from_slice(&entry.line) {
                    entry.attributes.extend(fields.iter().map(|(key, value)| (key.clone(), text(value))));
                }
            }
            Some(Parse::Groups(pattern)) => {
                let Some(found) = pattern.captures(&entry.line) else { return };
                for name in pattern.capture_names().flatten() {
                    if let Some(group) = found.name(name) {
                        let value = String::from_utf8_lossy(group.as_bytes()).into_owned();
                        entry.attributes.insert(name.to_owned(), value);
                    }
                }
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use pintle_contract::log::Piece;

    use super::*;

    fn through(options: &[(&str, &str)], lines: &[&str]) -> Vec<LogEntry> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (mut filters, rest) = Filters::take(&options).unwrap();
        assert!(rest.is_empty());
        let mut out = Vec::new();
        for line in lines {
            filters.push(LogEntry { line: line.as_bytes().to_vec(), ..LogEntry::default() }, &mut out);
        }
        filters.flush(&mut out);
        out
    }

    fn texts(entries: &[LogEntry]) -> Vec<String> {
        entries.iter().map(|entry| String::from_utf8(entry.line.clone()).unwrap()).collect()
    }

    #[test]
    fn lines_are_chosen_by_pattern_and_by_field() {
        let lines = [r#"{"level":"info","a":{"b":7}}"#, r#"{"level":"error"}"#, "GET /health", "plain"];
        let chosen = |options: &[(&str, &str)]| texts(&through(options, &lines)).len();
        assert_eq!(chosen(&[("pintle-include", "level|GET")]), 3);
        assert_eq!(chosen(&[("pintle-exclude", "/health")]), 3);
        assert_eq!(chosen(&[("pintle-include-field", "level=^error$")]), 1);
        assert_eq!(chosen(&[("pintle-exclude-field", "a.b=7")]), 3);
    }

    #[test]
    fn secrets_go_and_fields_are_attributes() {
        let entries = through(
            &[("pintle-parse", "json"), ("pintle-redact", "[0-9]{4}-[0-9]{4}")],
            &[r#"{"card":"1234-5678","n":3}"#],
        );
        assert_eq!(texts(&entries), [r#"{"card":"[redacted]","n":3}"#]);
        assert_eq!(entries[0].attributes["card"], "[redacted]");
        assert_eq!(entries[0].attributes["n"], "3");
        let entries = through(&[("pintle-parse", "^(?P<level>[A-Z]+) ")], &["WARN it is late", "none"]);
        assert_eq!(entries[0].attributes["level"], "WARN");
        assert!(entries[1].attributes.is_empty());
    }

    #[test]
    fn events_of_several_lines_are_one() {
        let lines = ["2026 boom", "  at a", "  at b", "2026 next"];
        let entries = through(&[("pintle-multiline", "^[0-9]{4} ")], &lines);
        assert_eq!(texts(&entries), ["2026 boom\n  at a\n  at b", "2026 next"]);
    }

    #[test]
    fn more_than_the_rate_is_counted() {
        let options = [("pintle-rate".to_owned(), "2/s".to_owned())].into();
        let (mut filters, _) = Filters::take(&options).unwrap();
        let mut out = Vec::new();
        for (second, line) in [(1, "a"), (1, "b"), (1, "c"), (1, "d"), (2, "e")] {
            let entry = LogEntry { line: line.into(), time: second * 1_000_000_000, ..LogEntry::default() };
            filters.push(entry, &mut out);
        }
        assert_eq!(texts(&out), ["a", "b", "pintle: 2 lines were left out: more than 2 a second", "e"]);
    }

    #[test]
    fn a_long_line_goes_as_its_first_piece_does() {
        let options = [("pintle-exclude".to_owned(), "^secret".to_owned())].into();
        let (mut filters, _) = Filters::take(&options).unwrap();
        let mut out = Vec::new();
        for (ordinal, line) in [(1, "secret x"), (2, "harmless")] {
            let piece = Some(Piece { id: "1".to_owned(), ordinal, last: ordinal == 2 });
            filters.push(LogEntry { line: line.into(), piece, ..LogEntry::default() }, &mut out);
        }
        assert!(out.is_empty());
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (key, value) in [
            ("pintle-include", "("),
            ("pintle-include-field", "level"),
            ("pintle-parse", "no groups"),
            ("pintle-rate", "0"),
            ("pintle-nonsense", "1"),
        ] {
            Filters::take(&[(key.to_owned(), value.to_owned())].into()).unwrap_err();
        }
    }
}
