//! The checks, one after the other.

use std::path::Path;
use std::time::Duration;

use libcontainer::oci_spec::runtime::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::inside::{CODE, WORD};
use super::{Finding, MEMORY, PIDS, PROGRAM, container};
use crate::error::RuntimeError;
use crate::external::Chosen;
use crate::task::{Attach, ExecConfig, Status, Task};
use crate::{Runtime, cgroup::Group};

/// What one check may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Steps<'a> {
    pub runtime: &'a Runtime,
    pub name: &'a str,
    pub chosen: Chosen,
    pub id: String,
    pub root: &'a Path,
}

type Outcome = Result<String, String>;

/// Gives a check its time.
async fn timed(check: &'static str, work: impl Future<Output = Outcome>) -> Finding {
    let outcome = tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(format!("did not come to an end in {} s", PATIENCE.as_secs())));
    Finding { check, outcome }
}

fn said(error: RuntimeError) -> String {
    error.to_string()
}

/// `Ok` if they are the same.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, wanted: &T) -> Result<(), String> {
    if seen == wanted { Ok(()) } else { Err(format!("{what} is {seen:?}, not {wanted:?}")) }
}

impl Steps<'_> {
    pub(super) async fn run(self) -> Vec<Finding> {
        let mut found = vec![timed("features", self.features()).await];
        let made = tokio::time::timeout(PATIENCE * 2, self.start(&self.id, &["hold"], true)).await;
        let made = made.unwrap_or_else(|_| Err("did not start in time".to_owned()));
        let (task, mut stream) = match made {
            Ok(made) => made,
            Err(why) => {
                found.push(Finding { check: "run", outcome: Err(why) });
                return found;
            }
        };
        found.push(timed("run", ready(&mut stream)).await);
        found.push(timed("exec", self.exec(&task)).await);
        found.push(timed("exec not found", self.exec_missing(&task)).await);
        found.push(timed("exec -t", self.exec_terminal(&task)).await);
        found.push(timed("stats", stats(&task)).await);
        found.push(timed("limits", limits(&task)).await);
        found.push(timed("pause", pause(&task, &mut stream)).await);
        found.push(timed("stdin and exit code", exit(&task, stream)).await);
        found.push(timed("delete", self.delete(&task, &self.id)).await);
        let second = format!("{}-kill", self.id);
        found.push(timed("kill", self.kill(&second)).await);
        // Whatever became of it.
        let _ = task.delete().await;
        let _ = self.runtime.cleanup_orphan(&second).await;
        found
    }

    async fn features(&self) -> Outcome {
        if self.chosen == Chosen::Embedded {
            return Ok("linked in".to_owned());
        }
        Ok(match self.runtime.features(self.name).await.map_err(said)? {
            None => "it does not say; taken for one of OCI 1.0".to_owned(),
            Some(features) => format!("OCI {}", features.oci_version_max.as_deref().unwrap_or("1.0")),
        })
    }

    async fn start(&self, id: &str, words: &[&str], stdin: bool) -> Result<(Task, UnixStream), String> {
        let words: Vec<&str> = [WORD].iter().chain(words).copied().collect();
        let mut config = container(id, self.name, self.root, self.runtime.program(), &words);
        config.stdin_open = stdin;
        config.stdin_once = stdin;
        let task = self.runtime.create(config).await.map_err(said)?;
        let begun = async {
            let stream = task.attach(Attach { stdin, ..Attach::ALL }).await?;
            task.start().await?;
            Ok(stream)
        };
        match begun.await {
            Ok(stream) => Ok((task, stream)),
            Err(error) => {
                let _ = task.delete().await;
                Err(said(error))
            }
        }
    }

    async fn run_exec(
        &self,
        task: &Task,
        words: &[&str],
        terminal: bool,
    ) -> Result<(i32, String), RuntimeError> {
        let mut process = Process::default();
        process
            .set_args(Some(words.iter().map(|word| (*word).to_owned()).collect()))
            .set_env(Some(vec![format!("PATH={}", crate::spec::default_path()), "TERM=xterm".to_owned()]))
            .set_cwd("/".into())
            .set_capabilities(None)
            .set_no_new_privileges(None)
            .set_rlimits(None);
        let exec = task
            .exec(ExecConfig {
                exec_id: format!("{}-{}", words.last().unwrap_or(&"x"), terminal),
                process,
                terminal,
                attach: Attach { stdin: terminal, ..Attach::ALL },
                console_size: terminal.then_some((40, 100)),
            })
            .await?;
        let (_, mut stream) = exec.start().await?;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        let status = exec.wait().await?;
        Ok((status.code, String::from_utf8_lossy(&bytes).into_owned()))
    }

    async fn exec(&self, task: &Task) -> Outcome {
        let (code, out) = self.run_exec(task, &[PROGRAM, WORD, "say", "hello"], false).await.map_err(said)?;
        same("the exit code", &code, &0)?;
        if out.contains("hello") {
            Ok("runs and is heard".to_owned())
        } else {
            Err(format!("it said {out:?}"))
        }
    }

    async fn exec_missing(&self, task: &Task) -> Outcome {
        match self.run_exec(task, &["no-such-command"], false).await {
            Err(RuntimeError::Command { code: 127, .. }) | Ok((127, _)) => Ok("127".to_owned()),
            Ok((code, _)) => Err(format!("a command that is not there ended with {code}, not 127")),
            Err(error) => Err(said(error)),
        }
    }

    async fn exec_terminal(&self, task: &Task) -> Outcome {
        let (code, out) = self.run_exec(task, &[PROGRAM, WORD, "terminal"], true).await.map_err(said)?;
        same("the exit code", &code, &0)?;
        // The size may come after the program; that there is a terminal is what counts.
        let size = out.trim();
        if size.contains('x') && !size.contains("no terminal") {
            Ok(format!("a terminal of {size}"))
        } else {
            Err(format!("it said {size:?}"))
        }
    }

    async fn delete(&self, task: &Task, id: &str) -> Outcome {
        task.delete().await.map_err(said)?;
        let group = Group::new(&format!("/pintle/{id}"));
        if group.exists() {
            Err("its control group is still there".to_owned())
        } else {
            Ok("nothing is left".to_owned())
        }
    }

    async fn kill(&self, id: &str) -> Outcome {
        let (task, mut stream) = self.start(id, &["hold"], true).await?;
        ready(&mut stream).await?;
        let killed = task.kill(9, false).await.map_err(said);
        let status = match &killed {
            Ok(()) => task.wait().await.map_err(said),
            Err(why) => Err(why.clone()),
        };
        let deleted = task.delete().await.map_err(said);
        same("the exit code", &status?.code, &137)?;
        deleted.map(|_| "137".to_owned())
    }
}

