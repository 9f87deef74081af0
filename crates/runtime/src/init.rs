//! `--init`: a PID 1 that forwards signals and reaps.
//!
//! Bound into the container as `/sbin/docker-init` and run as `docker-init -- command…`. It ends with the command's
//! exit code (128 + signal when it was killed); what else the container left dies with the PID namespace.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, Pid, execvp, fork, setpgid};
use rustix::process::{WaitOptions, wait};

/// Runs `args` (optionally after `--`) as the only child; returns its exit code. Must be called before any thread exists.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command: Vec<CString> = args
        .into_iter()
        .enumerate()
        .filter(|(at, arg)| !(*at == 0 && arg == "--"))
        .filter_map(|(_, arg)| CString::new(arg.into_vec()).ok())
        .collect();
    let Some(program) = command.first() else {
        eprintln!("docker-init: no command");
        return ExitCode::from(2);
    };
    let all = SigSet::all();
    let mut before = SigSet::empty();
    let _ =
        nix::sys::signal::sigprocmask(nix::sys::signal::SigmaskHow::SIG_BLOCK, Some(&all), Some(&mut before));
    match start(program, &command, &before) {
        Ok(child) => supervise(child, &all),
        Err(errno) => {
            eprintln!("docker-init: fork: {errno}");
            ExitCode::from(128)
        }
    }
}

#[expect(unsafe_code, reason = "fork")]
fn start(program: &CString, command: &[CString], mask: &SigSet) -> nix::Result<Pid> {
    // SAFETY: `main`'s contract is that no other thread exists.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            // A group of its own, in the foreground, so that a terminal's Ctrl-C reaches the command and not only us.
            let me = nix::unistd::getpid();
            let _ = setpgid(me, me);
            let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid());
            let _ = mask.thread_set_mask();
            let Err(errno) = execvp(program, command);
            eprintln!("docker-init: exec {}: {}", program.to_string_lossy(), errno.desc());
            let code = if errno == Errno::ENOENT { 127 } else { 126 };
            // SAFETY: ends the forked child without running the parent's exit handlers twice.
            unsafe { libc::_exit(code) }
        }
    }
}

fn supervise(child: Pid, all: &SigSet) -> ExitCode {
    // Signals are read as numbers: real-time ones have no name in nix.
    let Ok(signals) = SignalFd::with_flags(all, SfdFlags::SFD_CLOEXEC) else { return ExitCode::from(128) };
    loop {
        let Ok(Some(info)) = signals.read_signal() else { continue };
        match i32::try_from(info.ssi_signo).unwrap_or(0) {
            libc::SIGCHLD => {}
            // Stopping PID 1 for its background use of the terminal would stop everything.
            libc::SIGTTIN | libc::SIGTTOU | libc::SIGTSTP => continue,
            other => {
                forward(child, other);
                continue;
            }
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid.as_raw_nonzero().get() != child.as_raw() {
                continue;
            }
            if let Some(code) =
                status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal))
            {
                return ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
            }
        }
    }
}

#[expect(unsafe_code, reason = "real-time signals have no safe wrapper")]
fn forward(child: Pid, signal: i32) {
    // SAFETY: kill has no memory to get wrong; the child is not reaped yet, so the pid is its own.
    unsafe { libc::kill(child.as_raw(), signal) };
}
