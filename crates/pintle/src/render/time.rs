//! Moments: how long ago, and what `--since` and `--until` accept.

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, SecondsFormat, TimeZone, Utc};

use super::units;

/// Seconds since `then`, from unix seconds.
pub fn age(then: i64) -> String {
    units::duration(Utc::now().timestamp() - then) + " ago"
}

/// `2006-01-02 15:04:05 -0700 MST`, in local time.
pub fn stamp(unix: i64) -> String {
    Local.timestamp_opt(unix, 0).single().map_or_else(String::new, |t| {
        let zone =
            if t.offset().local_minus_utc() == 0 { "UTC".to_owned() } else { t.format("%z").to_string() };
        format!("{} {zone}", t.format("%Y-%m-%d %H:%M:%S %z"))
    })
}

/// RFC 3339 in local time, `Z` if that is UTC; with nanoseconds if `fine`.
pub fn rfc3339(nanos: i64, fine: bool) -> String {
    let precision = if fine { SecondsFormat::Nanos } else { SecondsFormat::Secs };
    Local.timestamp_nanos(nanos).to_rfc3339_opts(precision, true)
}

/// What the engine wants for `--since` and `--until`: unix seconds, from a unix time, a date and time with or without
/// zone, or a duration before now.
pub fn moment(text: &str) -> Result<String, String> {
    let text = text.trim();
    let dots = text.matches('.').count();
    if !text.is_empty() && dots <= 1 && text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Ok(text.to_owned());
    }
    if let Ok(ago) = units::parse_duration(text) {
        return Ok(spelt(Utc::now() - chrono::Duration::nanoseconds(ago)));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(spelt(time.to_utc()));
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(naive) = NaiveDateTime::parse_from_str(text, format) {
            return local(naive);
        }
    }
    if let Ok(naive) = NaiveDateTime::parse_from_str(&format!("{text}:00"), "%Y-%m-%dT%H:%M:%S") {
        return local(naive);
    }
    if let Some(naive) = NaiveDate::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%d")
        .ok()
        .and_then(|day| day.and_hms_opt(0, 0, 0))
    {
        return if text.ends_with('Z') { Ok(spelt(naive.and_utc())) } else { local(naive) };
    }
    Err(format!(
        "{text:?} is not a moment: give a unix time, a date like 2026-01-31T12:00:00, or a duration like 10m"
    ))
}

fn local(naive: NaiveDateTime) -> Result<String, String> {
    Local
        .from_local_datetime(&naive)
        .earliest()
        .map(|t| spelt(t.to_utc()))
        .ok_or_else(|| format!("{naive} does not exist in this time zone"))
}

fn spelt(time: DateTime<Utc>) -> String {
    format!("{}.{:09}", time.timestamp(), time.timestamp_subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(moment("1700000000").as_deref(), Ok("1700000000"));
        assert_eq!(moment("1700000000.5").as_deref(), Ok("1700000000.5"));
        assert_eq!(moment("2023-11-14T22:13:20Z").as_deref(), Ok("1700000000.000000000"));
        assert_eq!(moment("2023-11-14T22:13:20+01:00").as_deref(), Ok("1699996400.000000000"));
        assert_eq!(moment("1970-01-02Z").as_deref(), Ok("86400.000000000"));
        assert!(moment("10m").is_ok() && moment("2023-11-14").is_ok() && moment("2023-11-14T22:13").is_ok());
        assert!(moment("yesterday").is_err() && moment("").is_err());
    }
}
