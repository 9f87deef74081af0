//! Times as the API writes and reads them.

use chrono::{DateTime, SecondsFormat, Utc};

/// Go's zero time, which stands for "never".
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 with up to nine digits of fraction, without trailing zeros, as Go's `RFC3339Nano`.
pub fn rfc3339_nano(time: DateTime<Utc>) -> String {
    let text = time.to_rfc3339_opts(SecondsFormat::Nanos, true);
    match text.strip_suffix('Z').and_then(|text| text.split_once('.')) {
        Some((seconds, fraction)) => match fraction.trim_end_matches('0') {
            "" => format!("{seconds}Z"),
            fraction => format!("{seconds}.{fraction}Z"),
        },
        None => text,
    }
}

/// The same, with [`NEVER`] for no time.
pub fn or_never(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(|| NEVER.to_owned(), rfc3339_nano)
}

/// Reads `since` and `until`: Unix seconds with an optional fraction, RFC 3339 with or without a zone, or a Go
/// duration such as `10m` that counts back from `now`. `None` if it is none of these.
pub fn parse(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Some(time) = unix(text) {
        return Some(time);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(time) = chrono::NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc());
        }
    }
    if let Ok(date) = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(date.and_hms_opt(0, 0, 0)?.and_utc());
    }
    now.checked_sub_signed(duration(text)?)
}

fn unix(text: &str) -> Option<DateTime<Utc>> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty()
        || fraction.len() > 9
        || !digits(seconds.strip_prefix('-').unwrap_or(seconds))
        || !digits(fraction)
    {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    DateTime::from_timestamp(seconds.parse().ok()?, nanos)
}

/// A Go duration: `1h30m`, `500ms`, `1.5s`.
pub fn duration(text: &str) -> Option<chrono::TimeDelta> {
    let (mut rest, negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    if rest == "0" {
        return Some(chrono::TimeDelta::zero());
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0f64;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit_end = rest[number..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |at| number + at);
        let scale = match &rest[number..unit_end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        nanos += rest[..number].parse::<f64>().ok()? * scale;
        rest = &rest[unit_end..];
    }
    if nanos > i64::MAX as f64 {
        return None;
    }
    let delta = chrono::TimeDelta::nanoseconds(nanos as i64);
    Some(if negative { -delta } else { delta })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_a_time_reads() {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let at = |text| parse(text, now).map(|time| (time.timestamp(), time.timestamp_subsec_nanos()));
        assert_eq!(at("12.5"), Some((12, 500_000_000)));
        assert_eq!(at("12"), Some((12, 0)));
        assert_eq!(at("10m"), Some((999_400, 0)));
        assert_eq!(at("1h30m"), Some((994_600, 0)));
        assert_eq!(at("1970-01-02"), Some((86_400, 0)));
        assert_eq!(at("1970-01-02T00:00:01Z"), Some((86_401, 0)));
        assert_eq!(at("1970-01-02T01:00:00+01:00"), Some((86_400, 0)));
        assert_eq!(at("soon"), None);
        assert_eq!(at(""), None);
    }

    #[test]
    fn fractions_lose_their_trailing_zeros() {
        let time = |nanos| rfc3339_nano(DateTime::from_timestamp(0, nanos).unwrap());
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(120_000_000), "1970-01-01T00:00:00.12Z");
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in ".{0,40}") {
            let _ = parse(&text, Utc::now());
        }
    }
}
