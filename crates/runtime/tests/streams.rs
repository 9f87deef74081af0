//! Standard streams: logs, attached clients, terminals, execs.

mod harness;

use std::time::Duration;

use harness::{House, exec, exec_run, frames, logged, patience, until_logged};
use pintle_runtime::{Attach, ErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const OUTPUT: Attach = Attach { stdin: false, stdout: true, stderr: true };

#[tokio::test]
async fn attached_clients_see_everything_in_frames() {
    let house = House::new();
    let task = house.runtime.create(house.shell("echo out; echo err >&2")).await.unwrap();
    let mut both = task.attach(OUTPUT).await.unwrap();
    let mut only = task.attach(Attach { stderr: true, ..Attach::default() }).await.unwrap();
    task.start().await.unwrap();
    assert_eq!(frames(&mut both).await, (b"out\n".to_vec(), b"err\n".to_vec()));
    assert_eq!(frames(&mut only).await, (Vec::new(), b"err\n".to_vec()));
    patience(task.wait()).await.unwrap();
    let mut late = task.attach(OUTPUT).await.unwrap();
    assert_eq!(frames(&mut late).await, (Vec::new(), Vec::new()), "attaching to the ended ends at once");
    task.delete().await.unwrap();
}

#[tokio::test]
async fn megabytes_arrive_whole_and_the_exit_comes_last() {
    let house = House::new();
    let config = house.shell("head -c 5000000 /dev/zero | busybox tr '\\0' x");
    let log = config.log.clone().unwrap().path;
    let task = house.runtime.create(config).await.unwrap();
    let mut stream = task.attach(OUTPUT).await.unwrap();
    task.start().await.unwrap();
    let (out, _) = frames(&mut stream).await;
    assert_eq!(out.len(), 5_000_000);
    assert!(out.iter().all(|b| *b == b'x'));
    assert_eq!(patience(task.wait()).await.unwrap().code, 0);
    assert_eq!(logged(&log, "stdout").trim_end_matches('\n').len(), 5_000_000);
    task.delete().await.unwrap();
}

#[tokio::test]
async fn a_mebibyte_line_is_kept_in_pieces() {
    let house = House::new();
    let config = house.shell("head -c 1048576 /dev/zero | busybox tr '\\0' y; echo; echo end");
    let log = config.log.clone().unwrap().path;
    let (end, out, _) = house.run(config).await;
    assert_eq!((end.code, out.len()), (0, 1_048_576 + 1 + 4));
    let sizes: Vec<usize> = std::fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["log"].as_str().unwrap().len())
        .collect();
    assert_eq!(sizes.len(), 64 + 2);
    assert!(sizes[..64].iter().all(|s| *s == 16_384));
}

#[tokio::test]
async fn logs_rotate() {
    let house = House::new();
    let mut config = house.shell("seq 1 2000");
    let log = config.log.as_mut().unwrap();
    (log.max_size, log.max_files) = (Some(10_000), 2);
    let path = log.path.clone();
    house.run(config).await;
    let mut first = path.clone().into_os_string();
    first.push(".1");
    assert!(std::fs::metadata(&first).unwrap().len() >= 10_000);
    assert!(logged(&path, "stdout").ends_with("2000\n"));
    first.push(".2");
    assert!(!std::path::Path::new(&first).exists());
}

