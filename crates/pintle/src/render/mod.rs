//! What the user reads: tables, templates, sizes, durations, progress.

pub mod format;
pub mod order;
pub mod progress;
pub mod table;
pub mod time;
pub mod units;

/// Whether standard output is a terminal that wants colours.
pub fn coloured() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdout())
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
