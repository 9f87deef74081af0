//! The user's document, run as written: the files below `seed/` are its command blocks, untouched.

use std::{fs, path::Path};

use crate::{
    harness::{Client, Engine, Kind},
    package::{built, config, folder},
    registry::Registry,
};

fn seed(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/stories/seed").join(name))
        .unwrap()
}

/// The commands of a block, one each, without its comments.
fn commands(block: &str) -> Vec<String> {
    block
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

/// An engine for which `docker.io` is a registry of this story, holding our plugin under the seed's names.
fn published(client: Client, names: &[&str]) -> (Engine, Registry) {
    let home = tempfile::tempdir_in("/tmp").unwrap().keep();
    let registry = Registry::open(&home);
    let engine =
        Engine::start(Kind::Pintle, client, &["--registry-mirror", &format!("http://{}", registry.address)]);
    for name in names {
        let remote = format!("{}/{name}", registry.address);
        let package = folder(&engine, "volume-dirs", &built("volume-dirs"), &config("volume-dirs"));
        engine.sh(&format!("docker plugin create {remote} {} && docker plugin push {remote} && docker plugin rm {remote}", package.display())).ok();
    }
    (engine, registry)
}

#[test]
fn managing_docker_plugins() {
    for client in [Client::Docker, Client::Pintle] {
        let (engine, _registry) = published(client, &["grafana/loki-docker-driver:latest"]);
        let block = seed("managing.sh");
        let lines = commands(&block);
        assert_eq!(lines.len(), 6, "{lines:?}");
        for line in &lines {
            // The install asks; a person at a terminal says yes.
            engine.sh(&format!("yes | {line}")).ok();
            if line.contains("plugin enable") {
                // "Plugin must be disabled before removal", says the seed.
                let busy = engine.sh("docker plugin rm grafana/loki-docker-driver:latest").fails();
                assert!(busy.contains("is enabled"), "{busy}");
                engine.sh("docker plugin disable grafana/loki-docker-driver:latest").ok();
            }
        }
        assert_eq!(engine.sh("docker plugin ls -q").ok(), "");
    }
}

#[test]
fn developing_custom_plugins() {
    for client in [Client::Docker, Client::Pintle] {
        let home = tempfile::tempdir_in("/tmp").unwrap();
        let registry = Registry::open(home.path());
        let engine = Engine::start(Kind::Pintle, client, &[]);
        engine.busybox("alpine");
        fs::create_dir_all("/var/lib/docker/volumes").unwrap();
        // The block goes on in the folder that its `docker build` part filled.
        let package = folder(&engine, "my-volume-plugin", &built("volume-dirs"), &config("my-volume-plugin"));
        fs::remove_file(package.join("config.json")).unwrap();
        let block = seed("developing.sh");
        let (before_push, push) = block.split_once("# Push to Docker Hub").unwrap();
        let mut script = format!("set -e\n{before_push}");
        if client == Client::Docker {
            // The stock client itself reads config.json as strict JSON before it sends it; with the seed's
            // comments it gives up, and pintle in its place does not.
            let refused = engine.sh_in(&package, &script).fails();
            assert!(refused.contains("invalid character '#'"), "{refused}");
            script = script.replace("docker plugin create", "pintle plugin create");
        }
        engine.sh_in(&package, &script).ok();
        assert_eq!(engine.sh("docker run --rm -v test-volume:/data alpine cat /data/test.txt").ok(), "hello");
        // Docker Hub cannot be reached from a test; the push itself goes to a registry that can.
        assert!(push.contains("docker plugin push my-username/my-volume-plugin"));
        let remote = format!("{}/my-username/my-volume-plugin", registry.address);
        engine
            .sh_in(&package, &format!("pintle plugin create {remote} . && docker plugin push {remote}"))
            .ok();
    }
}

#[test]
fn troubleshooting_plugins() {
    for client in [Client::Docker, Client::Pintle] {
        let engine = Engine::start(Kind::Pintle, client, &[]);
        let package = folder(&engine, "volume-dirs", &built("volume-dirs"), &config("volume-dirs"));
        engine
            .sh(&format!(
                "docker plugin create plugin-name {} && docker plugin enable plugin-name",
                package.display()
            ))
            .ok();
        for line in commands(&seed("troubleshooting.sh")) {
            // There is no systemd journal of an engine that a test started; the rest runs as written.
            if line.starts_with("journalctl") {
                continue;
            }
            if line.contains("{{.Size}}") && client == Client::Docker {
                // The stock client has no such column; pintle in its place does.
                engine.sh(&line.replace("docker plugin", "pintle plugin")).ok();
                continue;
            }
            let said = engine
                .sh(&line.replace("/run/docker/plugins/", &format!("{}/plugins/", engine.dir.display())))
                .ok();
            if line.contains("Settings.Env") {
                assert!(said.contains("DEBUG=0"), "{said}");
            }
        }
    }
}

#[test]
fn the_upgrade_script() {
    for client in [Client::Docker, Client::Pintle] {
        let (engine, _registry) = published(client, &["library/my-plugin:1.1.0", "library/my-plugin:1.2.0"]);
        engine.sh("docker plugin install my-plugin:1.1.0 --alias my-plugin --grant-all-permissions").ok();
        let script = seed("upgrade.sh");
        let file = engine.dir.join("upgrade.sh");
        fs::write(
            &file,
            script
                .replace("/var/lib/docker-plugin-backups", &engine.dir.join("backups").display().to_string()),
        )
        .unwrap();
        let said = engine.sh("bash upgrade.sh").ok();
        assert!(said.contains("Plugin functionality verified."), "{said}");
        assert!(said.contains("Upgrade complete!"), "{said}");
    }
}

#[test]
fn the_wider_security_block_is_honoured() {
    let engine = Engine::pintle();
    let package = folder(&engine, "volume-dirs", &built("volume-dirs"), &config("volume-dirs"));
    let text = serde_json::to_string_pretty(&config("volume-dirs")).unwrap();
    // The seed's block, comments included, in the seed's own words.
    let linux = r#""linux": {
    "capabilities": [
      "CAP_NET_ADMIN",      // Required for network manipulation
      "CAP_SYS_ADMIN"       // Required for mount operations
    ],
    "allowAllDevices": false,  // Don't allow access to all devices
    "devices": [
      {
        "path": "/dev/fuse",  // Access only to FUSE device
        "cgroup_permissions": "rwm"  // Read, write, mknod permissions
      }
    ],
    "seccomp": {
      "profile": "default"  // Apply default seccomp profile
    },
    "apparmorProfile": "docker-default",  // Use default AppArmor profile
    "noNewPrivileges": true  // Prevent privilege escalation
  }"#;
    let start = text.find("\"linux\"").unwrap();
    let end = start + text[start..].find('}').unwrap() + 1;
    fs::write(package.join("config.json"), format!("{}{linux}{}", &text[..start], &text[end..])).unwrap();
    engine
        .sh(&format!("pintle plugin create strict {} && docker plugin enable strict", package.display()))
        .ok();
    let id = engine.sh("docker plugin inspect -f '{{.Id}}' strict").ok();
    let procs = format!("/sys/fs/cgroup/pids/pintle/{id}/cgroup.procs");
    let pid = fs::read_to_string(procs).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", pid.lines().next().unwrap())).unwrap();
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_owned();
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("CapInh:"), "0000000000000000");
    assert_ne!(
        u64::from_str_radix(&field("CapEff:"), 16).unwrap() & (1 << 21),
        0,
        "CAP_SYS_ADMIN was asked for"
    );
    // A real mistake is refused with its place.
    fs::write(package.join("config.json"), "{\n  \"description\": \"x\",\n  \"entrypoint\" [\"/x\"]\n}")
        .unwrap();
    let refused = engine.sh(&format!("pintle plugin create wrong {}", package.display())).fails();
    assert!(refused.contains("line 3"), "{refused}");
}
