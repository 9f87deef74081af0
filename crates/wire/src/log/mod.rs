//! The `LogDriver` interface: calls, the frames of its pipes, and Docker's `local` file format, which is the same
//! message in another envelope.

mod call;
mod entry;
mod time;

pub use call::{Method, Request, accept, decode_capabilities, decode_lines};
pub use entry::{
    EntryError, Record, decode, frame_length, push_frame, push_record, record_at, record_before,
};

/// Where a stream's pipe is, as the plugin sees it.
pub const PIPES: &str = "/run/docker/logging";
