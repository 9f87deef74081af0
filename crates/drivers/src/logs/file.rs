//! The driver `file`: plain files on this host, rotated by size. All of them are in one folder, so that whoever may make
//! containers may not thereby write anywhere on the host.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use pintle_contract::{DriverError, LogDriver, LogEntry, LogStream, log::LogInfo};
use serde_json::{Map, Value};

use super::{
    document, identity,
    options::{ATTRIBUTES, Options},
};

const OWN: &[&str] = &["file-path", "file-format", "file-max-size", "file-max-file", "tag"];

/// Writes lines to files of one folder.
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Files below `folder`, which need not exist.
    pub fn below(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// The lines and nothing else.
    Text,
    /// A document for each.
    Json,
}

#[derive(Debug)]
struct Settings {
    path: String,
    format: Format,
    largest: u64,
    files: u32,
}

fn read(options: &Options<'_>) -> Result<Settings, DriverError> {
    identity::check(options)?;
    let path = options.text("file-path").unwrap_or("{{.Name}}.log");
    let format = match options.text("file-format") {
        None | Some("text") => Format::Text,
        Some("json") => Format::Json,
        Some(other) => return Err(options.bad("file-format", other, "it must be text or json")),
    };
    let largest = options.size("file-max-size", 100 << 20)?;
    let files = options.number("file-max-file", 5, 1)?;
    Ok(Settings { path: path.to_owned(), format, largest, files })
}

#[async_trait::async_trait]
impl LogDriver for Files {
    fn check(&self, options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        let options = Options::new("file", options, &[OWN, ATTRIBUTES])?;
        let settings = read(&options)?;
        // Names of containers and images are looked at when they are known.
        if settings.path.contains("{{") { Ok(()) } else { inside(&options, &settings.path).map(drop) }
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let options = Options::new("file", &info.options, &[OWN, ATTRIBUTES])?;
        let settings = read(&options)?;
        let path = identity::fill(&options, "file-path", &settings.path, &info)?;
        let path = self.folder.join(inside(&options, &path)?);
        let constant = document::constant(&options, &info)?;
        let target = crate::blocking(move || Ok(Target::open(path, &settings)?)).await?;
        let format = read(&options)?.format;
        Ok(Box::new(Stream { target: Some(target), format, constant, taken: 0 }))
    }
}

/// A path that leads nowhere else.
fn inside<'a>(options: &Options<'_>, path: &'a str) -> Result<&'a Path, DriverError> {
    let relative = Path::new(path);
    let names = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if path.is_empty() || path.ends_with('/') || !names {
        let why = "it must be the name of a file in the engine's folder log-files, without . and .. and no / before it";
        return Err(options.bad("file-path", path, why));
    }
    Ok(relative)
}

/// A file that is written, and its older ones: `PATH.1` is the youngest of them.
struct Target {
    path: PathBuf,
    file: File,
    size: u64,
    largest: u64,
    files: u32,
}

impl Target {
    fn open(path: PathBuf, settings: &Settings) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size, largest: settings.largest, files: settings.files })
    }

    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + record.len() as u64 > self.largest {
            self.rotate()?;
        }
        self.file.write_all(record)?;
        self.size += record.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        for number in (1..self.files).rev() {
            let from = if number == 1 { self.path.clone() } else { numbered(&self.path, number - 1) };
            match std::fs::rename(from, numbered(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.files == 1 {
            std::fs::remove_file(&self.path)?;
        }
        (self.file, self.size) = (open(&self.path)?, 0);
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    // What is said in a container is not for everybody on this host; and nobody's link leads elsewhere.
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    OpenOptions::new().create(true).append(true).mode(0o640).custom_flags(flags).open(path)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

struct Stream {
    target: Option<Target>,
    format: Format,
    constant: Map<String, Value>,
    taken: u64,
}

#[async_trait::async_trait]
impl LogStream for Stream {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        if batch.is_empty() {
            return Ok(self.taken);
        }
        let mut records = Vec::with_capacity(batch.len());
        for entry in batch {
            records.push(match self.format {
                Format::Text => {
                    let mut record = entry.line.clone();
                    // The pieces of a long line are one line again.
                    if entry.ends_line() {
                        record.push(b'\n');
                    }
                    record
                }
                Format::Json => {
                    format!("{}\n", Value::Object(document::of(&self.constant, entry))).into_bytes()
                }
            });
        }
        let mut target = self
            .target
            .take()
            .ok_or_else(|| DriverError::internal("the file could not be written before"))?;
        let target = crate::blocking(move || {
            for record in records {
                target.write(&record)?;
            }
            target.file.sync_data()?;
            Ok(target)
        });
        self.target = Some(target.await?);
        self.taken += batch.len() as u64;
        Ok(self.taken)
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_rotated_between_lines() {
        let dir = tempfile::tempdir().unwrap();
        let options: BTreeMap<String, String> =
            [("file-path", "sub/{{.Name}}.log"), ("file-max-size", "10"), ("file-max-file", "3")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
        let info = LogInfo { options, name: "/web".to_owned(), ..LogInfo::default() };
        for wrong in ["/etc/passwd", "../x", "a/../../x", "a/"] {
            Files::below(dir.path()).check(&[("file-path".to_owned(), wrong.to_owned())].into()).unwrap_err();
        }
        let mut stream = Files::below(dir.path()).start(info).await.unwrap();
        let lines = ["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff", "gggg"];
        let batch: Vec<LogEntry> = lines
            .iter()
            .map(|line| LogEntry { line: line.as_bytes().to_vec(), ..LogEntry::default() })
            .collect();
        assert_eq!(stream.send(&batch).await.unwrap(), 7);
        let text = |name: &str| std::fs::read_to_string(dir.path().join("sub").join(name)).unwrap();
        assert_eq!(
            (text("web.log.2"), text("web.log.1"), text("web.log")),
            ("cccc\ndddd\n".to_owned(), "eeee\nffff\n".to_owned(), "gggg\n".to_owned())
        );
        assert!(!dir.path().join("sub/web.log.3").exists());
    }
}