/// Reads until the program says that it is there, whatever frames it says it in.
async fn ready(stream: &mut UnixStream) -> Outcome {
    hears(stream, "ready").await?;
    Ok("starts and is heard".to_owned())
}

async fn hears(stream: &mut UnixStream, word: &str) -> Result<(), String> {
    let mut heard = Vec::new();
    let mut buffer = [0; 512];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => {
                return Err(format!("it ended without a word but {:?}", String::from_utf8_lossy(&heard)));
            }
            Ok(n) => heard.extend_from_slice(&buffer[..n]),
        }
        if heard.windows(word.len()).any(|window| window == word.as_bytes()) {
            return Ok(());
        }
    }
}

async fn stats(task: &Task) -> Outcome {
    let stats = task.stats().await.map_err(said)?;
    if task.processes().await.map_err(said)?.is_empty() {
        return Err("its control group has no processes".to_owned());
    }
    if stats.memory.usage == 0 {
        return Err("its control group counts no memory".to_owned());
    }
    Ok(format!("{} KiB of memory, {} ms of CPU", stats.memory.usage >> 10, stats.cpu.total / 1_000_000))
}

async fn limits(task: &Task) -> Outcome {
    let stats = task.stats().await.map_err(said)?;
    same("the memory limit", &stats.memory.limit, &MEMORY.unsigned_abs())?;
    same("the limit of processes", &stats.pids.limit, &Some(PIDS.unsigned_abs()))?;
    Ok("memory and processes".to_owned())
}

async fn pause(task: &Task, stream: &mut UnixStream) -> Outcome {
    task.pause().await.map_err(said)?;
    let paused = task.state().await.map_err(said)?.status;
    task.resume().await.map_err(said)?;
    same("its state", &paused, &Status::Paused)?;
    stream.write_all(b"thawed\n").await.map_err(|error| error.to_string())?;
    hears(stream, "thawed").await?;
    Ok("and goes on".to_owned())
}

async fn exit(task: &Task, mut stream: UnixStream) -> Outcome {
    stream.shutdown().await.map_err(|error| error.to_string())?;
    let status = task.wait().await.map_err(said)?;
    same("the exit code", &status.code, &i32::from(CODE))?;
    Ok(format!("{CODE} when its input ended"))
}
