//! Running plugins: found in the binary path and nowhere else, with nothing in their environment but what is meant
//! for them, and not for ever.

use std::{
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use pintle_contract::{DriverError, ErrorKind};
use pintle_wire::cni::{CniError, Command, Invocation, PluginType};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags},
    process::{Pid, Signal},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Child,
    time::{sleep, timeout},
};

use super::trust;

/// Results are a few kilobytes. More is a plugin gone mad.
const MOST_OUTPUT: usize = 1 << 20;
/// What is kept of standard error for people.
const LAST_WORDS: usize = 4096;
/// How long pipes are waited for once the plugin is gone: a daemon that it left behind may hold them.
const LINGER: Duration = Duration::from_millis(500);
/// Where programs that plugins run are, if the engine was not told.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The plugins of this host.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    /// Folders, in the order in which they are looked through.
    pub(super) folders: Vec<PathBuf>,
    /// What one call may take.
    pub(super) budget: Duration,
}

/// A plugin that failed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    plugin: String,
    command: Command,
    pub(super) cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// It could not be run, or its answer not be read.
    Broken(DriverError),
    /// It said so itself.
    Said(CniError),
}

impl Failure {
    pub(super) fn new(plugin: &PluginType, command: Command, cause: impl Into<DriverError>) -> Self {
        Self { plugin: plugin.to_string(), command, cause: Cause::Broken(cause.into()) }
    }
}

impl From<Failure> for DriverError {
    fn from(failure: Failure) -> Self {
        let (kind, text) = match failure.cause {
            Cause::Broken(error) => (error.kind, error.message),
            Cause::Said(error) => (error.kind(), error.to_string()),
        };
        Self::new(kind, format!("CNI plugin {} ({}): {text}", failure.plugin, failure.command.name()))
    }
}

impl Programs {
    /// The plugin's program. Neither its name nor a symbolic link leads out of the binary path (CVE-2021-20206), and
    /// nobody but root could have put it there.
    pub(super) fn locate(&self, plugin: &PluginType) -> Result<PathBuf, DriverError> {
        for folder in &self.folders {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(opened) = rustix::fs::openat(CWD, folder, flags, Mode::empty()) else { continue };
            let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            match rustix::fs::openat2(&opened, plugin.as_str(), flags, Mode::empty(), beneath) {
                Ok(file) => return self.judge(plugin, folder, &file),
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(rustix::io::Errno::XDEV) => {
                    return Err(DriverError::new(
                        ErrorKind::PermissionDenied,
                        format!(
                            "CNI plugin {plugin}: {} is a link that leaves its folder; name the folder it leads to in \
                             binary-path",
                            folder.join(plugin.as_str()).display()
                        ),
                    ));
                }
                Err(error) => {
                    let place = folder.join(plugin.as_str());
                    return Err(DriverError::internal(format!(
                        "CNI plugin {plugin}: {}: {error}",
                        place.display()
                    )));
                }
            }
        }
        let folders: Vec<_> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        Err(DriverError::not_found(format!("CNI plugin {plugin} is not in {}", folders.join(", "))))
    }

    fn judge(
        &self,
        plugin: &PluginType,
        folder: &Path,
        file: &rustix::fd::OwnedFd,
    ) -> Result<PathBuf, DriverError> {
        let place = folder.join(plugin.as_str());
        let wrong = |what: String| {
            let message = format!("CNI plugin {plugin}: {}: {what}", place.display());
            Err(DriverError::new(ErrorKind::PermissionDenied, message))
        };
        let stat = rustix::fs::fstat(file).map_err(io::Error::from)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            return wrong("not a file".to_owned());
        }
        if stat.st_mode & 0o111 == 0 {
            return wrong("not executable".to_owned());
        }
        match trust::stranger(&place.canonicalize()?)? {
            Some(stranger) => wrong(format!("other users may write to {}", stranger.display())),
            None => Ok(place),
        }
    }

    /// Calls the plugin and reads its answer; `None` if it printed nothing.
    ///
    /// Dropping the future, or the end of the budget, kills the plugin and every program that it started and that
    /// did not leave its process group.
    pub(super) async fn run(
        &self,
        plugin: &PluginType,
        invocation: &Invocation,
        config: &Value,
    ) -> Result<Option<Value>, Failure> {
        let fail = |error: DriverError| Failure::new(plugin, invocation.command, error);
        let program = self.locate(plugin).map_err(fail)?;
        let mut running = Running::start(&program, invocation).await.map_err(|error| fail(error.into()))?;
        let config = config.to_string();
        let Ok(finished) = timeout(self.budget, running.finish(config.as_bytes())).await else {
            running.kill();
            let message = format!("did not finish within {} s and was killed", self.budget.as_secs_f32());
            return Err(fail(DriverError::new(ErrorKind::Timeout, message)));
        };
        let finished = finished.map_err(|error| fail(error.into()))?;
        if !finished.errors.is_empty() {
            tracing::debug!(%plugin, command = invocation.command.name(), text = %finished.errors, "CNI plugin said");
        }
        finished.judge().map_err(|cause| Failure {
            plugin: plugin.to_string(),
            command: invocation.command,
            cause,
        })
    }
}

