//! How long ago, in the words of `docker ps`.

use chrono::{DateTime, Utc};
use pintle_engine::containers::{Container, HealthStatus, State};

/// Docker's words for a duration.
fn roughly(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0).round() as i64);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// The `STATUS` column.
pub(crate) fn status(container: &Container, health: Option<HealthStatus>, now: DateTime<Utc>) -> String {
    let ago = |time: Option<DateTime<Utc>>| roughly(time.map_or(0, |time| (now - time).num_seconds()));
    match &container.life.state {
        State::Creating | State::Created(_) => "Created".to_owned(),
        // Docker has no word for a container that is being started: it shows what was before.
        State::Starting(None) => "Created".to_owned(),
        State::Starting(Some(exit)) | State::Exited(exit) => {
            format!("Exited ({}) {} ago", exit.code, ago(exit.finished_at))
        }
        State::Running(run) => {
            let health = match health {
                None => String::new(),
                Some(HealthStatus::Starting) => " (health: starting)".to_owned(),
                Some(health) => format!(" ({})", health.as_str()),
            };
            format!("Up {}{health}", ago(Some(run.started_at)))
        }
        State::Paused(run) => format!("Up {} (Paused)", ago(Some(run.started_at))),
        State::Restarting(exit) => format!("Restarting ({}) {} ago", exit.code, ago(exit.finished_at)),
        State::Removing => "Removal In Progress".to_owned(),
        State::Dead => "Dead".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_dockers() {
        for (seconds, text) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3600, "About an hour"),
            (3 * 3600, "3 hours"),
            (49 * 3600, "2 days"),
            (15 * 24 * 3600, "2 weeks"),
            (70 * 24 * 3600, "2 months"),
            (800 * 24 * 3600, "2 years"),
        ] {
            assert_eq!(roughly(seconds), text, "{seconds}");
        }
    }
}
