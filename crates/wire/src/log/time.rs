//! Times of a query, in RFC 3339.

/// Years that a date is counted in: 400 of them have so many days.
const ERA: (i128, i128) = (400, 146_097);
/// Days from March of the year 0 to 1970.
const EPOCH: i128 = 719_468;

/// Nanoseconds since 1970, of any year that has four digits.
pub(super) fn parse(text: &str) -> Option<i128> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let in_range =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("0", rest),
    };
    if !in_range || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let nanos: i128 = format!("{fraction:0<9}").parse().ok()?;
    let east = match zone {
        "Z" | "z" => 0,
        _ => {
            let [hours, minutes] = numbers(zone.get(1..)?, ':', [2, 2])?;
            let minutes = hours * 60 + minutes;
            if zone.starts_with('+') { minutes } else { zone.starts_with('-').then_some(-minutes)? }
        }
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - east * 60;
    Some(seconds * 1_000_000_000 + nanos)
}

fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i128; N]> {
    let mut parts = text.split(between);
    let mut found = [0; N];
    for (place, digits) in found.iter_mut().zip(digits) {
        let part =
            parts.next().filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))?;
        *place = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// Days since 1970 of a date. A year is counted from its March, so that the day that may be missing is its last.
fn days(year: i128, month: i128, day: i128) -> i128 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(ERA.0), year.rem_euclid(ERA.0));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * ERA.1 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH
}

/// As it is written.
pub(super) fn format(time: i64) -> String {
    let (seconds, nanos) = (time.div_euclid(1_000_000_000), time.rem_euclid(1_000_000_000));
    let (day, clock) = (i128::from(seconds.div_euclid(86_400)) + EPOCH, seconds.rem_euclid(86_400));
    let (era, of_era) = (day.div_euclid(ERA.1), day.rem_euclid(ERA.1));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * ERA.0 + year + next;
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}
