// A log plugin: the lines of each container go into a file of their own, as JSON. Whatever happens, no line is lost: the SDK
// reads no more of a container's output than `send` has acknowledged, and hands over again what it could not take.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use pintle_sdk::log::LogInfo;
use pintle_sdk::{DriverError, LogDriver, LogEntry, LogStream, async_trait};

// Also called so in config.json, as `interface.socket`. A path to listen on in its place serves for trying it out.
const NAME: &str = "starter";

struct Driver {
    root: PathBuf,
}

/// One run of a container.
struct Stream {
    file: File,
    taken: u64,
}

#[async_trait]
impl LogDriver for Driver {
    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        // What the user gave with --log-opt is in `info.options`.
        fs::create_dir_all(&self.root)?;
        let name = info.name.trim_start_matches('/').replace('/', "_");
        let file = File::options().create(true).append(true).open(self.root.join(format!("{name}.jsonl")))?;
        Ok(Box::new(Stream { file, taken: 0 }))
    }
}

#[async_trait]
impl LogStream for Stream {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        let mut text = String::new();
        for entry in batch {
            let line = String::from_utf8_lossy(&entry.line);
            text += &format!("{{\"time\":{},\"stream\":\"{}\",\"line\":{line:?}}}\n", entry.time, entry.source.name());
        }
        if !batch.is_empty() {
            self.file.write_all(text.as_bytes())?;
            // On the disk is where they are safe.
            self.file.sync_data()?;
        }
        self.taken += batch.len() as u64;
        Ok(self.taken)
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        Ok(())
    }
}

fn main() -> ExitCode {
    let name = env::var("PLUGIN_NAME").unwrap_or(NAME.to_owned());
    let root = env::var("ROOT").unwrap_or("/mnt/logs".to_owned()).into();
    pintle_sdk::run(async move { Ok(pintle_sdk::serve_log(&name, Driver { root }).await?) })
}
