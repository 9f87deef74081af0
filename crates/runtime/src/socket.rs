//! What the kernel knows of a connection and no safe library tells.

#![expect(unsafe_code, reason = "one ioctl that no safe library has")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// How many bytes of what was written to a socket its other end does not have yet: not acknowledged over TCP, not read
/// over a unix socket (there with what the kernel needs besides, but 0 only when nothing is left).
pub fn unsent(socket: &impl AsFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed and so open; TIOCOUTQ (SIOCOUTQ for sockets) writes one int where it is told to.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixStream};

    use super::*;

    #[test]
    fn what_was_not_read_is_counted() {
        let (mut here, there) = UnixStream::pair().unwrap();
        assert_eq!(unsent(&here).unwrap(), 0);
        here.write_all(b"abc").unwrap();
        assert!(unsent(&here).unwrap() >= 3);
        std::io::Read::read_exact(&mut &there, &mut [0; 3]).unwrap();
        assert_eq!(unsent(&here).unwrap(), 0);
    }
}
