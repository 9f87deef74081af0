//! The examples that `plugin new` scaffolds.
//!
//! `volume.rs`, `network.rs`, `ipam.rs`, `authz.rs` and `log.rs` are the very texts that become a new plugin's `src/main.rs`. They are also
//! compiled into this program, so that `plugin new --builtin` and `quickstart` work on a machine without a compiler or a
//! network.

use super::scaffold::Kind;

/// The name in the texts, which a scaffold replaces.
pub const NAME: &str = "starter";

/// The text of the Rust example.
pub fn rust(kind: Kind) -> &'static str {
    match kind {
        Kind::Volume => include_str!("volume.rs"),
        Kind::Network => include_str!("network.rs"),
        Kind::Ipam => include_str!("ipam.rs"),
        Kind::Authz => include_str!("authz.rs"),
        Kind::Log => include_str!("log.rs"),
    }
}

/// The text of the Rust example's test.
pub const TEST: &str = include_str!("conformance.rs");

/// The text of the Python example: the driver, and how it is served.
pub fn python(kind: Kind) -> &'static str {
    match kind {
        Kind::Volume => concat!(include_str!("volume.py"), include_str!("serve.py")),
        Kind::Network => concat!(include_str!("network.py"), include_str!("serve.py")),
        Kind::Ipam => concat!(include_str!("ipam.py"), include_str!("serve.py")),
        Kind::Authz => concat!(include_str!("authz.py"), include_str!("serve.py")),
        Kind::Log => concat!(include_str!("log.py"), include_str!("serve.py")),
    }
}

/// Serves a compiled example: `pintle plugin serve [KIND]`.
pub fn serve(kind: Kind) -> std::process::ExitCode {
    match kind {
        Kind::Volume => volume::run(),
        Kind::Network => network::run(),
        Kind::Ipam => ipam::run(),
        Kind::Authz => authz::run(),
        Kind::Log => log::run(),
    }
}

mod volume {
    include!("volume.rs");

    pub fn run() -> ExitCode {
        main()
    }
}

mod network {
    include!("network.rs");

    pub fn run() -> ExitCode {
        main()
    }
}

mod ipam {
    include!("ipam.rs");

    pub fn run() -> ExitCode {
        main()
    }
}

mod authz {
    include!("authz.rs");

    pub fn run() -> ExitCode {
        main()
    }
}

mod log {
    include!("log.rs");

    pub fn run() -> ExitCode {
        main()
    }
}
