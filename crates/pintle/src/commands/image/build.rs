//! `build`: the context goes to the engine, its output comes back.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use clap::Args;
use pintle_image::dockerfile::Ignore;
use serde_json::{Map, Value};

use super::bases;
use crate::archive;
use crate::commands::Done;
use crate::commands::container::copy::body_from;
use crate::commands::container::resources::{bytes, swap, ulimit};
use crate::context::Context;
use crate::credentials::{all, lookup};
use crate::failure::{Failure, exit_code};
use crate::json::Fields;

/// Build an image from a Dockerfile.
#[derive(Debug, Args)]
pub struct Build {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,
    /// Set build-time variables
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Images to consider as cache sources
    #[arg(long, value_name = "IMAGE")]
    pub cache_from: Vec<String>,
    /// Optional parent cgroup for RUN
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// Limit the CPU CFS (Completely Fair Scheduler) period of RUN
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<i64>,
    /// Limit the CPU CFS (Completely Fair Scheduler) quota of RUN
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_quota: Option<i64>,
    /// CPU shares of RUN (relative weight)
    #[arg(short = 'c', long, value_name = "N")]
    pub cpu_shares: Option<i64>,
    /// CPUs in which to allow execution of RUN (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution of RUN (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Name of the Dockerfile (Default is 'PATH/Dockerfile')
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Always remove intermediate containers
    #[arg(long)]
    pub force_rm: bool,
    /// Write the image ID to the file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Set metadata for an image
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Memory limit of RUN
    #[arg(short = 'm', long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "BYTES")]
    pub memory_swap: Option<String>,
    /// Set the networking mode for the RUN instructions during build
    #[arg(long, default_value = "default", value_name = "MODE")]
    pub network: String,
    /// Do not use cache when building the image
    #[arg(long)]
    pub no_cache: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Always attempt to pull a newer version of the image
    #[arg(long)]
    pub pull: bool,
    /// Suppress the build output and print image ID on success
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Remove intermediate containers after a successful build
    #[arg(long, default_value = "true", action = clap::ArgAction::Set, value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true")]
    pub rm: bool,
    /// Security options of RUN
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub shm_size: Option<String>,
    /// Name and optionally a tag in the 'name:tag' format
    #[arg(short = 't', long, value_name = "NAME[:TAG]")]
    pub tag: Vec<String>,
    /// Set the target build stage to build
    #[arg(long, default_value = "", value_name = "STAGE")]
    pub target: String,
    /// Ulimit options of RUN
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// A directory, a URL that the engine fetches, or '-' for an archive or a Dockerfile on standard input
    #[arg(value_name = "PATH|URL|-")]
    pub source: String,
}

type Produce = Box<dyn FnOnce(&mut dyn Write) -> std::io::Result<()> + Send>;

/// What is sent.
struct Outgoing {
    /// The Dockerfile's name in the archive.
    dockerfile: String,
    /// Its text, if it was read here.
    text: Option<String>,
    /// Writes the archive; `None`: the engine fetches it.
    write: Option<Produce>,
}

