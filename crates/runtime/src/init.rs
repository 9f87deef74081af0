//! `--init`: a PID 1 that forwards signals and reaps.
use std::process::ExitCode;
/// Runs `args` (the command after `--`) as PID 1's only child; ends with its status.
pub fn main(args: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode { let _ = args.into_iter(); todo!() }
