//! The engine's end of `shim.sock`, and what to do when nobody answers there.

use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use chrono::Utc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::bundle::TaskDir;
use crate::cgroup::Group;
use crate::control::{MAX_LINE, Reply, Request};
use crate::error::{IoContext, RuntimeError};
use crate::task::{ExitStatus, Status, Task, TaskState};

/// How long a shim that holds its lock may take to listen.
const STARTING: Duration = Duration::from_secs(5);

/// Sends a request and hands over the connection with its answer; what follows on it is a stream.
pub(crate) async fn open(dir: &TaskDir, request: &Request) -> Result<(UnixStream, Reply), RuntimeError> {
    let mut stream = connect(dir).await?;
    let mut line = serde_json::to_vec(request).map_err(|e| RuntimeError::Internal(e.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(silent)?;
    match receive(&mut stream).await? {
        Reply::Failed(failure) => Err(failure.into()),
        reply => Ok((stream, reply)),
    }
}

/// Sends a request and takes the answer.
pub(crate) async fn call(dir: &TaskDir, request: &Request) -> Result<Reply, RuntimeError> {
    Ok(open(dir, request).await?.1)
}

/// Sends a request that is only confirmed.
pub(crate) async fn done(dir: &TaskDir, request: &Request) -> Result<(), RuntimeError> {
    match call(dir, request).await? {
        Reply::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &Reply) -> RuntimeError {
    RuntimeError::Internal(format!("unexpected answer from the shim: {reply:?}"))
}

fn silent(error: io::Error) -> RuntimeError {
    RuntimeError::Unavailable(format!("the container's shim does not answer: {error}"))
}

async fn connect(dir: &TaskDir) -> Result<UnixStream, RuntimeError> {
    let path = dir.file("shim.sock");
    // A socket address holds 107 bytes; a longer path goes through the directory's descriptor.
    let (path, _held): (PathBuf, Option<std::fs::File>) = if path.as_os_str().len() > 107 {
        let held = std::fs::File::open(dir.path()).map_err(silent)?;
        (format!("/proc/self/fd/{}/shim.sock", held.as_raw_fd()).into(), Some(held))
    } else {
        (path, None)
    };
    UnixStream::connect(&path).await.map_err(silent)
}

/// Reads one line and not a byte more: the rest of the connection may be a stream.
async fn receive(stream: &mut UnixStream) -> Result<Reply, RuntimeError> {
    let mut line = Vec::new();
    let mut peeked = [0; 4096];
    loop {
        stream.readable().await.map_err(silent)?;
        let n = match peek(stream, &mut peeked) {
            Ok(0) => return Err(RuntimeError::Unavailable("the container's shim went away".into())),
            Ok(n) => n,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(e) => return Err(silent(e)),
        };
        let end = peeked[..n].iter().position(|b| *b == b'\n');
        let take = end.map_or(n, |end| end + 1);
        let mut chunk = vec![0; take];
        stream.read_exact(&mut chunk).await.map_err(silent)?;
        line.extend_from_slice(&chunk);
        if end.is_some() {
            return serde_json::from_slice(&line)
                .map_err(|e| RuntimeError::Internal(format!("the shim's answer makes no sense: {e}")));
        }
        if line.len() > MAX_LINE {
            return Err(RuntimeError::Internal("the shim's answer is too long".into()));
        }
    }
}

fn peek(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    stream.try_io(tokio::io::Interest::READABLE, || {
        let (_, n) = rustix::net::recv(stream, buffer, rustix::net::RecvFlags::PEEK)?;
        Ok(n)
    })
}

/// Runs something that blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| RuntimeError::Internal(format!("a runtime task failed: {e}")))?
}

pub(crate) async fn wait(task: &Task) -> Result<ExitStatus, RuntimeError> {
    match call(&task.inner.dir, &Request::Wait { exec_id: None }).await {
        Ok(Reply::Exited(status)) => Ok(status),
        Ok(other) => Err(unexpected(&other)),
        Err(RuntimeError::Unavailable(why)) => settle(task, &why).await,
        Err(other) => Err(other),
    }
}

pub(crate) async fn state(task: &Task) -> Result<TaskState, RuntimeError> {
    match call(&task.inner.dir, &Request::State).await {
        Ok(Reply::State { status, pid, exit }) => Ok(TaskState { status, pid, exit }),
        Ok(other) => Err(unexpected(&other)),
        Err(RuntimeError::Unavailable(why)) => {
            let exit = settle(task, &why).await?;
            Ok(TaskState { status: Status::Stopped, pid: None, exit: Some(exit) })
        }
        Err(other) => Err(other),
    }
}

/// The end of a task whose shim does not answer: what is on record; else, when the shim is dead, its leftovers are
/// killed and 255 is recorded.
async fn settle(task: &Task, why: &str) -> Result<ExitStatus, RuntimeError> {
    let (dir, id, why) = (task.inner.dir.clone(), task.inner.id.clone(), why.to_owned());
    let group = Group::new(&task.inner.cgroup);
    blocking(move || {
        let deadline = std::time::Instant::now() + STARTING;
        loop {
            if let Some(status) = dir.exit() {
                return Ok(status);
            }
            if !dir.path().exists() {
                return Err(RuntimeError::NotFound(id));
            }
            if dir.lock().context(|| format!("asking whether {id} has a shim"))?.is_some() {
                break;
            }
            if std::time::Instant::now() > deadline {
                return Err(RuntimeError::Unavailable(why));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let oom_killed = group.oom_kills() > 0;
        crate::external::sweep(&dir);
        group.kill_all()?;
        dir.record_exit(&ExitStatus {
            code: 255,
            oom_killed,
            finished_at: Utc::now(),
            error: Some("shim died".into()),
        })
    })
    .await
}

pub(crate) async fn delete(task: &Task) -> Result<ExitStatus, RuntimeError> {
    let status = match call(&task.inner.dir, &Request::Delete).await {
        Ok(Reply::Exited(status)) => status,
        Ok(other) => return Err(unexpected(&other)),
        Err(RuntimeError::Unavailable(why)) => match settle(task, &why).await {
            Ok(status) => status,
            // Deleted before.
            Err(RuntimeError::NotFound(_)) => ExitStatus {
                code: 255,
                oom_killed: false,
                finished_at: Utc::now(),
                error: Some("unknown".into()),
            },
            Err(other) => return Err(other),
        },
        Err(other) => return Err(other),
    };
    let dir = task.inner.dir.clone();
    let group = Group::new(&task.inner.cgroup);
    blocking(move || {
        crate::external::sweep(&dir);
        group.kill_all()?;
        group.remove()?;
        dir.remove()
    })
    .await?;
    Ok(status)
}