impl Build {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let outgoing = self.outgoing()?;
        let ulimits = self.ulimit.iter().map(|text| ulimit(text)).collect::<Result<Vec<_>>>()?;
        let client = context.client().await?;
        let mut request = client
            .post("/build")
            .query("version", "1")
            .query("dockerfile", &outgoing.dockerfile)
            .query("rm", if self.rm { "1" } else { "0" })
            .switch("forcerm", self.force_rm)
            .switch("nocache", self.no_cache)
            .switch("pull", self.pull)
            .switch("q", self.quiet)
            .query("networkmode", &self.network)
            .query("target", &self.target)
            .query_some("platform", self.platform.as_deref())
            .query_some("memory", bytes(self.memory.as_deref())?)
            .query_some("memswap", swap(self.memory_swap.as_deref())?)
            .query_some("shmsize", bytes(self.shm_size.as_deref())?)
            .query("buildargs", Value::Object(arguments(&self.build_arg)))
            .query("labels", Value::Object(labels(&self.label)))
            .query("cachefrom", Value::from(self.cache_from.clone()))
            .query("securityopt", Value::from(self.security_opt.clone()))
            .query("ulimits", Value::from(ulimits))
            .query_some("cgroupparent", self.cgroup_parent.as_deref())
            .query_some("cpuperiod", self.cpu_period)
            .query_some("cpuquota", self.cpu_quota)
            .query_some("cpushares", self.cpu_shares)
            .query_some("cpusetcpus", self.cpuset_cpus.as_deref())
            .query_some("cpusetmems", self.cpuset_mems.as_deref());
        for host in &self.add_host {
            request = request.query("extrahosts", host);
        }
        for tag in &self.tag {
            request = request.query("t", tag);
        }
        let known = self.credentials(context, outgoing.text.as_deref()).await?;
        request = request.header("X-Registry-Config", known);
        request = match outgoing.write {
            Some(write) => request.body(body_from(write), "application/x-tar"),
            None => request.query("remote", &self.source),
        };
        let mut messages = request.send().await?.json_stream();
        let mut image = None;
        while let Some(message) = messages.next().await? {
            if let Some(detail) = message.get("errorDetail") {
                let code = detail.get("code").and_then(Value::as_i64).filter(|code| *code != 0);
                return Err(Failure::new(code.map_or(1, exit_code), detail.text("message")).into());
            }
            if let Some(id) = message.get("aux").map(|aux| aux.text("ID")).filter(|id| !id.is_empty()) {
                image = Some(id.to_owned());
            }
            let mut out = std::io::stdout().lock();
            let stream = message.text("stream");
            let (id, status) = (message.text("id"), message.text("status"));
            // Each step of a pull is said once, not each byte.
            let measured = message.get("progressDetail").and_then(|detail| detail.get("current")).is_some();
            if !stream.is_empty() {
                write!(out, "{stream}")?;
            } else if !status.is_empty() && !measured {
                writeln!(out, "{}{status}", if id.is_empty() { String::new() } else { format!("{id}: ") })?;
            }
            out.flush()?;
        }
        if let (Some(file), Some(image)) = (&self.iidfile, image) {
            std::fs::write(file, image).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }

    /// The credentials of the registries that the Dockerfile names, and of no other; of a Dockerfile that only the
    /// engine reads, all that are known, as Docker's client sends them.
    async fn credentials(&self, context: &Context, text: Option<&str>) -> Result<String> {
        let config = context.config()?;
        let mut found = Vec::new();
        match text {
            Some(text) => {
                for registry in bases::registries(text, &values(&self.build_arg)) {
                    found.push(lookup(&config, &registry).await?);
                }
            }
            None => {
                let (known, failures) = all(&config).await;
                found = known;
                for failure in failures {
                    eprintln!("WARNING: {failure}");
                }
            }
        }
        let known: Map<String, Value> = found
            .into_iter()
            .filter(|known| !known.is_empty())
            .map(|known| (known.server.clone(), known.document()))
            .collect();
        Ok(base64::engine::general_purpose::URL_SAFE.encode(Value::Object(known).to_string()))
    }

    fn outgoing(&self) -> Result<Outgoing> {
        if self.source.starts_with("http://") || self.source.starts_with("https://") {
            let dockerfile = self.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
            return Ok(Outgoing { dockerfile, text: None, write: None });
        }
        if self.source == "-" {
            return self.read_stdin();
        }
        let root = PathBuf::from(&self.source);
        if !root.is_dir() {
            bail!("unable to prepare context: path {:?} is not a directory", self.source);
        }
        let root = root.canonicalize()?;
        let (file, given) = match &self.file {
            Some(file) => (file.clone(), true),
            None => (root.join("Dockerfile"), false),
        };
        let real = file.canonicalize().with_context(|| {
            format!(
                "unable to prepare context: unable to evaluate symlinks in Dockerfile path: {}",
                file.display()
            )
        })?;
        let text =
            std::fs::read_to_string(&real).with_context(|| format!("cannot read {}", file.display()))?;
        let inside = real.strip_prefix(&root).ok().map(|path| path.display().to_string());
        // One from elsewhere goes along under a name that the context has not.
        let (dockerfile, extra) = match inside {
            Some(inside) => (inside, None),
            None if given => {
                let name = format!(".dockerfile.{}", std::process::id());
                (name, Some(text.clone()))
            }
            None => bail!("the Dockerfile ({}) must be within the build context", file.display()),
        };
        let rules = match std::fs::read_to_string(root.join(".dockerignore")) {
            Ok(rules) => Ignore::parse(&rules),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ignore::default(),
            Err(error) => return Err(error).context("cannot read .dockerignore"),
        };
        let name = dockerfile.clone();
        let write = move |out: &mut dyn Write| pack(&root, &rules, &name, extra.as_deref(), out);
        Ok(Outgoing { dockerfile, text: Some(text), write: Some(Box::new(write)) })
    }

