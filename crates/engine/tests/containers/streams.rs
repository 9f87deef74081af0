use std::time::Duration;

use futures_util::StreamExt;
use pintle_engine::{
    ErrorKind,
    containers::{AttachOptions, ExecSpec, ExecStart, LogConfig, LogOptions},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{House, patience, text, unframe, until};

fn both() -> LogOptions {
    LogOptions { stdout: true, stderr: true, ..LogOptions::default() }
}

pub async fn logs_and_follow() {
    let house = House::new().await;
    let id =
        house.start(house.shell("for i in 1 2 3; do echo line $i; done; sleep 0.3; echo last; exit 0")).await;
    let followed = house.containers.logs(&id, LogOptions { follow: true, ..both() }).await.unwrap();
    assert_eq!(text(followed).await, "line 1\nline 2\nline 3\nlast\n");
    let tail = house.containers.logs(&id, LogOptions { tail: Some(2), ..both() }).await.unwrap();
    assert_eq!(text(tail).await, "line 3\nlast\n");
    let stamped =
        house.containers.logs(&id, LogOptions { timestamps: true, tail: Some(1), ..both() }).await.unwrap();
    let stamped = text(stamped).await;
    assert!(stamped.ends_with("Z last\n") && stamped.starts_with("20"), "{stamped}");
    let none =
        house.containers.logs(&id, LogOptions { stderr: true, ..LogOptions::default() }).await.unwrap();
    assert_eq!(text(none).await, "");
    house.containers.logs(&id, LogOptions::default()).await.err().unwrap();

    // Rotation under a follower's feet.
    let mut spec = house.shell("for i in $(seq 1 4000); do echo number $i; done");
    spec.log = LogConfig {
        driver: "json-file".into(),
        options: [("max-size", "20k"), ("max-file", "50")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    };
    let id = house.create(spec).await;
    house.containers.start(&id).await.unwrap();
    let followed = house.containers.logs(&id, LogOptions { follow: true, ..both() }).await.unwrap();
    let all = text(followed).await;
    let want: String = (1..=4000).map(|n| format!("number {n}\n")).collect();
    assert_eq!(all.len(), want.len());
    assert_eq!(all, want);
    assert!(house.containers.log_path(&id).unwrap().with_extension("log.1").exists());

    let mut quiet = house.shell("echo x");
    quiet.log.driver = "none".into();
    let id = house.start(quiet).await;
    house.wait(&id).await;
    let error = house.containers.logs(&id, both()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotImplemented);
    house.close().await;
}

pub async fn attach_before_start() {
    let house = House::new().await;
    let mut spec = house.spec(&["cat"]);
    spec.open_stdin = true;
    spec.stdin_once = true;
    let id = house.create(spec).await;
    let options = AttachOptions { stream: true, stdin: true, stdout: true, stderr: true, logs: false };
    let attached = house.containers.attach(&id, options).await.unwrap();
    assert!(!attached.tty);
    house.containers.start(&id).await.unwrap();
    let mut stream = patience(attached.connection.unwrap().ready()).await.unwrap();
    stream.write_all(b"to and fro\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    patience(stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(unframe(&bytes), "to and fro\n");
    assert_eq!(house.wait(&id).await, 0);

    // A start that fails lets those who wait go.
    let id = house.create(house.spec(&["no-such-command"])).await;
    let attached = house.containers.attach(&id, options).await.unwrap();
    house.containers.start(&id).await.unwrap_err();
    assert!(patience(attached.connection.unwrap().ready()).await.is_none());

    let mut spec = house.shell("stty size; echo done");
    spec.tty = true;
    spec.console_size = Some((33, 99));
    let id = house.start(spec).await;
    house.wait(&id).await;
    assert_eq!(house.output(&id).await, "33 99\r\ndone\r\n");
    house.close().await;
}

pub async fn execs() {
    let house = House::new().await;
    let mut spec = house.spec(&["sleep", "60"]);
    spec.env = vec!["OUTER=1".into()];
    let id = house.start(spec).await;
    let run = async |spec: ExecSpec| {
        let exec = house.containers.exec_create(&id, spec).await.unwrap();
        let started = house.containers.exec_start(&exec, ExecStart::default()).await?;
        let mut bytes = Vec::new();
        patience(started.stream.unwrap().read_to_end(&mut bytes)).await.unwrap();
        until("the exec ended", || house.containers.exec_inspect(&exec).unwrap().exit_code.is_some()).await;
        let code = house.containers.exec_inspect(&exec).unwrap().exit_code.unwrap();
        Ok::<_, pintle_engine::EngineError>((code, unframe(&bytes)))
    };
    let spec = |script: &str| ExecSpec {
        cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
        stdout: true,
        stderr: true,
        ..ExecSpec::default()
    };
    let mut inner = spec("echo $OUTER $INNER; id -u; pwd; cat /proc/self/status | grep Seccomp: ; exit 9");
    inner.env = vec!["INNER=2".into()];
    inner.user = "1000".into();
    inner.working_dir = "/srv".into();
    assert_eq!(run(inner).await.unwrap(), (9, "1 2\n1000\n/srv\nSeccomp:\t2\n".to_owned()));

    let exec =
        house.containers.exec_create(&id, ExecSpec { cmd: vec!["nope".into()], ..spec("") }).await.unwrap();
    assert_eq!(house.containers.exec_ids(&id), std::slice::from_ref(&exec));
    let error = house.containers.exec_start(&exec, ExecStart::default()).await.err().unwrap();
    assert!(error.message.contains("executable file not found"), "{error}");
    assert_eq!(house.containers.exec_inspect(&exec).unwrap().exit_code, Some(127));
    let error = house.containers.exec_start(&exec, ExecStart::default()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(house.containers.exec_inspect("zz").unwrap_err().message, "No such exec instance: zz");

    let long = house.containers.exec_create(&id, spec("sleep 50")).await.unwrap();
    let started =
        house.containers.exec_start(&long, ExecStart { detach: true, console_size: None }).await.unwrap();
    assert!(started.stream.is_none() && house.containers.exec_inspect(&long).unwrap().running);
    house.containers.pause(&id).await.unwrap();
    assert_eq!(
        house.containers.exec_create(&id, spec("true")).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    house.containers.unpause(&id).await.unwrap();
    patience(house.containers.kill(&id, "9")).await.unwrap();
    until("its execs ended, too", || !house.containers.exec_inspect(&long).unwrap().running).await;
    let error = house.containers.exec_create(&id, spec("true")).await.unwrap_err();
    assert_eq!(error.message, format!("container {id} is not running"));

    // A follower of a container that is removed comes to an end.
    let id = house.start(house.shell("echo x; sleep 60")).await;
    let mut logs = house.containers.logs(&id, LogOptions { follow: true, ..both() }).await.unwrap();
    assert!(patience(logs.stream.next()).await.is_some());
    tokio::time::sleep(Duration::from_millis(50)).await;
    house.gone(&id).await;
    while patience(logs.stream.next()).await.is_some() {}
    house.close().await;
}
