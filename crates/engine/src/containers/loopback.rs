//! The loopback interface of a container's own network, which the kernel makes but leaves down.

use std::{fs::File, io, os::fd::AsFd};

use rustix::{
    net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// Brings it up in the network namespace of process `pid`. Blocks for some microseconds.
pub(super) fn bring_up(pid: u32) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    // A thread of its own: one that moved into a namespace must do nothing else afterwards.
    let moved = std::thread::Builder::new().name("loopback".to_owned()).spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        set_up()
    })?;
    moved.join().unwrap_or_else(|_| Err(io::Error::other("the thread failed")))
}

/// Asks the kernel, by its routing protocol, to set the first interface up.
fn set_up() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    const LOOPBACK: i32 = 1;
    let mut message = Vec::with_capacity(32);
    // Header: length, type, flags, sequence, sender.
    message.extend(32u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend(1u32.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    // Interface: family, padding, type, index, flags, which flags change.
    message.extend([0, 0, 0, 0]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    // No protocol: NETLINK_ROUTE is number 0.
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0u8; 512];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    // Behind the header of an acknowledgement stands zero or a negated error number.
    let code =
        answer.get(..length).and_then(|answer| answer.get(16..20)).and_then(|code| code.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        None => Err(io::Error::other("the kernel's answer is too short")),
    }
}
