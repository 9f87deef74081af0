//! The process that outlives the engine.
use std::process::ExitCode;
/// Runs the shim for the task directory that is the one argument. Must be called before any thread exists.
pub fn main(args: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode { let _ = args.into_iter(); todo!() }
