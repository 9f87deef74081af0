//! Names and numbers of signals.

use crate::EngineError;

/// Names in the order of their numbers on Linux (x86, arm), from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

pub(super) const KILL: i32 = 9;
pub(super) const TERM: i32 = 15;

/// A signal by number or by name, with or without `SIG`, in any case; `RTMIN+3` and the like, too.
pub(super) fn parse(text: &str) -> Result<i32, EngineError> {
    let invalid = || EngineError::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(at + 1).map_err(|_| invalid());
    }
    match name {
        "CLD" => return Ok(17),
        "POLL" => return Ok(29),
        "IOT" => return Ok(6),
        "RTMIN" => return Ok(34),
        "RTMAX" => return Ok(64),
        _ => {}
    }
    let offset = |text: &str| text.parse::<i32>().ok().filter(|n| (0..=30).contains(n));
    if let Some(n) = name.strip_prefix("RTMIN+").and_then(offset) {
        return Ok(34 + n);
    }
    if let Some(n) = name.strip_prefix("RTMAX-").and_then(offset) {
        return Ok(64 - n);
    }
    Err(invalid())
}

/// Refuses what is no signal.
pub(crate) fn check(text: &str) -> Result<(), EngineError> {
    parse(text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("Hup", 1),
            ("SIGSYS", 31),
            ("WINCH", 28),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["", "0", "65", "-1", "SIG", "FOO", "RTMIN+31", "RTMIN+-1"] {
            assert_eq!(parse(text).unwrap_err().message, format!("invalid signal: {text}"));
        }
    }
}
