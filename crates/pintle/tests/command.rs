//! The command as users and other programs meet it, without an engine.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::os::unix::fs::symlink;
use std::process::{Command, Output};

fn pintle(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pintle"))
        .args(args)
        .env("DOCKER_HOST", "unix:///nonexistent/engine.sock")
        .env("DOCKER_CONFIG", "/nonexistent")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn exit_codes_are_dockers() {
    for (args, code) in [
        (&["--help"][..], 0),
        (&["run", "--help"], 0),
        (&["--version"], 0),
        (&["run"], 1),
        (&["nosuch"], 1),
        (&["ps", "--nosuch"], 125),
        (&["plugin", "ls", "surplus"], 1),
        (&["plugin", "set", "x"], 1),
        (&["ps"], 1),
        (&["run", "x"], 125),
        (&["plugin", "disable", "--force=false", "x"], 1),
    ] {
        assert_eq!(pintle(args).status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn an_engine_that_is_not_there_is_named_with_the_next_step() {
    let errors = text(&pintle(&["volume", "ls"]).stderr);
    assert!(
        errors.contains("unix:///nonexistent/engine.sock") && errors.contains("pintle daemon"),
        "{errors}"
    );
}

#[test]
fn completion_works_without_an_engine() {
    for shell in ["bash", "fish", "zsh"] {
        let output = pintle(&["completion", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("__complete"), "{shell}");
    }
    let started = std::time::Instant::now();
    let output = pintle(&["__complete", "plugin", "enable", ""]);
    assert!(output.status.success(), "{output:?}");
    assert!(started.elapsed().as_secs() < 5, "completion waits for an engine");
    assert!(text(&pintle(&["__completeNoDesc", "plugin", "vali"]).stdout).starts_with("validate\n"));
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let output = pintle(&["man", dir.path().to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    for page in ["pintle.1", "pintle-plugin.1", "pintle-plugin-validate.1", "pintle-run.1", "pintle-daemon.1"]
    {
        assert!(dir.path().join(page).exists(), "{page}");
    }
}

#[test]
fn it_is_a_plugin_of_the_stock_client() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("docker-pintle");
    symlink(env!("CARGO_BIN_EXE_pintle"), &plugin).unwrap();
    let run = |args: &[&str]| {
        Command::new(&plugin).args(args).env("DOCKER_HOST", "unix:///nonexistent").output().unwrap()
    };
    let metadata = text(&run(&["docker-cli-plugin-metadata"]).stdout);
    assert!(metadata.contains("\"SchemaVersion\":\"0.1.0\""), "{metadata}");
    // All of the client's own words come along.
    let output = run(&["--context", "default", "-D", "pintle", "plugin", "validate", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stdout).contains("cannot read /nonexistent/config.json"), "{output:?}");
}

#[test]
fn a_scaffold_validates_and_packs_without_an_engine_or_a_compiler() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("my-volumes");
    let place = place.to_str().unwrap();
    let made = pintle(&["plugin", "new", "--builtin", "--dir", place, "me/my-volumes"]);
    assert!(made.status.success(), "{made:?}");
    let valid = pintle(&["plugin", "validate", place]);
    assert!(valid.status.success(), "{}", text(&valid.stdout));
    let package = dir.path().join("package.tar");
    let built = pintle(&["plugin", "build", "-o", package.to_str().unwrap(), place]);
    assert!(built.status.success(), "{built:?}");
    let mut archive = tar::Archive::new(std::fs::File::open(package).unwrap());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names.first().map(String::as_str), Some("config.json"));
    assert!(names.iter().any(|name| name == "rootfs/bin/pintle"), "{names:?}");
}

#[test]
fn the_seeds_config_with_its_comments_validates() {
    let dir = tempfile::tempdir().unwrap();
    let config = r#"{
  "entrypoint": ["/usr/bin/my-volume-plugin"],
  "network": {
    "type": "host"  # Use host networking for simplicity
  },
  "interface": {
    "types": ["docker.volumedriver/1.0"],  # Plugin API version
    "socket": "my-volume-plugin.sock"      # Socket for daemon communication
  },
  "linux": { "capabilities": ["CAP_SYS_ADMIN"] },
  "propagatedMount": "/mnt/volumes"  # Mount point for volumes
}"#;
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    let program = dir.path().join("rootfs/usr/bin");
    std::fs::create_dir_all(&program).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_pintle"), program.join("my-volume-plugin")).unwrap();
    let output = pintle(&["plugin", "validate", dir.path().to_str().unwrap()]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains(" - network: [host]") && shown.contains("CAP_SYS_ADMIN"), "{shown}");
}
