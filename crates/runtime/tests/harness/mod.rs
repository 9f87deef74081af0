//! A busybox root file system, a runtime in a scratch directory, and short ways to say what a test wants.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses its own part of the harness")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pintle_runtime::oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use pintle_runtime::{
    Attach, Exec, ExecConfig, ExitStatus, LogFile, Options, Runtime, RuntimeError, Status, Task, TaskConfig,
    cgroup::Setup, spec,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Longer than anything here takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct House {
    pub dir: tempfile::TempDir,
    pub runtime: Runtime,
    pub rootfs: PathBuf,
}

/// The shim built with the tests; `PINTLE_TEST_SHIM` names another, for measuring a release build.
pub fn shim() -> PathBuf {
    std::env::var_os("PINTLE_TEST_SHIM")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pintle-runtime-test-shim")), PathBuf::from)
}

impl Drop for House {
    fn drop(&mut self) {
        // What a failed test left running.
        for task in std::fs::read_dir(self.dir.path().join("tasks")).into_iter().flatten().flatten() {
            let shim = std::fs::read_to_string(task.path().join("shim.pid")).unwrap_or_default();
            if let Some(pid) = shim.trim().parse().ok().and_then(rustix::process::Pid::from_raw)
                && std::fs::read_to_string(format!("/proc/{}/cmdline", shim.trim()))
                    .is_ok_and(|line| line.contains(&*task.path().to_string_lossy()))
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            let group = pintle_runtime::cgroup::Group::new(&format!(
                "/pintle-runtime-test/{}",
                task.file_name().display()
            ));
            let _ = group.kill_all().and_then(|()| group.remove());
        }
        // The parent of the tests' groups; still busy while another test runs.
        for root in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(root.path().join("pintle-runtime-test"));
        }
        let _ = std::fs::remove_dir("/sys/fs/cgroup/pintle-runtime-test");
    }
}

impl House {
    pub fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let dir = tempfile::Builder::new().prefix("pintle-runtime-").tempdir().unwrap();
        let rootfs = dir.path().join("rootfs");
        for sub in ["bin", "sbin", "etc", "proc", "sys", "dev", "tmp", "root", "home/app"] {
            std::fs::create_dir_all(rootfs.join(sub)).unwrap();
        }
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(rootfs.join("tmp"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
        for name in [
            "sh", "true", "false", "cat", "echo", "sleep", "id", "grep", "head", "yes", "env", "mount",
            "stty", "ls", "kill", "dd", "unshare", "test", "seq", "tail", "wc", "mknod", "ps", "touch",
            "tty", "printf", "umount", "nc", "readlink", "date",
        ] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).unwrap();
        }
        std::fs::write(
            rootfs.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(rootfs.join("etc/group"), "root:x:0:\napp:x:1000:\n").unwrap();
        let runtime = Runtime::new(Options { root: dir.path().join("tasks"), shim: shim() }).unwrap();
        Self { dir, runtime, rootfs }
    }

    /// A second engine's view of the same tasks.
    pub fn another(&self) -> Runtime {
        Runtime::new(Options { root: self.dir.path().join("tasks"), shim: shim() }).unwrap()
    }

    pub fn config(&self, args: &[&str]) -> TaskConfig {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut spec = spec::default_spec(Setup::detect());
        process(&mut spec).set_args(Some(args.iter().map(|s| (*s).to_owned()).collect()));
        let mut config = TaskConfig::new(&id, &self.rootfs, spec);
        config.cgroup = format!("/pintle-runtime-test/{id}");
        config.log =
            Some(LogFile { path: self.dir.path().join(format!("{id}-json.log")), ..LogFile::default() });
        config
    }

    pub fn shell(&self, script: &str) -> TaskConfig {
        self.config(&["sh", "-c", script])
    }

    /// Runs to the end; how it ended and what it wrote.
    pub async fn run(&self, config: TaskConfig) -> (ExitStatus, String, String) {
        let log = config.log.as_ref().unwrap().path.clone();
        let task = self.runtime.create(config).await.unwrap();
        task.start().await.unwrap();
        let status = patience(task.wait()).await.unwrap();
        task.delete().await.unwrap();
        (status, logged(&log, "stdout"), logged(&log, "stderr"))
    }
}

pub fn process(spec: &mut Spec) -> &mut Process {
    spec.process_mut().as_mut().unwrap()
}

pub fn without_namespace(spec: &mut Spec, kind: LinuxNamespaceType) {
    let linux = spec.linux_mut().as_mut().unwrap();
    let kept = linux.namespaces().clone().unwrap().into_iter().filter(|n| n.typ() != kind).collect();
    linux.set_namespaces(Some(kept));
}

pub async fn patience<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("nothing happened in {PATIENCE:?}"))
}

/// What a log holds of one stream.
pub fn logged(path: &Path, stream: &str) -> String {
    let mut text = String::new();
    for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["stream"] == stream {
            text.push_str(line["log"].as_str().unwrap());
        }
    }
    text
}

/// Waits until the log's stdout contains something.
pub async fn until_logged(path: &Path, what: &str) {
    patience(async {
        while !logged(path, "stdout").contains(what) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Reads stdcopy frames to the end: stdout and stderr.
pub async fn frames(stream: &mut UnixStream) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        let mut header = [0; 8];
        match patience(stream.read_exact(&mut header)).await {
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return (out, err),
            Err(e) => panic!("{e}"),
        }
        let size = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let mut body = vec![0; size];
        patience(stream.read_exact(&mut body)).await.unwrap();
        if header[0] == 1 { out.extend(body) } else { err.extend(body) }
    }
}

pub fn exec(id: &str, args: &[&str]) -> ExecConfig {
    let mut process = Process::default();
    process
        .set_args(Some(args.iter().map(|s| (*s).to_owned()).collect()))
        .set_env(Some(vec!["PATH=/bin".into()]))
        .set_cwd("/".into())
        .set_capabilities(None)
        .set_no_new_privileges(None)
        .set_rlimits(None);
    ExecConfig {
        exec_id: id.into(),
        process,
        terminal: false,
        attach: Attach { stdin: false, ..Attach::ALL },
        console_size: None,
    }
}

/// Runs an exec to its end.
pub async fn exec_run(task: &Task, config: ExecConfig) -> Result<(i32, String, String), RuntimeError> {
    let exec: Exec = task.exec(config).await?;
    let (_, mut stream) = exec.start().await?;
    stream.shutdown().await.unwrap();
    let (out, err) = frames(&mut stream).await;
    let status = patience(exec.wait()).await?;
    Ok((status.code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap()))
}

pub async fn status(task: &Task) -> Status {
    task.state().await.unwrap().status
}
