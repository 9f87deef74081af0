//! `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Done;
use crate::failure::Failure;

/// `pintle audit …`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that an audit trail is as it was written
    Verify(Verify),
}

/// Check that an audit trail is as it was written.
///
/// Reads FILE and its rotated files, the oldest first, and says where the first line was changed, left out or put in, or that the
/// end was cut off. Needs no engine. Exits with 1 if something is wrong. Whoever can write the trail can write another one
/// that is sound: keep the last hash somewhere else from time to time, and give it with --known.
#[derive(Debug, Args)]
pub struct Verify {
    /// The trail must also have a line with this hash
    #[arg(long, value_name = "HASH")]
    pub known: Option<String>,
    /// Format output: 'json'
    #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
    pub format: Option<String>,
    /// The trail
    #[arg(default_value = "/var/lib/pintle/audit/audit.jsonl")]
    pub file: PathBuf,
}

impl AuditCommand {
    /// Runs it.
    pub fn run(self) -> Done {
        let Self::Verify(verify) = self;
        verify.run()
    }
}

impl Verify {
    fn run(self) -> Done {
        let known = self.known.as_deref().map(str::trim);
        let result = pintle_daemon::audit::verify(&self.file, known);
        if self.format.is_some() {
            let document = match &result {
                Ok(sound) => json!({
                    "Sound": true, "Files": sound.files, "Lines": sound.lines, "First": sound.first, "Last": sound.last,
                    "Hash": sound.hash,
                }),
                Err(broken) => json!({
                    "Sound": false, "File": broken.file, "Line": broken.line, "Why": broken.why,
                }),
            };
            println!("{document}");
            return if result.is_ok() { Ok(()) } else { Err(Failure::silent(1).into()) };
        }
        let sound = result?;
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let files = u64::try_from(sound.files).unwrap_or(u64::MAX);
        println!(
            "sound: {} line{} in {files} file{}, numbers {} to {}",
            sound.lines,
            plural(sound.lines),
            plural(files),
            sound.first,
            sound.last
        );
        println!("last hash: {}", sound.hash);
        Ok(())
    }
}
