//! One runtime binary and how it is called.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::words;
use crate::bundle::TaskDir;
use crate::error::RuntimeError;

/// How long a runtime may take to make a container: some boot a virtual machine.
pub(crate) const CREATE: Duration = Duration::from_secs(120);
/// How long any other call may take.
pub(crate) const CALL: Duration = Duration::from_secs(60);
/// How long cleaning up may take.
pub(crate) const DELETE: Duration = Duration::from_secs(20);

/// A runtime that is a program of its own. Kept with each container that it made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binary {
    /// The name that it was asked for by.
    pub name: String,
    /// The program; a bare name is looked for in `PATH`.
    pub path: PathBuf,
    /// What is put before every verb.
    #[serde(default)]
    pub args: Vec<String>,
}

impl Binary {
    /// The program as a path that can be run, if there is one.
    pub(crate) fn found(&self) -> io::Result<PathBuf> {
        if self.path.components().count() > 1 || self.path.is_absolute() {
            std::fs::metadata(&self.path)?;
            return Ok(self.path.clone());
        }
        search_path()
            .split(':')
            .map(|dir| Path::new(dir).join(&self.path))
            .find(|path| path.is_file())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Why the program cannot be run, if it cannot.
    #[must_use]
    pub fn unavailable(&self) -> Option<String> {
        self.found().err().map(|error| crate::shim::reason(&error))
    }

    /// The bare program with its own arguments, in a small environment of known content.
    pub(crate) fn bare(&self) -> Command {
        let mut command = Command::new(self.found().unwrap_or_else(|_| self.path.clone()));
        // Docker joins the arguments with spaces in a script, so that one may hold several.
        command
            .args(self.args.iter().flat_map(|arg| arg.split_whitespace()))
            .env_clear()
            .env("PATH", search_path())
            .env("HOME", "/root")
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// A call about a container: `<path> <args> --root … --log … --log-format json`, to which a verb is added.
    pub(crate) fn about(&self, dir: &TaskDir, log: &Path) -> Command {
        let mut command = self.bare();
        command.arg("--root").arg(state(dir)).arg("--log").arg(log).args(["--log-format", "json"]);
        command
    }

    /// Calls a verb and waits for its end, with its words kept apart from anybody's output.
    ///
    /// # Errors
    /// What the runtime said, after `prefix`.
    pub(crate) fn call(
        &self,
        dir: &TaskDir,
        args: &[&OsStr],
        budget: Duration,
        prefix: &str,
    ) -> Result<(), RuntimeError> {
        let said = words::Said::new(dir, args.first().and_then(|word| word.to_str()).unwrap_or("call"));
        let mut command = self.about(dir, said.log());
        command.args(args);
        let outcome = said
            .capture(&mut command)
            .and_then(|()| command.spawn())
            .and_then(|mut child| within(&mut child, budget));
        said.verdict(self, outcome, prefix)
    }

    /// Removes what the runtime holds of a container, dead or alive.
    pub(crate) fn delete(&self, dir: &TaskDir, id: &str) -> Result<(), RuntimeError> {
        let args = ["delete", "--force", id].map(OsStr::new);
        self.call(dir, &args, DELETE, "OCI runtime delete failed")
    }
}

/// Where a runtime keeps what it knows of a task's container: in the task's own directory.
pub(crate) fn state(dir: &TaskDir) -> PathBuf {
    dir.file("oci")
}

fn search_path() -> String {
    std::env::var("PATH")
        .ok()
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| crate::spec::default_path().into())
}

/// Waits for the end of a child; one that takes too long is killed.
///
/// # Errors
/// `TimedOut` when it was killed for its time.
pub(crate) fn within(child: &mut Child, budget: Duration) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + budget;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let watched = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::ErrorKind::TimedOut.into());
        }
        match &watched {
            Some(fd) => {
                let _ = poll(&mut [PollFd::new(fd, PollFlags::IN)], Timespec::try_from(left).ok().as_ref());
            }
            // Without such descriptors (a very old kernel) one looks again.
            None => std::thread::sleep(left.min(Duration::from_millis(5))),
        }
    }
}

/// The code of an end, as a shell would say it.
pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

/// A file for words, made anew.
pub(crate) fn fresh(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(path: &str, args: &[&str]) -> Binary {
        Binary {
            name: "x".into(),
            path: path.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        }
    }

    #[test]
    fn arguments_are_split_as_dockers_script_splits_them() {
        let command = binary("/bin/echo", &["--platform=ptrace --network=none", "-x"]).bare();
        let args: Vec<_> = command.get_args().collect();
        assert_eq!(args, ["--platform=ptrace", "--network=none", "-x"]);
    }

    #[test]
    fn bare_names_are_looked_for() {
        assert!(binary("sh", &[]).found().unwrap().is_absolute());
        assert!(binary("no-such-runtime", &[]).found().is_err());
        assert!(binary("/no/such/runtime", &[]).found().is_err());
    }

    #[test]
    fn a_runtime_that_hangs_is_killed() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let error = within(&mut child, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let mut child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        assert_eq!(code(within(&mut child, CALL).unwrap()), 7);
    }
}
