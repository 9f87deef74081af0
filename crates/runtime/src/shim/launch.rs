//! From "set up" to "runs": the embedded runtime's last step, done our way.
//!
//! The runtime's own executor needs a `PATH`, falls back to `/bin/sh` and knows nothing of our filter. This one, for
//! init and exec alike:
//!
//! 1. at create, inside the container and as its user, finds the command in the container's `PATH` and reports
//!    Docker's words if it cannot be run;
//! 2. at start, drops the bounding set to the real one and the other sets to the real ones and CAP_SYS_ADMIN, and loads
//!    the filter; with no-new-privileges the filter needs no capability and there is nothing to keep;
//! 3. calls `execve` with exactly the spec's environment, which takes away what the bounding set does not have.
//!
//! Between 2 and 3 only this code runs, so the wider sets are never seen by the container's program.
#![expect(unsafe_code, reason = "loading a filter and resetting signals have no safe wrapper")]

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use rustix::fs::{Access, AtFlags, CWD};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
};
use serde::{Deserialize, Serialize};

use super::within::Within;
use crate::bundle::CapabilityMasks;
use crate::seccomp::Program;

/// The command cannot be run: what the shim reads from the report pipe.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub code: i32,
    pub message: String,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Launch {
    pub capabilities: CapabilityMasks,
    pub filter: Option<Rc<Program>>,
    /// The writing end of the report pipe; open in the forked child only.
    pub report: RawFd,
    /// Descriptors of the shim that must not live on in a container that waits for its start: with the shim dead, the
    /// waiting process would keep `shim.sock` open and nobody would notice.
    pub close: Vec<RawFd>,
    /// The process has a terminal, this high and wide if that is known.
    pub terminal: Option<Option<(u16, u16)>>,
    /// Init, whose late failures go to its standard error as in Docker; otherwise an exec.
    pub init: bool,
    /// The user namespace that an exec must enter by itself.
    pub within: Option<Within>,
}

impl Executor for Launch {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        for fd in &self.close {
            // SAFETY: this is the forked child, in which nothing uses the shim's descriptors.
            unsafe { libc::close(*fd) };
        }
        if let Some(size) = self.terminal {
            let user = rustix::process::geteuid();
            let inside = (!user.is_root()).then(|| user.as_raw());
            own_terminal(size, self.within.as_ref().map_or(inside, Within::outside));
        }
        if let Some(within) = &self.within
            && let Err(error) = within.enter(self.capabilities)
        {
            let message = format!("entering the container's user namespace: {}", reason(&error));
            let refusal = Refusal { code: 126, message };
            self.tell(&refusal);
            return Err(ExecutorValidationError::ArgValidationError(refusal.message));
        }
        let (args, env) = command(spec);
        let outcome = match args.first() {
            Some(name) => find(name, path_of(env)).map(drop),
            None => Err(Refusal { code: 127, message: "no command specified".into() }),
        };
        outcome.map_err(|refusal| {
            self.tell(&refusal);
            ExecutorValidationError::ArgValidationError(refusal.message)
        })
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // `execve` takes the environment; this process's own is never handed on.
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (args, env) = command(spec);
        let refusal = match args.first().map(|name| find(name, path_of(env))) {
            None => Refusal { code: 127, message: "no command specified".into() },
            Some(Err(refusal)) => refusal,
            Some(Ok(path)) => {
                let run = self.confine().and_then(|()| run(&path, args, env));
                match run {
                    Ok(never) => match never {},
                    Err(error) => {
                        Refusal { code: 126, message: format!("exec {}: {}", path.display(), reason(&error)) }
                    }
                }
            }
        };
        if self.init {
            let _ = rustix::io::write(rustix::stdio::stderr(), format!("{}\n", refusal.message).as_bytes());
        }
        self.tell(&refusal);
        Err(ExecutorError::Other(refusal.message))
    }
}

impl Launch {
    fn tell(&self, refusal: &Refusal) {
        if let Ok(bytes) = serde_json::to_vec(refusal) {
            // SAFETY: the descriptor was inherited over fork and is closed by `execve` only.
            let pipe = unsafe { BorrowedFd::borrow_raw(self.report) };
            let _ = rustix::io::write(pipe, &bytes);
        }
    }

    /// Loads the filter and drops to the real capabilities.
    fn confine(&self) -> io::Result<()> {
        reset_signals();
        let want = self.capabilities;
        let full = |mask: u64| CapabilitySet::from_bits_retain(mask);
        // Every step is checked against what is there first: dropping nothing needs no privilege.
        for bit in 0..u64::BITS {
            let cap = full(1 << bit);
            if want.bounding & (1 << bit) == 0 && capability_is_in_bounding_set(cap).unwrap_or(false) {
                remove_capability_from_bounding_set(cap)?;
            }
        }
        let held = capabilities(None)?;
        let keep = if self.filter.is_some() {
            held.permitted & CapabilitySet::SYS_ADMIN
        } else {
            CapabilitySet::empty()
        };
        set_capabilities(
            None,
            CapabilitySets {
                effective: full(want.effective) | keep,
                permitted: full(want.permitted) | keep,
                inheritable: full(want.inheritable),
            },
        )?;
        clear_ambient_capability_set()?;
        for bit in (0..u64::BITS).filter(|bit| want.ambient & (1 << bit) != 0) {
            configure_capability_in_ambient_set(full(1 << bit), true)?;
        }
        if let Some(filter) = &self.filter {
            load(filter)?;
        }
        // Nothing but `execve` from here, so a profile may forbid everything else. It is `execve` that takes
        // CAP_SYS_ADMIN away: no rule of its gives more than the bounding set, which has lost it above.
        Ok(())
    }
}

