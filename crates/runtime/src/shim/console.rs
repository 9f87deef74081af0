//! Terminals: receiving one from the container, and its size.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use rustix::termios::Winsize;

/// The socket on which the container's side hands over the terminal.
pub(super) struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
    /// The directory, for a path that is short enough whatever the directory's own is.
    dir: File,
}

impl ConsoleSocket {
    /// Binds it in the task's directory.
    pub(super) fn bind(dir: &Path) -> io::Result<Self> {
        let path = dir.join("console.sock");
        let _ = std::fs::remove_file(&path);
        rustix::process::chdir(dir)?;
        let listener = UnixListener::bind("console.sock");
        rustix::process::chdir("/")?;
        Ok(Self { listener: listener?, path, dir: File::open(dir)? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A path that another program can connect to: a socket's address holds 107 bytes.
    pub(super) fn address(&self) -> PathBuf {
        if self.path.as_os_str().len() <= 107 {
            return self.path.clone();
        }
        format!("/proc/{}/fd/{}/console.sock", std::process::id(), self.dir.as_raw_fd()).into()
    }

    /// Takes the terminal that was sent. Only called when creation succeeded, so it is there already.
    #[expect(unsafe_code, reason = "a received descriptor is a bare number")]
    pub(super) fn receive(&self) -> io::Result<OwnedFd> {
        self.listener.set_nonblocking(true)?;
        let (stream, _) = self.listener.accept()?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
        let mut byte = [0; 64];
        let mut iov = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!([RawFd; 4]);
        let message =
            recvmsg::<()>(stream.as_raw_fd(), &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut received = None;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                for fd in fds {
                    // SAFETY: the kernel just made this descriptor for us and nothing else knows it.
                    received = Some(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
        received.ok_or_else(|| io::Error::other("the container sent no terminal"))
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Sets the size that programs in the terminal see.
pub(super) fn set_size(master: &OwnedFd, height: u16, width: u16) -> io::Result<()> {
    let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(master, size)?)
}
