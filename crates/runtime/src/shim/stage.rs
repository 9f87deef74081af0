//! A process's standard streams while it is being made: its ends, and the shim's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::pipe::{PipeFlags, pipe_with};

use super::console::ConsoleSocket;
use crate::error::{IoContext, RuntimeError};
use crate::task::Attach;

/// The shim's ends of a process's standard streams, all non-blocking.
#[derive(Default)]
pub(super) struct Streams {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Both sides.
pub(super) struct Stage {
    pub console: Option<ConsoleSocket>,
    /// stdin, stdout, stderr as the process gets them; none with a terminal.
    pub theirs: Option<[OwnedFd; 3]>,
    pub ours: Streams,
}

impl Stage {
    pub(super) fn new(dir: &Path, terminal: bool, attach: Attach, uid: u32) -> Result<Self, RuntimeError> {
        let what = || "making the standard streams".to_owned();
        if terminal {
            let console = ConsoleSocket::bind(dir).context(what)?;
            return Ok(Self { console: Some(console), theirs: None, ours: Streams::default() });
        }
        let mut ours = Streams::default();
        let null = || -> io::Result<OwnedFd> {
            Ok(std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?.into())
        };
        let pipe = || -> io::Result<(OwnedFd, OwnedFd)> {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            if uid != 0 {
                // A program that is not root may open `/dev/stdout` again.
                let _ = rustix::fs::fchown(&read, Some(rustix::fs::Uid::from_raw(uid)), None);
            }
            Ok((read, write))
        };
        let stdin = if attach.stdin {
            let (read, write) = pipe().context(what)?;
            ours.stdin = Some(write);
            read
        } else {
            null().context(what)?
        };
        let output = |wanted: bool, ours: &mut Option<OwnedFd>| -> io::Result<OwnedFd> {
            if !wanted {
                return null();
            }
            let (read, write) = pipe()?;
            *ours = Some(read);
            Ok(write)
        };
        let stdout = output(attach.stdout, &mut ours.stdout).context(what)?;
        let stderr = output(attach.stderr, &mut ours.stderr).context(what)?;
        Ok(Self { console: None, theirs: Some([stdin, stdout, stderr]), ours })
    }

    /// The shim's side, once the process has its own.
    pub(super) fn streams(self) -> Result<Streams, RuntimeError> {
        let what = || "taking the standard streams".to_owned();
        let mut streams = self.ours;
        if let Some(console) = self.console {
            let master = console.receive().context(what)?;
            let input = rustix::io::fcntl_dupfd_cloexec(&master, 3).context(what)?;
            streams = Streams { stdin: Some(input), stdout: Some(master), stderr: None };
        }
        for fd in [&streams.stdin, &streams.stdout, &streams.stderr].into_iter().flatten() {
            rustix::io::ioctl_fionbio(fd.as_fd(), true).context(what)?;
        }
        Ok(streams)
    }
}

/// The container's `oom_score_adj` is inherited from the shim, which must have its own back afterwards.
pub(crate) struct OomScore(Option<String>);

const OOM_SCORE: &str = "/proc/self/oom_score_adj";

impl OomScore {
    pub(crate) fn set(wanted: Option<i32>) -> Result<Self, RuntimeError> {
        let Some(wanted) = wanted else { return Ok(Self(None)) };
        let own = std::fs::read_to_string(OOM_SCORE).context(|| format!("reading {OOM_SCORE}"))?;
        if own.trim() == wanted.to_string() {
            return Ok(Self(None));
        }
        match std::fs::write(OOM_SCORE, wanted.to_string()) {
            Ok(()) => {}
            // The default, which nobody asked for: an engine that may not lower its own score still runs containers.
            Err(_) if wanted == 0 => return Ok(Self(None)),
            Err(error) => {
                return Err(RuntimeError::Unsupported(format!(
                    "cannot set oom_score_adj to {wanted}: {error} (lowering it below {} needs CAP_SYS_RESOURCE)",
                    own.trim()
                )));
            }
        }
        Ok(Self(Some(own)))
    }

    pub(crate) fn restore(self) {
        if let Some(own) = self.0
            && let Err(error) = std::fs::write(OOM_SCORE, own.trim())
        {
            eprintln!("restoring oom_score_adj: {error}");
        }
    }
}
