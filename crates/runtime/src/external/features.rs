//! What a runtime says that it can do: the answer of its verb `features`, as the OCI runtime specification has it.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use super::binary::{Binary, within};

/// How long the answer may take.
const BUDGET: Duration = Duration::from_secs(5);
/// No answer is longer.
const MOST: u64 = 1 << 20;

/// What a runtime can do. What it does not speak of, nobody knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Features {
    /// The oldest version of the specification that it knows.
    pub oci_version_min: Option<String>,
    /// The newest.
    pub oci_version_max: Option<String>,
    /// Hooks that it runs.
    pub hooks: Option<Vec<String>>,
    /// Mount options that it knows.
    pub mount_options: Option<Vec<String>>,
    /// What is particular to Linux.
    pub linux: Linux,
    /// The answer as it came, for show.
    #[serde(skip)]
    pub text: String,
}

/// What is particular to Linux.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    /// Namespaces.
    pub namespaces: Option<Vec<String>>,
    /// Capabilities.
    pub capabilities: Option<Vec<String>>,
    /// Control groups.
    pub cgroup: Cgroup,
    /// System call filters.
    pub seccomp: Seccomp,
    /// AppArmor.
    pub apparmor: Switch,
    /// Intel's resource director.
    pub intel_rdt: Switch,
}

/// Which control groups it can use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Cgroup {
    /// The first version.
    pub v1: Option<bool>,
    /// The second.
    pub v2: Option<bool>,
}

/// What it knows of system call filters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seccomp {
    /// Whether it has them.
    pub enabled: Option<bool>,
    /// Actions.
    pub actions: Option<Vec<String>>,
    /// Comparisons.
    pub operators: Option<Vec<String>>,
    /// Architectures.
    pub archs: Option<Vec<String>>,
    /// Flags that it can set.
    pub supported_flags: Option<Vec<String>>,
}

/// Something that is there or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Switch {
    /// Whether it is there.
    pub enabled: Option<bool>,
}

/// Which file was asked: another one under the same name is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    args: Vec<String>,
    modified: (i64, i64),
    size: u64,
    file: (u64, u64),
}

/// What was asked before.
#[derive(Debug, Default)]
pub(crate) struct Asked(Mutex<Answers>);

/// By the runtime's name: which file was asked, and what it said.
type Answers = HashMap<String, (Stamp, Option<Arc<Features>>)>;

impl Asked {
    /// What a program can do; `None` when it has no such verb, which is no failure. Asks at most once for each file,
    /// and blocks for that long.
    pub(crate) fn features(&self, binary: &Binary) -> Option<Arc<Features>> {
        let stamp = stamp(binary)?;
        if let Some((_, features)) = self.lock().get(&binary.name).filter(|(known, _)| *known == stamp) {
            return features.clone();
        }
        let features = ask(binary).map(Arc::new);
        self.lock().insert(binary.name.clone(), (stamp, features.clone()));
        features
    }

    /// What was found out before, without asking.
    pub(crate) fn remembered(&self, name: &str) -> Option<Arc<Features>> {
        self.lock().get(name).and_then(|(_, features)| features.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(binary: &Binary) -> Option<Stamp> {
    let path = binary.found().ok()?;
    let meta = std::fs::metadata(&path).ok()?;
    Some(Stamp {
        path,
        args: binary.args.clone(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        size: meta.size(),
        file: (meta.dev(), meta.ino()),
    })
}

fn ask(binary: &Binary) -> Option<Features> {
    let mut child =
        binary.bare().arg("features").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let stdout = child.stdout.take()?;
    // Read beside the wait: neither a full pipe nor one that somebody else keeps open may hold this up.
    let reader = std::thread::spawn(move || {
        let mut answer = Vec::new();
        let _ = stdout.take(MOST).read_to_end(&mut answer);
        answer
    });
    let status = within(&mut child, BUDGET);
    match status {
        Ok(status) if status.success() => parse(&reader.join().ok()?),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(runtime = binary.name, %error, "a runtime does not say what it can do");
            None
        }
    }
}

fn parse(answer: &[u8]) -> Option<Features> {
    let features: Features = serde_json::from_slice(answer).ok()?;
    Some(Features { text: String::from_utf8_lossy(answer).trim().to_owned(), ..features })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_answer_is_read_and_what_is_not_said_stays_open() {
        let features = parse(
            br#"{"ociVersionMin":"1.0.0","ociVersionMax":"1.2.0","hooks":["prestart"],"new":1,
                "linux":{"namespaces":["pid"],"cgroup":{"v1":true,"rdma":true},"seccomp":{"enabled":true},
                "intelRdt":{"enabled":false}}}"#,
        )
        .unwrap();
        assert_eq!(features.oci_version_max.as_deref(), Some("1.2.0"));
        assert_eq!((features.linux.cgroup.v1, features.linux.cgroup.v2), (Some(true), None));
        assert_eq!((features.linux.apparmor.enabled, features.linux.intel_rdt.enabled), (None, Some(false)));
        assert_eq!(parse(b"unknown command features"), None);
    }

    #[test]
    fn each_file_is_asked_once() {
        let dir = tempfile::tempdir().unwrap();
        let (path, count) = (dir.path().join("rt"), dir.path().join("count"));
        let install = |version: &str| {
            let script = format!(
                "#!/bin/sh\necho asked >>{}\necho '{{\"ociVersionMax\":\"{version}\"}}'\n",
                count.display()
            );
            let next = dir.path().join("next");
            std::fs::write(&next, script).unwrap();
            std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(&next, &path).unwrap();
        };
        let binary = Binary { name: "rt".into(), path: path.clone(), args: Vec::new() };
        let asked = Asked::default();
        install("1.0");
        for _ in 0..3 {
            assert_eq!(asked.features(&binary).unwrap().oci_version_max.as_deref(), Some("1.0"));
        }
        assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), 1);
        install("1.1");
        assert_eq!(asked.features(&binary).unwrap().oci_version_max.as_deref(), Some("1.1"));
        assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), 2);
    }
}
