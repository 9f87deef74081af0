//! What runs in the container of a check.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::ExitCode;

/// What tells the program that it runs there.
pub const WORD: &str = "runtime-check";

/// The code with which `hold` ends.
pub(super) const CODE: u8 = 7;

/// Does what its first argument says.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut out = std::io::stdout();
    match args.first().map(String::as_str) {
        // Says that it is there, gives back what it reads, and ends when that ends.
        Some("hold") => {
            let _ = writeln!(out, "ready").and_then(|()| out.flush());
            let mut buffer = [0; 512];
            while let Ok(n @ 1..) = std::io::stdin().read(&mut buffer) {
                let _ = out.write_all(&buffer[..n]).and_then(|()| out.flush());
            }
            ExitCode::from(CODE)
        }
        Some("say") => {
            let _ = writeln!(out, "{}", args[1..].join(" "));
            ExitCode::SUCCESS
        }
        Some("terminal") => {
            let size = rustix::termios::tcgetwinsize(rustix::stdio::stdin());
            let _ = match size {
                Ok(size) => writeln!(out, "{}x{}", size.ws_row, size.ws_col),
                Err(error) => writeln!(out, "no terminal: {error}"),
            };
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(2),
    }
}
