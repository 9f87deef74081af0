//! The example that `plugin new` scaffolds.
//!
//! `driver.rs` is the very text that becomes a new plugin's `src/main.rs`. It is also compiled into this program, so
//! that `plugin new --builtin` and `quickstart` work on a machine without a compiler or a network.

/// The text of the Rust example.
pub const RUST: &str = include_str!("driver.rs");

/// The text of the Rust example's test.
pub const TEST: &str = include_str!("conformance.rs");

/// The text of the Python example.
pub const PYTHON: &str = include_str!("driver.py");

/// The name in the texts, which a scaffold replaces.
pub const NAME: &str = "starter";

/// Serves the compiled example: `pintle plugin serve`.
pub fn serve() -> std::process::ExitCode {
    compiled::run()
}

mod compiled {
    include!("driver.rs");

    pub fn run() -> ExitCode {
        main()
    }
}
