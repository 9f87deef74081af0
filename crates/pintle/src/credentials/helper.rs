//! Running `docker-credential-<name>`: one process, a time limit, a size limit.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// How long a helper may think. Long enough to unlock a key chain by hand.
const LIMIT: Duration = Duration::from_secs(30);

/// The most that a helper may say.
const MAX_OUTPUT: u64 = 1 << 20;

/// What helpers print when they have nothing for a server.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Why a store could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelperError {
    /// It has no credentials for the server.
    #[error("{0} has no such credentials")]
    NotFound(String),
    /// What the environment says is not to be understood.
    #[error("DOCKER_AUTH_CONFIG is not usable: {0}; correct it, or unset it")]
    Environment(String),
    /// The name is not one of a program.
    #[error("{0:?} in config.json is not the name of a credential helper")]
    BadName(String),
    /// There is no such program.
    #[error("{0} is named in config.json but is not in PATH: install it, or take it out of config.json")]
    Missing(String),
    /// Someone else could have put it there.
    #[error("{program} is not used: {path} can be written by other users")]
    Unsafe {
        /// The helper.
        program: String,
        /// The file or directory with the loose mode.
        path: String,
    },
    /// It ran out of time.
    #[error(
        "{program} did not answer '{action}' within {seconds} s and was stopped; is its key chain locked?"
    )]
    TimedOut {
        /// The helper.
        program: String,
        /// What it was asked.
        action: String,
        /// The limit.
        seconds: u64,
    },
    /// It said too much.
    #[error("{0} printed more than 1 MiB and was stopped")]
    TooLarge(String),
    /// It failed, or what it said is no answer.
    #[error("{program} failed: {reason}")]
    Failed {
        /// The helper.
        program: String,
        /// Its words, or ours.
        reason: String,
    },
}

/// Runs `action` of the helper `name` with `input` and returns what it printed.
pub async fn run(name: &str, action: &str, input: &str) -> Result<String, HelperError> {
    run_within(name, action, input, LIMIT, &std::env::var_os("PATH").unwrap_or_default()).await
}

async fn run_within(
    name: &str,
    action: &str,
    input: &str,
    limit: Duration,
    path: &std::ffi::OsStr,
) -> Result<String, HelperError> {
    let (program, file) = locate(name, path)?;
    let failed = |reason: String| HelperError::Failed { program: program.clone(), reason };
    let mut child = Command::new(&file)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .process_group(0)
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let talk = async {
        if let Some(mut stdin) = stdin {
            // A helper may answer without reading; a closed pipe is then no failure.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let mut said = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(MAX_OUTPUT + 1).read_to_end(&mut said).await.map_err(|e| failed(e.to_string()))?;
        }
        if said.len() as u64 > MAX_OUTPUT {
            return Err(HelperError::TooLarge(program.clone()));
        }
        let status = child.wait().await.map_err(|e| failed(e.to_string()))?;
        Ok((said, status))
    };
    let result = tokio::time::timeout(limit, talk).await.unwrap_or_else(|_| {
        let (program, action) = (program.clone(), action.to_owned());
        Err(HelperError::TimedOut { program, action, seconds: limit.as_secs() })
    });
    if result.is_err()
        && let Some(group) = group
    {
        // Its children, too: a shell script's `sleep` would otherwise keep the terminal.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let (said, status) = result?;
    let said = String::from_utf8(said).map_err(|_| failed("it printed something that is not text".into()))?;
    if status.success() {
        return Ok(said);
    }
    match said.trim() {
        NOT_FOUND => Err(HelperError::NotFound(program)),
        "" => Err(failed(format!("{status}, without a reason"))),
        reason => Err(failed(reason.chars().filter(|c| !c.is_control()).take(400).collect())),
    }
}

/// Whether the helper exists.
pub fn exists(name: &str) -> bool {
    locate(name, &std::env::var_os("PATH").unwrap_or_default()).is_ok()
}

fn locate(name: &str, path: &std::ffi::OsStr) -> Result<(String, PathBuf), HelperError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(plain) {
        return Err(HelperError::BadName(name.to_owned()));
    }
    let program = format!("docker-credential-{name}");
    let file = std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(&program))
        .find(|file| std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0))
        .ok_or_else(|| HelperError::Missing(program.clone()))?;
    if let Some(loose) = writable_by_others(&file) {
        return Err(HelperError::Unsafe { program, path: loose.display().to_string() });
    }
    Ok((program, file))
}

