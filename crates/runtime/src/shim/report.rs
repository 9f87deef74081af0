//! The pipe on which a process that is being made says why it cannot run.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use libcontainer::error::LibcontainerError;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Deserialize;

use super::launch::Refusal;
use super::witness::Remark;
use crate::error::{IoContext, RuntimeError};

/// No more than this is read of it.
const MOST: u64 = 64 << 10;

/// Both ends.
pub(crate) struct Report {
    read: OwnedFd,
    write: OwnedFd,
}

/// What comes through it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Refused(Refusal),
    Remarked(Remark),
}

impl Report {
    pub(crate) fn new() -> Result<Self, RuntimeError> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).context(|| "making the report pipe".into())?;
        Ok(Self { read, write })
    }

    /// The end that the process writes to.
    pub(crate) fn writer(&self) -> RawFd {
        self.write.as_raw_fd()
    }

    /// Why it did not work: the process's own report if there is one, else the runtime's.
    pub(crate) fn refused(self, error: &LibcontainerError, prefix: &str) -> RuntimeError {
        drop(self.write);
        let _ = rustix::io::ioctl_fionbio(&self.read, true);
        let mut report = Vec::new();
        let _ = File::from(self.read).take(MOST).read_to_end(&mut report);
        let mut remarks: Vec<String> = Vec::new();
        for line in serde_json::Deserializer::from_slice(&report).into_iter::<Line>().flatten() {
            match line {
                Line::Refused(Refusal { code, message }) => {
                    let message = format!("{prefix}: {message}: unknown");
                    return RuntimeError::Command { code, message };
                }
                Line::Remarked(Remark { said }) if !remarks.contains(&said) => remarks.push(said),
                Line::Remarked(_) => {}
            }
        }
        // The first remarks are nearest to the cause.
        remarks.truncate(3);
        let causes = if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join("; ")) };
        RuntimeError::Internal(format!("{prefix}: {}{causes}", chain(error)))
    }
}

/// An error with its causes, which the embedded runtime keeps apart.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