/// A plugin at work, alone in its process group.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    async fn start(program: &Path, invocation: &Invocation) -> io::Result<Self> {
        let mut command = tokio::process::Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into()))
            .envs(invocation.to_env())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut tries = 0;
        let child = loop {
            match command.spawn() {
                // Its installer has it open still.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < 20 => {
                    tries += 1;
                    sleep(Duration::from_millis(100)).await;
                }
                other => break other?,
            }
        };
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    async fn finish(&mut self, config: &[u8]) -> io::Result<Finished> {
        let (stdin, stdout, stderr) =
            (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let status = {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // A plugin may have its answer without having read the question.
                    let _ = stdin.write_all(config).await;
                }
            };
            let talk = async {
                let errors = keep_last(stderr, &mut errors);
                let (read, (), ()) = tokio::join!(read(stdout, &mut output), errors, write);
                read
            };
            tokio::pin!(talk);
            tokio::select! {
                status = self.child.wait() => {
                    match timeout(LINGER, &mut talk).await {
                        Ok(read) => read?,
                        Err(_) => tracing::debug!("a CNI plugin left something behind that holds its pipes"),
                    }
                    status?
                }
                read = &mut talk => {
                    read?;
                    self.child.wait().await?
                }
            }
        };
        // It is over; a daemon that the plugin left behind in its group is meant to stay.
        self.group = None;
        Ok(Finished { status, output, errors: String::from_utf8_lossy(&errors).trim().to_owned() })
    }

    fn kill(&mut self) {
        if let Some(group) = self.group.take() {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, output: &mut Vec<u8>) -> io::Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    pipe.take(MOST_OUTPUT as u64 + 1).read_to_end(output).await?;
    if output.len() > MOST_OUTPUT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer has no end"));
    }
    Ok(())
}

async fn keep_last(pipe: Option<impl AsyncRead + Unpin>, last: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        last.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let surplus = last.len().saturating_sub(LAST_WORDS);
        last.drain(..surplus);
    }
}

/// A plugin that has ended.
struct Finished {
    status: ExitStatus,
    output: Vec<u8>,
    errors: String,
}

impl Finished {
    fn judge(&self) -> Result<Option<Value>, Cause> {
        let text = self.output.trim_ascii();
        let answer: Option<Value> = match serde_json::from_slice(text) {
            Ok(value) => Some(value),
            Err(_) if text.is_empty() || !self.status.success() => None,
            Err(error) => {
                let text = String::from_utf8_lossy(text);
                let message = format!("its answer is not JSON ({error}): {text:.200}");
                return Err(Cause::Broken(DriverError::internal(message)));
            }
        };
        if self.status.success() {
            return Ok(answer);
        }
        if let Some(error) = answer.as_ref().and_then(|answer| CniError::decode(answer).ok()) {
            return Err(Cause::Said(error));
        }
        let mut message = format!("failed without a word ({})", self.status);
        if !self.errors.is_empty() {
            message = format!("failed ({}): {}", self.status, self.errors);
        } else if !text.is_empty() {
            message = format!("failed ({}): {:.200}", self.status, String::from_utf8_lossy(text));
        }
        Err(Cause::Broken(DriverError::internal(message)))
    }
}
