//! Sizes and durations, spelt as Docker spells them (its `go-units`).

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// Decimal units and three digits: `5.58MB`. Image and container sizes.
pub fn size(bytes: f64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 3)
}

/// Decimal units and four digits: `5.581MB`. Disk usage.
pub fn size4(bytes: f64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 4)
}

/// Binary units and four digits: `1.5GiB`. Memory.
pub fn memory(bytes: f64) -> String {
    scaled(bytes, 1024.0, &BINARY, 4)
}

fn scaled(mut value: f64, base: f64, units: &[&str; 9], digits: usize) -> String {
    let mut unit = 0;
    while value >= base && unit < units.len() - 1 {
        value /= base;
        unit += 1;
    }
    crate::template::significant(value, digits) + units.get(unit).copied().unwrap_or("B")
}

/// Reads `10m`, `1.5GiB`, `2 kb`, `100`: every unit is a power of 1024, as for `--memory`.
pub fn parse_memory(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let split = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map(|at| at + 1).ok_or_else(invalid)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.trim().parse().map_err(|_| invalid())?;
    if number < 0.0 {
        return Err(invalid());
    }
    let unit = unit.trim().to_ascii_lowercase();
    let letter = match unit.as_str() {
        "" | "b" => "",
        other => other.strip_suffix("ib").or_else(|| other.strip_suffix('b')).unwrap_or(other),
    };
    let power = match letter {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(format!("invalid suffix: '{unit}'")),
    };
    let bytes = number * 1024f64.powi(power);
    if bytes > 9.2e18 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked against i64's range just above")]
    Ok(bytes as i64)
}

/// `Less than a second`, `5 seconds`, `About a minute`, `3 hours`, `2 weeks`.
pub fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Docker rounds to the nearest hour.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Reads Go's durations (`1h30m`, `1.5s`, `200ms`) into nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(invalid)?;
        let (number, tail) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        total += number
            * match unit {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(invalid()),
            };
        rest = tail;
    }
    if total > 9.2e18 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked against i64's range just above")]
    Ok((sign * total) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_go_units_prints_them() {
        for (bytes, three, four, binary) in [
            (0.0, "0B", "0B", "0B"),
            (999.0, "999B", "999B", "999B"),
            (1024.0, "1.02kB", "1.024kB", "1KiB"),
            (5_580_000.0, "5.58MB", "5.58MB", "5.322MiB"),
            (77_905_408.0, "77.9MB", "77.91MB", "74.3MiB"),
            (999_900_000.0, "1e+03MB", "999.9MB", "953.6MiB"),
            (1_073_741_824.0, "1.07GB", "1.074GB", "1GiB"),
        ] {
            assert_eq!(size(bytes), three);
            assert_eq!(size4(bytes), four);
            assert_eq!(memory(bytes), binary);
        }
    }

    #[test]
    fn memory_arguments() {
        for (text, bytes) in [
            ("32", 32),
            ("32b", 32),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32KiB", 32 << 10),
            ("1.5m", 3 << 19),
            ("32 MB", 32 << 20),
            ("1g", 1 << 30),
            ("1t", 1 << 40),
        ] {
            assert_eq!(parse_memory(text), Ok(bytes), "{text}");
        }
        for text in ["", "hello", "-32", "32bb", "32 m b", "1e999", "9999999999p"] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_as_docker_words_them() {
        let (minute, hour, day) = (60, 3600, 86400);
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (minute, "About a minute"),
            (90, "About a minute"),
            (3 * minute, "3 minutes"),
            (hour, "About an hour"),
            (3 * hour, "3 hours"),
            (3 * hour + 40 * minute, "4 hours"),
            (7 * day, "7 days"),
            (21 * day, "3 weeks"),
            (31 * day, "4 weeks"),
            (90 * day, "3 months"),
            (400 * day, "13 months"),
            (3 * 365 * day, "3 years"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn go_durations() {
        assert_eq!(parse_duration("1h30m").unwrap(), 5_400_000_000_000);
        assert_eq!(parse_duration("1.5s").unwrap(), 1_500_000_000);
        assert_eq!(parse_duration("-200ms").unwrap(), -200_000_000);
        for text in ["", "1", "h", "1x", "1h1"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
