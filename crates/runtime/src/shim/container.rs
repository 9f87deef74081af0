//! The container, by whichever runtime made it.

use std::os::fd::RawFd;

use super::embedded::Embedded;
use super::program::Program;
use super::stage::Streams;
use crate::bundle::{Manifest, TaskDir};
use crate::error::RuntimeError;

/// A container that exists.
pub(super) enum Container {
    /// Made by the runtime that is linked in, which answers at once.
    Embedded(Box<Embedded>),
    /// Made by a program, which is called and answers when it ends.
    Program(Program),
}

impl Container {
    /// Sets up everything up to the last step. The waiting process lets go of `close`.
    pub(super) fn create(
        dir: &TaskDir,
        manifest: &Manifest,
        close: Vec<RawFd>,
    ) -> Result<(Self, u32, Streams), RuntimeError> {
        match &manifest.runtime {
            None => Embedded::create(dir, manifest, close)
                .map(|(container, pid, streams)| (Self::Embedded(Box::new(container)), pid, streams)),
            Some(binary) => Program::create(dir, manifest, binary)
                .map(|(container, pid, streams)| (Self::Program(container), pid, streams)),
        }
    }
}
