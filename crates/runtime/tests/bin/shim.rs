//! What `pintle` does with `shim` and as `docker-init`, for this crate's tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if std::path::Path::new(&name).file_name().is_some_and(|name| name == "docker-init") {
        return pintle_runtime::init::main(args);
    }
    match args.next() {
        Some(word) if word == "shim" => pintle_runtime::shim::main(args),
        Some(word) if word == pintle_runtime::check::inside::WORD => {
            pintle_runtime::check::inside::main(args)
        }
        _ => ExitCode::from(2),
    }
}
