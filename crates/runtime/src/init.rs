//! `--init`: a PID 1 that forwards signals and reaps.
//!
//! Bound into the container as `/sbin/docker-init` and run as `docker-init -- command…`. It ends with the command's
//! exit code (128 + signal when it was killed); what else the container left dies with the PID namespace.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execvp, fork, setpgid};

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
    loop {
        let Ok(signal) = all.wait() else { continue };
        match signal {
            Signal::SIGCHLD => {}
            // Stopping PID 1 for its background use of the terminal would stop everything.
            Signal::SIGTTIN | Signal::SIGTTOU | Signal::SIGTSTP => continue,
            other => {
                let _ = kill(child, other);
                continue;
            }
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == child => {
                    return ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                    return ExitCode::from(128_u8.wrapping_add(signal as u8));
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(_) | Err(_) => {}
            }
        }
    }
}
