//! Running the steps and showing them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use super::engine::Engine;

/// No step takes longer on any machine that is worth the wait.
const LIMIT: Duration = Duration::from_secs(120);

/// The steps so far.
pub struct Steps<'a> {
    engine: &'a Engine,
    current: String,
}

impl<'a> Steps<'a> {
    /// Steps on `engine`.
    pub fn new(engine: &'a Engine) -> Self {
        Self { engine, current: "the start".to_owned() }
    }

    /// The command under way, as a user would type it.
    pub fn current(&self) -> &str {
        &self.current
    }

    /// A heading.
    pub fn title(&self, text: &str) {
        println!("\n# {text}");
    }

    /// Starts the engine.
    pub async fn start_engine(&mut self) -> Result<()> {
        let options: Vec<String> = self.engine.options();
        self.begin(&format!("pintle daemon {} &", options.join(" ")));
        let started = Instant::now();
        self.engine.start().await?;
        finish("", started.elapsed());
        println!("$ export DOCKER_HOST={}", self.engine.host());
        Ok(())
    }

    /// Runs `pintle` with `args`, shows what it printed, and returns its standard output.
    pub async fn run(&mut self, args: &[&str]) -> Result<String> {
        let shown: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
        self.begin(&format!("pintle {}", shown.join(" ")));
        let started = Instant::now();
        let child = Command::new("/proc/self/exe")
            .arg0("pintle")
            .args(args)
            .current_dir(self.engine.work_dir())
            .env("DOCKER_HOST", self.engine.host())
            .env("DOCKER_CONFIG", self.engine.dir().join("docker"))
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_API_VERSION")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(LIMIT, child).await.with_context(|| {
            format!("no result within {LIMIT:?}; the engine's last words:\n{}", self.engine.last_words())
        })??;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        finish(&format!("{errors}{text}"), started.elapsed());
        if !output.status.success() {
            bail!("{}\n{}The engine's last words:\n{}", output.status, errors, self.engine.last_words());
        }
        Ok(text)
    }

    fn begin(&mut self, command: &str) {
        command.clone_into(&mut self.current);
        println!("$ {command}");
    }
}

fn finish(output: &str, took: Duration) {
    for line in output.lines() {
        println!("    {line}");
    }
    println!("    ({} ms)", took.as_millis());
}

/// The word as a shell needs it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("notes:/data"), "notes:/data");
        assert_eq!(quoted("{{.Name}}"), "'{{.Name}}'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
