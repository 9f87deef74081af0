//! Tiny tools for the quickstart's containers, whose only file is this program: `pintle applet …`.

use std::io::Write;
use std::process::ExitCode;

/// Runs an applet: `write FILE TEXT…`, `cat FILE…`, `sleep SECONDS`, `true`, `false`.
pub fn main(args: &[String]) -> ExitCode {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["write", file, text @ ..] => {
            std::fs::write(file, text.join(" ") + "\n").map_err(|e| format!("{file}: {e}"))
        }
        ["cat", files @ ..] => files.iter().try_for_each(|file| {
            let bytes = std::fs::read(file).map_err(|e| format!("{file}: {e}"))?;
            std::io::stdout().write_all(&bytes).map_err(|e| e.to_string())
        }),
        ["sleep", seconds] => match seconds.parse() {
            Ok(seconds) => {
                std::thread::sleep(std::time::Duration::from_secs(seconds));
                Ok(())
            }
            Err(_) => Err(format!("sleep: {seconds:?} is not a number")),
        },
        ["true"] => Ok(()),
        ["false"] => return ExitCode::FAILURE,
        _ => Err("applets: write FILE TEXT, cat FILE, sleep SECONDS, true, false".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
