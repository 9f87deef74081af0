//! Becoming a shim.
#![expect(unsafe_code, reason = "fork, and two calls that only exist in C")]

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::ForkResult;
use rustix::process::Pid;

use crate::bundle::TaskDir;
use crate::control::Reply;
use crate::error::{IoContext, RuntimeError};

/// Which process one is after [`detach`].
pub(super) enum Side {
    Starter,
    Shim,
}

/// What the shim holds before the container exists.
pub(super) struct Prepared {
    pub listener: UnixListener,
    pub signals: SignalFd,
    /// Locked for as long as the process lives.
    pub lock: std::fs::File,
}

/// Leaves the engine's session and becomes a child of the machine's init.
pub(super) fn detach() -> nix::Result<Side> {
    let _ = rustix::process::setsid();
    // SAFETY: `main`'s contract is that no other thread exists, so the child may do anything.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { .. } => Ok(Side::Starter),
        ForkResult::Child => Ok(Side::Shim),
    }
}

/// Everything between being detached and creating the container.
pub(super) fn prepare(dir: &TaskDir) -> Result<Prepared, RuntimeError> {
    // SAFETY: closes descriptors that nothing here has opened; the engine marks its own close-on-exec, this is for
    // those that it inherited itself.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    let _ = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let _ = rustix::process::chdir("/");
    // libcontainer leaves supplementary groups alone when a user has none: the engine's must not leak.
    rustix::thread::set_thread_groups(&[]).context(|| "dropping supplementary groups".into())?;
    // What the container leaves behind comes to this process, not to the machine's init.
    rustix::process::set_child_subreaper(Some(Pid::INIT)).context(|| "becoming a subreaper".into())?;
    let _ = rustix::thread::set_name(c"pintle-shim");
    tune_allocator();

    let mut lock = dir
        .lock()
        .context(|| "locking shim.pid".into())?
        .ok_or_else(|| RuntimeError::Conflict("another shim serves this task".into()))?;
    let _ = writeln!(lock, "{}", std::process::id());

    let mut blocked = SigSet::empty();
    for signal in
        [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP]
    {
        blocked.add(signal);
    }
    blocked.thread_block().map_err(io::Error::from).context(|| "blocking signals".into())?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(io::Error::from)
        .context(|| "making a signalfd".into())?;

    let listener = listen(dir).context(|| "binding shim.sock".into())?;
    Ok(Prepared { listener, signals, lock })
}

/// Binds `shim.sock` by its short name: the whole path may be longer than a socket address.
fn listen(dir: &TaskDir) -> io::Result<UnixListener> {
    rustix::process::chdir(dir.path())?;
    let bound = UnixListener::bind("shim.sock").and_then(|listener| {
        std::fs::set_permissions("shim.sock", std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    rustix::process::chdir("/")?;
    bound
}

/// Tells the starting engine how creation went. It may be gone: then nobody listens.
pub(super) fn report(reply: &Reply) {
    let mut line = serde_json::to_vec(reply).unwrap_or_default();
    line.push(b'\n');
    let _ = rustix::io::write(rustix::stdio::stdout(), &line);
}

/// Lets go of the engine's pipes: the answer's end tells it that there is no more. Later words go to `shim.log`.
pub(super) fn quiet(dir: &TaskDir) {
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
    if let Ok(log) = OpenOptions::new().create(true).append(true).mode(0o600).open(dir.file("shim.log")) {
        let _ = rustix::stdio::dup2_stderr(log.as_fd());
    }
}

/// One arena, returned to the kernel early: a shim lives for weeks and must be small.
fn tune_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two numbers inside malloc; no other thread exists.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 10);
    }
}

/// Gives freed memory back to the kernel.
pub(super) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}