    /// An archive, or a Dockerfile without a context.
    fn read_stdin(&self) -> Result<Outgoing> {
        let mut head = Vec::new();
        std::io::stdin().lock().take(512).read_to_end(&mut head)?;
        if head.is_empty() {
            bail!("the Dockerfile (stdin) cannot be empty");
        }
        if head.contains(&0) || std::str::from_utf8(&head).is_err_and(|error| error.valid_up_to() < 500) {
            let dockerfile = self.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
            let write = move |out: &mut dyn Write| {
                out.write_all(&head)?;
                std::io::copy(&mut std::io::stdin().lock(), out).map(|_| ())
            };
            return Ok(Outgoing { dockerfile, text: None, write: Some(Box::new(write)) });
        }
        std::io::stdin().lock().read_to_end(&mut head)?;
        let text = String::from_utf8(head).context("the Dockerfile is not UTF-8 text")?;
        let own = text.clone();
        let write = move |out: &mut dyn Write| {
            let mut builder = tar::Builder::new(out);
            add_text(&mut builder, "Dockerfile", &own)?;
            builder.finish()
        };
        Ok(Outgoing { dockerfile: "Dockerfile".to_owned(), text: Some(text), write: Some(Box::new(write)) })
    }
}

/// `NAME=VALUE`; a bare name takes the value of our environment, or stands for none.
fn arguments(given: &[String]) -> Map<String, Value> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Value::from(value)),
        None => (text.clone(), std::env::var(text).map_or(Value::Null, Value::from)),
    };
    given.iter().map(pair).collect()
}

/// Those that have a value.
fn values(given: &[String]) -> BTreeMap<String, String> {
    let pairs = arguments(given).into_iter();
    pairs.filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
}

fn labels(given: &[String]) -> Map<String, Value> {
    let all: BTreeMap<&str, &str> =
        given.iter().map(|text| text.split_once('=').unwrap_or((text, ""))).collect();
    all.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// The context without what is to be left out. The Dockerfile and the list itself go along all the same: the engine
/// needs them, and leaves them out of the image.
fn pack(
    root: &Path,
    rules: &Ignore,
    dockerfile: &str,
    extra: Option<&str>,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let mut builder = tar::Builder::new(out);
    let mut left = vec![PathBuf::new()];
    while let Some(at) = left.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(root.join(&at))?.collect::<Result<_, _>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = at.join(entry.file_name());
            let text = name.to_string_lossy();
            let needed = text == dockerfile || text == ".dockerignore";
            let hidden = rules.hides(&text) && !needed;
            if entry.file_type()?.is_dir() {
                // Something in it may be wanted again.
                if !hidden {
                    add_directory(&mut builder, &entry.path(), &name)?;
                }
                left.push(name);
            } else if !hidden {
                archive::add(&mut builder, &entry.path(), &name, false)?;
            }
        }
    }
    if let Some(text) = extra {
        add_text(&mut builder, dockerfile, text)?;
    }
    builder.finish()
}

fn add_directory(builder: &mut tar::Builder<impl Write>, path: &Path, name: &Path) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&std::fs::symlink_metadata(path)?);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    builder.append_data(&mut header, name, std::io::empty())
}

fn add_text(builder: &mut tar::Builder<impl Write>, name: &str, text: &str) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(text.len() as u64);
    builder.append_data(&mut header, name, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_stays_here_and_what_is_needed_goes() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("Dockerfile", "FROM x"), ("a.md", ""), ("keep/b.md", ""), ("keep/c", ""), (".dockerignore", "")]
        {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let rules = Ignore::parse("**\n!keep/b.md\n");
        let mut bytes = Vec::new();
        pack(dir.path(), &rules, "Dockerfile", Some("FROM y"), &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, [".dockerignore", "Dockerfile", "keep/b.md", "Dockerfile"]);
    }

    #[test]
    fn arguments_without_a_value_are_ours_or_nobodys() {
        let given = ["A=b=c".to_owned(), "PATH".to_owned(), "PINTLE_NO_SUCH".to_owned()];
        let read = arguments(&given);
        assert_eq!((read["A"].as_str(), read["PINTLE_NO_SUCH"].is_null()), (Some("b=c"), true));
        assert!(read["PATH"].is_string());
    }
}
