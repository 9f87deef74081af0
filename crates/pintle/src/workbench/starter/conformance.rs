//! The conformance suite on this plugin: every promise that engines and containers rely on, each with what was
//! expected and what came. `pintle plugin test` is the same suite by hand.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_PROGRAM");

struct Plugin(Child);

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_keeps_every_promise() {
    let dir = std::env::temp_dir().join(format!("plugin-{}", std::process::id()));
    let socket = dir.join("plugin.sock");
    let child = Command::new(PROGRAM).env("PLUGIN_NAME", &socket).env("ROOT", dir.join("volumes")).spawn();
    let _plugin = Plugin(child.expect("the plugin starts"));
    wait_for(&socket);
    let suite = Command::new("pintle").args(["plugin", "test"]).arg(&socket).output();
    let suite = suite.expect("pintle is in PATH");
    let _ = std::fs::remove_dir_all(&dir);
    let report = [suite.stdout, suite.stderr].concat();
    assert!(suite.status.success(), "{}", String::from_utf8_lossy(&report));
}

fn wait_for(socket: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !socket.exists() {
        assert!(Instant::now() < deadline, "the plugin does not listen on {}", socket.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}
