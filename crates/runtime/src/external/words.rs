//! What a runtime said when it failed.
//!
//! A runtime writes JSON lines into the file of `--log`; what it prints besides (or a wrapper of it, or the dynamic
//! linker) is caught in a second file. Its last error is what users read, after Docker's own words. Docker tells the
//! exit code of a command that cannot be run from those words too; there is nothing else that a command line says.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde::Deserialize;

use super::binary::{Binary, code, fresh};
use crate::bundle::TaskDir;
use crate::error::RuntimeError;

/// More than this of what a runtime said is not read.
const MOST: u64 = 64 << 10;
/// More than this is not shown.
const SHOWN: usize = 2000;

/// The two files of one call; gone with it.
#[derive(Debug)]
pub(crate) struct Said {
    log: PathBuf,
    printed: PathBuf,
}

impl Said {
    /// For a call named `call`; a name is used by one call at a time.
    pub(crate) fn new(dir: &TaskDir, call: &str) -> Self {
        Self { log: dir.file(&format!("{call}.log.json")), printed: dir.file(&format!("{call}.printed")) }
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// What the call prints goes to a file.
    pub(crate) fn capture(&self, command: &mut Command) -> io::Result<()> {
        let printed = fresh(&self.printed)?;
        command.stdout(Stdio::from(printed.try_clone()?)).stderr(Stdio::from(printed));
        Ok(())
    }

    /// Keeps what was printed elsewhere.
    pub(crate) fn keep(&self, printed: &[u8]) {
        let _ = fresh(&self.printed).and_then(|mut file| file.write_all(printed));
    }

    /// Its end as a result.
    pub(crate) fn verdict(
        self,
        binary: &Binary,
        outcome: io::Result<ExitStatus>,
        prefix: &str,
    ) -> Result<(), RuntimeError> {
        let why = match outcome {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => self.why(binary, code(status)),
            Err(error) => never(binary, &error),
        };
        Err(failure(prefix, &why))
    }

    /// Why a call that ended with `code` failed.
    pub(crate) fn why(&self, binary: &Binary, code: i32) -> String {
        last_error(&head(&self.log)).unwrap_or_else(|| {
            let printed = head(&self.printed);
            let printed = printed.trim();
            let path = binary.path.display();
            if printed.is_empty() {
                format!("{path} did not terminate successfully: exit status {code}")
            } else {
                format!("{path} did not terminate successfully: exit status {code}: {}", shown(printed))
            }
        })
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.log);
        let _ = std::fs::remove_file(&self.printed);
    }
}

/// Why a call that did not come to its end failed.
pub(crate) fn never(binary: &Binary, error: &io::Error) -> String {
    let path = binary.path.display();
    if error.kind() == io::ErrorKind::TimedOut {
        return format!("{path} did not answer in time and was killed");
    }
    format!("fork/exec {path}: {}", crate::shim::reason(error))
}

/// An error that users read, with the exit code that Docker gives to it.
pub(crate) fn failure(prefix: &str, why: &str) -> RuntimeError {
    // Docker's client tells a command that is not there from these words, spelt as Go spells them.
    let why = ["No such file or directory", "Permission denied", "Exec format error"]
        .iter()
        .fold(why.to_owned(), |why, words| why.replace(words, &words.to_ascii_lowercase()));
    let message = format!("{prefix}: {why}: unknown");
    let lower = why.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&[
        "executable file not found",
        "not found in $path",
        "no such file or directory",
        "error finding executable",
    ]) {
        RuntimeError::Command { code: 127, message }
    } else if says(&["permission denied", "is a directory", "not a directory", "exec format error"]) {
        RuntimeError::Command { code: 126, message }
    } else {
        RuntimeError::Internal(message)
    }
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// The last line of a JSON log that is an error; runtimes repeat the whole chain of causes in it.
fn last_error(log: &str) -> Option<String> {
    let lines: Vec<Line> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let bad = |line: &&Line| {
        ["error", "fatal", "panic", "err", "warning"].contains(&line.level.to_ascii_lowercase().as_str())
            && !line.msg.trim().is_empty()
    };
    let worse = |line: &&Line| bad(line) && !line.level.eq_ignore_ascii_case("warning");
    let line = lines.iter().rev().find(worse).or_else(|| lines.iter().rev().find(bad))?;
    Some(shown(line.msg.trim()))
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

fn head(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(MOST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_the_one_with_all_causes() {
        let log = concat!(
            r#"{"level":"warning","msg":"signal: killed","time":"x"}"#,
            "\n",
            r#"{"level":"error","msg":"runc create failed: no such profile","time":"x"}"#,
            "\nnot json\n",
            r#"{"level":"info","msg":"bye","time":"x"}"#,
            "\n"
        );
        assert_eq!(last_error(log).as_deref(), Some("runc create failed: no such profile"));
        assert_eq!(last_error("").as_deref(), None);
    }

    #[test]
    fn exit_codes_follow_dockers_rules() {
        let code = |why: &str| failure("x", why).exit_code();
        assert_eq!(code(r#"exec: "nope": executable file not found in $PATH"#), 127);
        assert_eq!(code("executable file `nope` not found in $PATH: No such file or directory"), 127);
        assert_eq!(code(r#"exec: "/etc/passwd": permission denied"#), 126);
        assert_eq!(code("cgroups: cannot find cgroup mount"), 128);
        assert_eq!(
            failure("OCI runtime create failed", "why").to_string(),
            "OCI runtime create failed: why: unknown"
        );
    }
}
