//! The options of a log driver, as the user gave them.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use pintle_contract::DriverError;

/// What every driver takes; the engine has looked at them by then.
const GENERAL: &[&str] =
    &["mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
/// Which labels and variables of the container go along.
pub(super) const ATTRIBUTES: &[&str] = &["labels", "labels-regex", "env", "env-regex"];

/// Options of one driver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options<'a> {
    driver: &'static str,
    given: &'a BTreeMap<String, String>,
}

impl<'a> Options<'a> {
    /// All of `known`, or Docker's refusal of the first that is not.
    pub(super) fn new(
        driver: &'static str,
        given: &'a BTreeMap<String, String>,
        known: &[&[&str]],
    ) -> Result<Self, DriverError> {
        for key in given.keys() {
            if !GENERAL.contains(&key.as_str()) && !known.iter().any(|keys| keys.contains(&key.as_str())) {
                return Err(DriverError::invalid(format!(
                    "unknown log opt '{key:.100}' for {driver} log driver"
                )));
            }
        }
        Ok(Self { driver, given })
    }

    /// A value; an empty one is none.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.given.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A value that must be there.
    pub(super) fn needed(&self, key: &str) -> Result<&'a str, DriverError> {
        self.text(key).ok_or_else(|| {
            DriverError::invalid(format!(
                "{}: {key} is expected: give it with --log-opt {key}=…",
                self.driver
            ))
        })
    }

    /// Go's spellings of true and false.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, DriverError> {
        match self.text(key) {
            None => Ok(default),
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
            Some(value) => Err(self.bad(key, value, "it must be true or false")),
        }
    }

    /// A number from `least` on.
    pub(super) fn number<T: FromStr + PartialOrd>(
        &self,
        key: &str,
        default: T,
        least: T,
    ) -> Result<T, DriverError> {
        let Some(value) = self.text(key) else { return Ok(default) };
        let number = value.parse().ok().filter(|number| *number >= least);
        number.ok_or_else(|| self.bad(key, value, "it must be a number in range"))
    }

    /// Go's durations: `1s`, `1m30s`, `500ms`.
    pub(super) fn duration(&self, key: &str, default: Duration) -> Result<Duration, DriverError> {
        let Some(value) = self.text(key) else { return Ok(default) };
        duration(value).ok_or_else(|| self.bad(key, value, "it must be a duration such as 500ms, 1s or 2m"))
    }

    /// `8MB`, `512k`, in powers of two.
    pub(super) fn size(&self, key: &str, default: u64) -> Result<u64, DriverError> {
        let Some(value) = self.text(key) else { return Ok(default) };
        let size = size(value).filter(|size| *size > 0);
        size.ok_or_else(|| self.bad(key, value, "it must be a size such as 512k or 8MB"))
    }

    /// A refusal that names the option.
    pub(super) fn bad(&self, key: &str, value: &str, why: &str) -> DriverError {
        DriverError::invalid(format!(
            "invalid value for log opt {key} of the {} log driver: {value:.100}: {why}",
            self.driver
        ))
    }
}

fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total =
            total.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match lower.get(digits.len()..)? {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_gos() {
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        for bad in ["", "1", "s", "1x", "-1s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        assert_eq!((size("8MB"), size("512k"), size("x")), (Some(8 << 20), Some(512 << 10), None));
    }

    #[test]
    fn what_is_not_known_is_refused_in_dockers_words() {
        let given = [("bogus".to_owned(), "1".to_owned())].into();
        let error = Options::new("syslog", &given, &[ATTRIBUTES]).err().unwrap();
        assert_eq!(error.message, "unknown log opt 'bogus' for syslog log driver");
    }
}
