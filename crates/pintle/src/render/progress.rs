//! Progress of pulls, pushes and installs: bars on a terminal, lines otherwise.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::client::{ClientError, Response};
use crate::json::Fields;

/// Shows one stream of progress messages.
pub struct Progress {
    bars: Option<Bars>,
    quiet: bool,
    aux: Vec<Value>,
}

struct Bars {
    area: MultiProgress,
    known: HashMap<String, ProgressBar>,
}

impl Progress {
    /// Bars if standard output is a terminal; nothing but errors if `quiet`.
    pub fn new(quiet: bool) -> Self {
        let bars = (!quiet && std::io::stdout().is_terminal()).then(|| Bars {
            area: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()),
            known: HashMap::new(),
        });
        Self { bars, quiet, aux: Vec::new() }
    }

    /// Lines, never bars; with `quiet` only those that say what came of it.
    pub fn lines(quiet: bool) -> Self {
        Self { bars: if quiet { None } else { Self::new(false).bars }, quiet: false, aux: Vec::new() }
    }

    /// Shows `response` until its end. An error object in the stream is the error of the whole; otherwise the
    /// messages' `aux` values are returned.
    pub async fn follow(mut self, response: Response) -> Result<Vec<Value>, ClientError> {
        let mut messages = response.json_stream();
        while let Some(message) = messages.next().await? {
            if let Some(error) = error_of(&message) {
                self.finish();
                return Err(ClientError::InStream(error));
            }
            if let Some(aux) = message.get("aux") {
                self.aux.push(aux.clone());
            }
            if !self.quiet {
                self.show(&message);
            }
        }
        self.finish();
        Ok(self.aux)
    }

    fn show(&mut self, message: &Value) {
        if let Some(text) = message.get("stream").and_then(Value::as_str) {
            return self.line(text.trim_end_matches(['\r', '\n']));
        }
        let status = message.text("status");
        let id = message.text("id");
        if status.is_empty() {
            return;
        }
        let detail = message.get("progressDetail");
        let current = detail.and_then(|d| d.get("current")).and_then(Value::as_u64);
        let total = detail.and_then(|d| d.get("total")).and_then(Value::as_u64).filter(|t| *t > 0);
        let Some(bars) = &mut self.bars else {
            // Without a terminal each step is said once, not each byte.
            if current.is_none() {
                self.line(&if id.is_empty() { status.to_owned() } else { format!("{id}: {status}") });
            }
            return;
        };
        if id.is_empty() || status.starts_with("Pulling from") {
            return self.line(&if id.is_empty() { status.to_owned() } else { format!("{id}: {status}") });
        }
        let bar = bars.known.entry(id.to_owned()).or_insert_with(|| {
            let bar = bars.area.add(ProgressBar::no_length());
            bar.set_prefix(id.to_owned());
            bar.set_style(plain());
            bar
        });
        match (current, total) {
            (Some(current), Some(total)) => {
                bar.set_style(measured());
                bar.set_length(total);
                bar.set_position(current);
            }
            _ => bar.set_style(plain()),
        }
        bar.set_message(status.to_owned());
        bar.tick();
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) if !bars.known.is_empty() => {
                let _ = bars.area.println(text);
            }
            _ => {
                let _ = writeln!(std::io::stdout(), "{text}");
            }
        }
    }

    fn finish(&mut self) {
        for bar in self.bars.iter().flat_map(|bars| bars.known.values()) {
            bar.abandon();
        }
    }
}

fn plain() -> ProgressStyle {
    ProgressStyle::with_template("{prefix}: {msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn measured() -> ProgressStyle {
    ProgressStyle::with_template("{prefix}: {msg} [{bar:40}] {decimal_bytes}/{decimal_total_bytes}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// The error that a message carries, if any.
fn error_of(message: &Value) -> Option<String> {
    let detail = message.get("errorDetail").and_then(|d| d.get("message")).and_then(Value::as_str);
    let error = detail.or_else(|| message.get("error").and_then(Value::as_str))?;
    Some(error.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_spellings_of_an_error_are_seen() {
        assert_eq!(error_of(&json!({"errorDetail": {"message": "a"}, "error": "b"})).as_deref(), Some("a"));
        assert_eq!(error_of(&json!({"error": "b"})).as_deref(), Some("b"));
        assert_eq!(error_of(&json!({"status": "fine"})), None);
    }
}
