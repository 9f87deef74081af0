//! What the user reads: tables, templates, sizes, durations, progress.

pub mod format;
pub mod order;
pub mod progress;
pub mod table;
pub mod time;
pub mod units;