#[tokio::test]
async fn stdin_reaches_the_process_and_half_closes() {
    let house = House::new();
    let mut config = house.shell("cat; echo done");
    (config.stdin_open, config.stdin_once) = (true, true);
    let task = house.runtime.create(config).await.unwrap();
    let mut stream = task.attach(Attach::ALL).await.unwrap();
    task.start().await.unwrap();
    let text = vec![b'z'; 3_000_000];
    let (mut read, mut write) = stream.split();
    let send = async {
        write.write_all(&text).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let receive = async {
        let mut all = Vec::new();
        read.read_to_end(&mut all).await.unwrap();
        all
    };
    let ((), all) = patience(async { tokio::join!(send, receive) }).await;
    let mut body = Vec::new();
    let mut rest = all.as_slice();
    while let Some((head, more)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        body.extend_from_slice(&more[..length]);
        rest = &more[length..];
    }
    assert_eq!(body.len(), 3_000_000 + b"done\n".len());
    assert!(body.iter().take(3_000_000).all(|byte| *byte == b'z') && body.ends_with(b"done\n"));
    assert_eq!(patience(task.wait()).await.unwrap().code, 0);
    task.delete().await.unwrap();
}

#[tokio::test]
async fn stdin_stays_open_for_the_next_client_unless_once() {
    let house = House::new();
    let mut config = house.shell("while read line; do echo got $line; done; echo end");
    config.stdin_open = true;
    let log = config.log.clone().unwrap().path;
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    for word in ["one", "two"] {
        let mut stream = task.attach(Attach { stdin: true, ..Attach::default() }).await.unwrap();
        stream.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        drop(stream);
        until_logged(&log, &format!("got {word}")).await;
    }
    task.close_stdin().await.unwrap();
    patience(task.wait()).await.unwrap();
    assert_eq!(logged(&log, "stdout"), "got one\ngot two\nend\n");
    task.delete().await.unwrap();
    let (_, out, _) = house.run(house.shell("cat; echo no stdin")).await;
    assert_eq!(out, "no stdin\n");
}

#[tokio::test]
async fn a_terminal_is_raw_sized_and_resized() {
    let house = House::new();
    let mut config = house.shell("tty; stty size; read x; stty size; echo err >&2");
    config.terminal = true;
    config.stdin_open = true;
    config.console_size = Some((33, 77));
    let log = config.log.clone().unwrap().path;
    let task = house.runtime.create(config).await.unwrap();
    let mut stream = task.attach(Attach::ALL).await.unwrap();
    task.start().await.unwrap();
    until_logged(&log, "33 77").await;
    task.resize(40, 120).await.unwrap();
    stream.write_all(b"go\n").await.unwrap();
    let mut all = String::new();
    patience(stream.read_to_string(&mut all)).await.unwrap();
    assert_eq!(all, "/dev/pts/0\r\n33 77\r\ngo\r\n40 120\r\nerr\r\n");
    patience(task.wait()).await.unwrap();
    assert_eq!(task.resize(1, 1).await.unwrap_err().kind(), ErrorKind::NotFound);
    task.delete().await.unwrap();
}

#[tokio::test]
async fn execs_run_with_their_own_streams_and_codes() {
    let house = House::new();
    let task = house.runtime.create(house.config(&["sleep", "1000"])).await.unwrap();
    assert_eq!(task.exec(exec("early", &["true"])).await.unwrap_err().kind(), ErrorKind::Conflict);
    task.start().await.unwrap();
    let got = exec_run(&task, exec("a", &["sh", "-c", "echo out; echo err >&2; exit 9"])).await.unwrap();
    assert_eq!(got, (9, "out\n".into(), "err\n".into()));

    let mut config = exec("stdin", &["cat"]);
    config.attach = Attach::ALL;
    let run = task.exec(config).await.unwrap();
    let (pid, mut stream) = run.start().await.unwrap();
    assert!(task.processes().await.unwrap().contains(&pid));
    assert_eq!(run.start().await.unwrap_err().kind(), ErrorKind::Conflict);
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(frames(&mut stream).await.0, b"hello");
    assert_eq!(patience(run.wait()).await.unwrap().code, 0);
    assert_eq!(patience(run.wait()).await.unwrap().code, 0, "the end is remembered");

    let error = exec_run(&task, exec("no", &["nosuchcmd"])).await.unwrap_err();
    assert!(error.to_string().contains("exec: \"nosuchcmd\": executable file not found in $PATH"), "{error}");
    assert_eq!(error.exit_code(), 127);
    let error = exec_run(&task, exec("no", &["/etc/group"])).await.unwrap_err();
    assert_eq!(error.exit_code(), 126, "{error}");

    let mut config = exec("detached", &["sh", "-c", "sleep 0.05; echo lost; exit 4"]);
    config.attach = Attach::default();
    let run = task.exec(config).await.unwrap();
    let (_, mut stream) = run.start().await.unwrap();
    assert_eq!(patience(stream.read(&mut [0; 8])).await.unwrap(), 0, "a detached stream ends at once");
    assert_eq!(patience(run.wait()).await.unwrap().code, 4);

    let run = task.exec(exec("killed", &["sleep", "1000"])).await.unwrap();
    run.start().await.unwrap();
    run.kill(9).await.unwrap();
    assert_eq!(patience(run.wait()).await.unwrap().code, 137);
    assert_eq!(run.kill(9).await.unwrap_err().kind(), ErrorKind::NotFound);

    let run = task.exec(exec("left", &["sleep", "1000"])).await.unwrap();
    run.start().await.unwrap();
    task.kill(9, false).await.unwrap();
    assert_eq!(patience(run.wait()).await.unwrap().code, 137, "an exec dies with its container");
    patience(task.delete()).await.unwrap();
}

#[tokio::test]
async fn an_exec_may_have_a_terminal_and_another_user() {
    let house = House::new();
    let task = house.runtime.create(house.config(&["sleep", "1000"])).await.unwrap();
    task.start().await.unwrap();
    let mut config = exec("tty", &["sh", "-c", "stty size; read x; stty size; id -u; echo $HOME; pwd"]);
    config.terminal = true;
    config.attach = Attach::ALL;
    config.console_size = Some((20, 60));
    let mut user = pintle_runtime::oci_spec::runtime::User::default();
    user.set_uid(1000).set_gid(1000);
    config.process.set_user(user).set_cwd("/tmp".into());
    let run = task.exec(config).await.unwrap();
    let (_, mut stream) = run.start().await.unwrap();
    let mut first = vec![0; 7];
    patience(stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(first, b"20 60\r\n");
    run.resize(30, 90).await.unwrap();
    stream.write_all(b"\n").await.unwrap();
    let mut all = String::new();
    patience(stream.read_to_string(&mut all)).await.unwrap();
    assert_eq!(all, "\r\n30 90\r\n1000\r\n/home/app\r\n/tmp\r\n");
    assert_eq!(patience(run.wait()).await.unwrap().code, 0);
    task.delete().await.unwrap();
}

#[tokio::test]
async fn what_an_exec_leaves_running_does_not_hold_its_end() {
    let house = House::new();
    let config = house.config(&["sleep", "1000"]);
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    let begun = std::time::Instant::now();
    let got =
        exec_run(&task, exec("bg", &["sh", "-c", "(sleep 0.6; echo later; touch /tmp/lived) & echo now"]))
            .await
            .unwrap();
    assert_eq!(got, (0, "now\n".into(), String::new()));
    assert!(begun.elapsed() < Duration::from_millis(550), "{:?}", begun.elapsed());
    // It may go on writing: nobody reads, but nothing kills it.
    patience(async {
        while !house.rootfs.join("tmp/lived").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    task.delete().await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_never_stalls_the_log_for_good() {
    let house = House::new();
    // More than the client's buffer, so that the output is held, then the client dropped.
    let config = house.shell("head -c 12000000 /dev/zero | busybox tr '\\0' x; echo; echo end");
    let log = config.log.clone().unwrap().path;
    let task = house.runtime.create(config).await.unwrap();
    let stuck = task.attach(OUTPUT).await.unwrap();
    task.start().await.unwrap();
    assert_eq!(patience(task.wait()).await.unwrap().code, 0);
    assert!(logged(&log, "stdout").ends_with("end\n"));
    drop(stuck);
    task.delete().await.unwrap();
}

#[tokio::test]
async fn a_slow_client_gets_everything() {
    let house = House::new();
    let config = house.shell("head -c 12000000 /dev/zero | busybox tr '\\0' x");
    let task = house.runtime.create(config).await.unwrap();
    let mut stream = task.attach(OUTPUT).await.unwrap();
    task.start().await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let (out, _) = frames(&mut stream).await;
    assert_eq!(out.len(), 12_000_000);
    task.delete().await.unwrap();
}

#[tokio::test]
async fn deletion_waits_for_what_a_client_has_yet_to_read() {
    let house = House::new();
    let task =
        house.runtime.create(house.shell("head -c 2000000 /dev/zero | busybox tr '\\0' x")).await.unwrap();
    let mut stream = task.attach(OUTPUT).await.unwrap();
    task.start().await.unwrap();
    patience(task.wait()).await.unwrap();
    patience(task.delete()).await.unwrap();
    assert_eq!(frames(&mut stream).await.0.len(), 2_000_000);
}
