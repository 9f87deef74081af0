//! `plugin validate`: everything that can be said about a plugin's directory without running it.

use std::fmt;
use std::path::Path;

use pintle_wire::config::{PluginConfig, Severity, privileges, validate_text};

use super::{package, place, rootfs};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The plugin cannot work.
    Error,
    /// It may not work as meant.
    Warning,
    /// It could be smaller, or need less.
    Hint,
}

/// What was found. Printed: findings, privileges, a summary.
#[derive(Debug, Default)]
pub struct Report {
    findings: Vec<(Level, String, String)>,
    notes: Vec<String>,
    privileges: Option<Vec<String>>,
}

impl Report {
    /// Adds a finding about `place`.
    pub fn add(&mut self, level: Level, place: impl Into<String>, message: impl Into<String>) {
        self.findings.push((level, place.into(), message.into()));
    }

    /// Adds a plain statement.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// How many findings of that level there are.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|(l, ..)| *l == level).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (level, place, message) in &self.findings {
            let level = match level {
                Level::Error => "error",
                Level::Warning => "warning",
                Level::Hint => "hint",
            };
            writeln!(f, "{level}: {place}: {message}")?;
        }
        match self.privileges.as_deref() {
            None => {}
            Some([]) => writeln!(f, "privileges: none; it installs without a question")?,
            Some(list) => {
                writeln!(f, "privileges that a user will be asked for:")?;
                list.iter().try_for_each(|line| writeln!(f, " - {line}"))?;
            }
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))?;
        let (errors, warnings) = (self.count(Level::Error), self.count(Level::Warning));
        if errors + warnings == 0 {
            return Ok(());
        }
        writeln!(f, "{}, {}", counted(errors, "error"), counted(warnings, "warning"))
    }
}

/// `1 error`, `2 errors`.
pub fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Checks the plugin in `dir`.
pub fn check(dir: &Path) -> Report {
    let mut report = Report::default();
    let config = config(dir, &mut report);
    let root = dir.join("rootfs");
    if let Some(config) = config {
        let list = privileges(&config);
        report.privileges =
            Some(list.iter().map(|p| format!("{}: [{}]", p.name, p.value.join(" "))).collect());
        if !root.exists() && dir.join("Cargo.toml").exists() {
            report.note("rootfs: not there yet; 'pintle plugin build' compiles the program and fills it");
        } else {
            rootfs::check(&root, &config.entrypoint, &mut report);
        }
    }
    report.findings.sort_by_key(|(level, ..)| *level);
    report
}

fn config(dir: &Path, report: &mut Report) -> Option<PluginConfig> {
    let path = dir.join("config.json");
    let shown = path.display().to_string();
    let text = match package::read_config(&path) {
        Ok(text) => text,
        Err(error) => {
            report.add(Level::Error, shown, format!("{error:#}"));
            return None;
        }
    };
    let (config, findings) = match validate_text(&text) {
        Ok(valid) => valid,
        Err(error) => {
            report.add(Level::Error, format!("{shown}:{}:{}", error.line, error.column), error.message);
            return None;
        }
    };
    for finding in findings {
        let level = match finding.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
        };
        let (line, column) = place::of(&text, &finding.path).unwrap_or((1, 1));
        report.add(
            level,
            format!("{shown}:{line}:{column}"),
            format!("{} {}", finding.path, finding.message),
        );
    }
    Some(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(config: &str) -> Report {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        check(dir.path())
    }

    #[test]
    fn mistakes_are_placed() {
        let text = report("{\n  \"entrypoint\": [\"/x\"],\n  \"interface\": {\n    \"types\": [\"docker.volumedriver/1.0\"],\n    \"socket\": \"a/b\"\n  }\n}").to_string();
        assert!(text.contains("config.json:5:15: interface.socket must be a file name"), "{text}");
        let broken = report("{\n  \"entrypoint\": [,]\n}").to_string();
        assert!(broken.contains("config.json:2:"), "{broken}");
        assert!(report("").to_string().starts_with("error: "));
    }

    #[test]
    fn privileges_are_listed() {
        let text = report(
            r#"{"entrypoint": ["/x"], "interface": {"types": ["docker.volumedriver/1.0"], "socket": "x.sock"},
                "network": {"type": "host"}, "linux": {"capabilities": ["CAP_SYS_ADMIN"]}}"#,
        )
        .to_string();
        assert!(text.contains(" - network: [host]\n - capabilities: [CAP_SYS_ADMIN]"), "{text}");
    }
}
