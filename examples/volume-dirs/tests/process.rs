//! How the SDK's program starts and stops: signals and systemd's sockets.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use pintle_testkit::client::PluginClient;
use pintle_wire::Interface;

const PROGRAM: &str = env!("CARGO_BIN_EXE_volume-dirs");

async fn wait_for(socket: &Path) {
    PluginClient::unix(socket).awake().await.unwrap();
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn both_signals_end_it_well() {
    for name in ["-TERM", "-INT"] {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("v.sock");
        let mut child = Command::new(PROGRAM)
            .env("PLUGIN_NAME", &socket)
            .env("ROOT", dir.path().join("root"))
            .spawn()
            .unwrap();
        wait_for(&socket).await;
        signal(&child, name);
        assert!(child.wait().unwrap().success(), "{name}");
        assert!(!socket.exists(), "{name}");
    }
}

#[tokio::test]
async fn it_takes_the_socket_that_systemd_passes_and_leaves_it() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("activated.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // systemd passes descriptor 3 and says whose it is.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\"";
    let mut child = Command::new("bash")
        .args(["-c", script, PROGRAM])
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .env("ROOT", dir.path().join("root"))
        .spawn()
        .unwrap();
    wait_for(&socket).await;
    let activation = PluginClient::unix(&socket).activate().await.unwrap();
    assert_eq!(activation.implements, [Interface::Volume]);
    signal(&child, "-TERM");
    assert!(child.wait().unwrap().success());
    assert!(socket.exists(), "the socket is systemd's");
}

#[test]
fn a_plugin_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = Command::new(PROGRAM).env("ROOT", dir.path()).env("PLUGIN_NAME", &file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("cannot listen on ") && text.contains("not a socket"), "{text}");
}