/// The first of `file`, what it links to, and their parents that another user may change.
fn writable_by_others(file: &Path) -> Option<PathBuf> {
    let real = std::fs::canonicalize(file).ok()?;
    let own = rustix::process::geteuid().as_raw();
    file.ancestors()
        .chain(real.ancestors())
        .find(|path| {
            std::fs::metadata(path).is_ok_and(|meta| {
                let sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
                let foreign = meta.uid() != 0 && meta.uid() != own;
                foreign || (meta.mode() & 0o002 != 0 && !sticky)
            })
        })
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    use super::*;

    struct Fake(tempfile::TempDir);

    impl Fake {
        fn new(script: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("docker-credential-fake");
            std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
            Self(dir)
        }

        async fn run(&self, input: &str) -> Result<String, HelperError> {
            run_within("fake", "get", input, Duration::from_millis(700), self.0.path().as_os_str()).await
        }
    }

    #[tokio::test]
    async fn a_helper_gets_its_input_and_is_heard() {
        let fake = Fake::new("read server; echo \"$1 $server\"");
        assert_eq!(fake.run("https://x\n").await.unwrap(), "get https://x\n");
    }

    #[tokio::test]
    async fn a_hung_helper_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let marker = dir.path().join("alive");
        let fake = Fake::new(&format!("(sleep 2; touch {}) & wait", marker.display()));
        let started = Instant::now();
        let error = fake.run("").await.unwrap_err();
        assert!(started.elapsed() < Duration::from_millis(1900), "took {:?}", started.elapsed());
        assert!(error.to_string().contains("docker-credential-fake did not answer 'get'"), "{error}");
        tokio::time::sleep(Duration::from_millis(2300).saturating_sub(started.elapsed())).await;
        assert!(!marker.exists(), "a child of the helper outlived it");
    }

    #[tokio::test]
    async fn a_helper_that_never_stops_talking_is_killed() {
        let fake = Fake::new("cat /dev/zero");
        assert_eq!(fake.run("").await, Err(HelperError::TooLarge("docker-credential-fake".into())));
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        let missing = Fake::new("echo 'credentials not found in native keychain'; exit 1");
        assert!(matches!(missing.run("").await, Err(HelperError::NotFound(_))));
        let failing = Fake::new("echo 'the key\x1b[31m chain is locked'; exit 1");
        let error = failing.run("").await.unwrap_err().to_string();
        assert_eq!(error, "docker-credential-fake failed: the key[31m chain is locked");
        let silent = Fake::new("exit 3");
        assert!(silent.run("").await.unwrap_err().to_string().contains("exit status: 3"));
        let binary = Fake::new("printf '\\377\\376'");
        assert!(binary.run("").await.unwrap_err().to_string().contains("not text"));
    }

    #[tokio::test]
    async fn a_helper_that_ignores_its_input_is_fine() {
        let fake = Fake::new("exec 0<&-; echo ok");
        assert_eq!(fake.run(&"x".repeat(1 << 20)).await.unwrap(), "ok\n");
    }

    #[test]
    fn only_names_of_programs_in_safe_places_are_run() {
        let path = std::ffi::OsStr::new("/usr/bin:/bin");
        assert!(matches!(locate("../../tmp/x", path), Err(HelperError::BadName(_))));
        assert!(matches!(locate("", path), Err(HelperError::BadName(_))));
        assert!(matches!(locate("no-such-helper", path), Err(HelperError::Missing(_))));
        let fake = Fake::new("true");
        std::fs::set_permissions(fake.0.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(locate("fake", fake.0.path().as_os_str()), Err(HelperError::Unsafe { .. })));
    }
}