/// Sets the size before the program can ask for it, and gives the terminal to the container's user, who may want to
/// open `/dev/stdout` again.
fn own_terminal(size: Option<(u16, u16)>, user: Option<u32>) {
    let stdin = rustix::stdio::stdin();
    if let Some((ws_row, ws_col)) = size {
        let size = rustix::termios::Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let _ = rustix::termios::tcsetwinsize(stdin, size);
    }
    if let Some(user) = user {
        let _ = rustix::fs::fchown(stdin, Some(rustix::fs::Uid::from_raw(user)), None);
    }
}

fn command(spec: &Spec) -> (&[String], &[String]) {
    let process = spec.process().as_ref();
    let args = process.and_then(|p| p.args().as_deref()).unwrap_or_default();
    let env = process.and_then(|p| p.env().as_deref()).unwrap_or_default();
    (args, env)
}

fn path_of(env: &[String]) -> &str {
    env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("")
}

/// Finds a command as Go's `LookPath` does, whose words Docker's users know.
fn find(name: &str, path: &str) -> Result<PathBuf, Refusal> {
    if name.contains('/') {
        let found = PathBuf::from(name);
        return match runnable(&found) {
            Ok(()) => Ok(found),
            Err(error) => {
                let missing =
                    error.kind() == io::ErrorKind::NotFound || error.kind() == io::ErrorKind::NotADirectory;
                let stat = if missing { format!("stat {name}: ") } else { String::new() };
                Err(Refusal {
                    code: if missing { 127 } else { 126 },
                    message: format!("exec: {name:?}: {stat}{}", reason(&error)),
                })
            }
        };
    }
    let dirs = path.split(':').map(|dir| if dir.is_empty() { "." } else { dir });
    dirs.map(|dir| Path::new(dir).join(name))
        .find(|candidate| !name.is_empty() && runnable(candidate).is_ok())
        .ok_or_else(|| Refusal {
            code: 127,
            message: format!("exec: {name:?}: executable file not found in $PATH"),
        })
}

fn runnable(path: &Path) -> io::Result<()> {
    let meta = std::fs::metadata(path)?;
    if meta.is_dir() {
        return Err(rustix::io::Errno::ISDIR.into());
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?;
    Ok(())
}

/// The kernel's words, as Go and thus Docker writes them: small first letter, no number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn run(path: &Path, args: &[String], env: &[String]) -> io::Result<std::convert::Infallible> {
    let c = |text: &[u8]| CString::new(text).map_err(io::Error::from);
    let path = c(path.as_os_str().as_bytes())?;
    let args = args.iter().map(|a| c(a.as_bytes())).collect::<io::Result<Vec<_>>>()?;
    let env = env.iter().map(|e| c(e.as_bytes())).collect::<io::Result<Vec<_>>>()?;
    Ok(nix::unistd::execve(&path, &args, &env)?)
}

/// The shim blocks and ignores signals; programs expect to start with none blocked or ignored.
fn reset_signals() {
    // The kernel's `struct sigaction`, all zero: SIG_DFL, no flags, no mask.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // The C library refuses the numbers that it keeps for itself, and an engine may have inherited even those as
        // ignored; hence the bare call.
        // SAFETY: `default` outlives the call and is as large as the structure; 8 is the size of the kernel's mask.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), 8_usize)
        };
    }
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

fn load(program: &Program) -> io::Result<()> {
    #[repr(C)]
    struct FilterProgram {
        len: libc::c_ushort,
        filter: *const crate::seccomp::Instruction,
    }
    let len =
        libc::c_ushort::try_from(program.instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let argument = FilterProgram { len, filter: program.instructions.as_ptr() };
    let install = |flags: u32| -> libc::c_long {
        // SAFETY: `argument` is laid out as `struct sock_fprog`, its pointer is to `len` instructions laid out as
        // `struct sock_filter`, and both outlive the call, which copies them.
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const argument) }
    };
    if install(program.flags) == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // Flags are hints; an old kernel that does not know one still gets the filter.
    if error.raw_os_error() == Some(libc::EINVAL) && program.flags != 0 && install(0) == 0 {
        return Ok(());
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_words() {
        let missing = find("nosuchcmd", "/usr/bin:/bin").unwrap_err();
        assert_eq!(missing.message, "exec: \"nosuchcmd\": executable file not found in $PATH");
        assert_eq!(missing.code, 127);
        let missing = find("/no/such", "").unwrap_err();
        assert_eq!(
            (missing.message.as_str(), missing.code),
            ("exec: \"/no/such\": stat /no/such: no such file or directory", 127)
        );
        let plain = find("/etc/passwd", "").unwrap_err();
        assert_eq!((plain.message.as_str(), plain.code), ("exec: \"/etc/passwd\": permission denied", 126));
        let dir = find("/etc", "").unwrap_err();
        assert_eq!((dir.message.as_str(), dir.code), ("exec: \"/etc\": is a directory", 126));
        assert_eq!(find("sh", "/nowhere:/bin").unwrap(), Path::new("/bin/sh"));
    }
}
