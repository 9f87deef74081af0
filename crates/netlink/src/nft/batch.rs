//! Several requests that the kernel carries out all or none of. Source: the kernel's
//! `include/uapi/linux/netfilter/nfnetlink.h`.

use crate::message::Message;

/// The packet filter among netfilter's subsystems.
pub(super) const SUBSYSTEM: u16 = 10;

const BEGIN: u16 = 0x10;
const END: u16 = 0x11;

/// What a transaction begins with.
pub(super) fn begin(sequence: u32) -> Vec<u8> {
    bracket(BEGIN, sequence)
}

/// What it ends with.
pub(super) fn end(sequence: u32) -> Vec<u8> {
    bracket(END, sequence)
}

fn bracket(kind: u16, sequence: u32) -> Vec<u8> {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    Message::new(kind, 0, &[0, 0, high, low]).finish(sequence)
}
