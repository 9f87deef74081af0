//! Control groups, v1, hybrid and v2: what the machine has, and one container's place in it.
//!
//! The embedded runtime makes the group and applies the first limits; everything after that (freezing, changing
//! limits, statistics, killing, removal) is done here, so that the engine can also clean up after a dead shim.

mod ahead;
mod detect;
mod devices;
mod group;
mod limits;
mod stats;

pub use ahead::expect_move;
pub use detect::{Available, Hierarchies, Setup};
pub use group::Group;
pub(crate) use limits::io_weight;
pub use stats::{BlkioEntry, CpuStats, MemoryStats, PidsStats, Stats};
