//! The user's document, run as written: the files below `seed/` are its command blocks, untouched, on a host like the
//! one that they are written for. What the stock client cannot do by itself is shown to fail there and to work with
//! `pintle` in its place.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    harness::{Client, Engine},
    hub::Hub,
    operator::Host,
    package::{built, config, folder},
};

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

fn seed(name: &str) -> String {
    text(&format!("tests/stories/seed/{name}"))
}

/// The commands of a block, one each, without its comments.
fn commands(block: &str) -> Vec<&str> {
    block.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).collect()
}

/// A host whose engine knows Docker Hub, where our plugin is under the seed's names.
fn published(client: Client, names: &[&str]) -> (Host, Hub, tempfile::TempDir) {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let hub = Hub::open(dir.path());
    let host = Host::new(client, &[], &hub.env());
    for name in names {
        let package = package(&host.engine, "volume-dirs");
        host.sh(&format!(
            "docker plugin create {name} {} && docker plugin push {name} && docker plugin rm {name}",
            package.display()
        ))
        .ok();
    }
    (host, hub, dir)
}

fn package(engine: &Engine, name: &str) -> PathBuf {
    folder(engine, name, &built("volume-dirs"), &config(name))
}

#[test]
fn managing_docker_plugins() {
    for client in [Client::Docker, Client::Pintle] {
        let (host, _hub, _dir) = published(client, &["grafana/loki-docker-driver:latest"]);
        let block = seed("managing.sh");
        let [install, list, inspect, disable, enable, remove] = commands(&block)[..] else {
            panic!("six commands: {block}");
        };
        // The install asks; a person at a terminal says yes.
        let asked = host.sh(&format!("echo y | {install}")).ok();
        assert!(asked.contains("loki"), "{asked}");
        let listed = host.sh(list).ok();
        assert!(listed.contains("loki:latest") && listed.contains("true"), "{listed}");
        // The name that it was installed by works, alias or not.
        let inspected: Value = serde_json::from_str(&host.sh(inspect).ok()).unwrap();
        assert_eq!(inspected[0]["Name"], "loki:latest");
        host.sh(disable).ok();
        host.sh(enable).ok();
        // "Plugin must be disabled before removal", says the seed, and has just enabled it.
        let refused = host.sh(remove).fails();
        assert!(refused.contains("is enabled"), "{refused}");
        host.sh(disable).ok();
        host.sh(remove).ok();
        assert_eq!(host.sh("docker plugin ls -q").ok(), "");
    }
}

#[test]
fn developing_custom_plugins() {
    fs::create_dir_all("/var/lib/docker/volumes").unwrap();
    for client in [Client::Docker, Client::Pintle] {
        let (host, _hub, _dir) = published(client, &[]);
        host.engine.busybox("alpine");
        // The block goes on in the folder that its `docker build` part filled.
        let package = package(&host.engine, "my-volume-plugin");
        fs::remove_file(package.join("config.json")).unwrap();
        let mut script = format!("set -e\n{}", seed("developing.sh"));
        if client == Client::Docker {
            // The stock client itself reads config.json as strict JSON before it sends it; with the seed's
            // comments it gives up, and pintle in its place does not.
            let refused = host.sh_in(&package, &script).fails();
            assert!(refused.contains("invalid character '#'"), "{refused}");
            script = script.replace("docker plugin create", "pintle plugin create");
        }
        host.sh_in(&package, &script).ok();
        assert_eq!(host.sh("docker run --rm -v test-volume:/data alpine cat /data/test.txt").ok(), "hello");
        // What was pushed can be installed by others.
        host.sh("docker plugin install --grant-all-permissions --alias other my-username/my-volume-plugin")
            .ok();
        assert!(host.sh("docker plugin ls").ok().contains("other:latest"));
    }
}

#[test]
fn troubleshooting_plugins() {
    for client in [Client::Docker, Client::Pintle] {
        let host = Host::new(client, &[], &[]);
        let package = package(&host.engine, "volume-dirs");
        let made = format!(
            "docker plugin create plugin-name {} && docker plugin enable plugin-name",
            package.display()
        );
        host.sh(&made).ok();
        let id = host.sh("docker plugin inspect -f '{{.Id}}' plugin-name").ok();
        let block = seed("troubleshooting.sh");
        for line in commands(&block) {
            let sizes = line.contains("{{.Size}}");
            if sizes && client == Client::Docker {
                // The stock client has no such column; pintle in its place does.
                assert!(host.sh(line).fails().contains("Size"), "{line}");
            }
            let said = match client {
                Client::Docker if sizes => host.sh(&line.replace("docker plugin", "pintle plugin")).ok(),
                _ => host.sh(&format!("set -o pipefail; {line}")).ok(),
            };
            let tells = match line {
                _ if sizes => "plugin-name:latest: ",
                _ if line.contains(".Config}}") => "\"docker.volumedriver/1.0\"",
                _ if line.contains("Settings.Env") => "\"DEBUG=0\"",
                // The journal of the unit docker, which tells what became of the plugin.
                _ if line.starts_with("journalctl") => "plugin-name",
                _ if line.starts_with("ls") => id.as_str(),
                _ if line.starts_with("docker volume inspect") => "\"Driver\": \"plugin-name:latest\"",
                _ => "",
            };
            assert!(said.contains(tells), "`{line}` says nothing of {tells:?}: {said}");
        }
    }
}

#[test]
fn plugin_lifecycle_management() {
    for client in [Client::Docker, Client::Pintle] {
        let tags = ["my-plugin:1.1.0", "my-plugin:1.2.0", "my-plugin:1.2.3"];
        let (host, _hub, _dir) = published(client, &tags);
        host.sh("docker plugin install my-plugin:1.1.0 --alias my-plugin --grant-all-permissions").ok();
        let script = host.engine.dir.join("upgrade.sh");
        fs::write(&script, seed("upgrade.sh")).unwrap();
        let said = host.sh(&format!("bash {}", script.display())).ok();
        assert!(said.contains("Plugin functionality verified."), "{said}");
        assert!(said.contains("Upgrade complete! Backup saved to /var/lib/docker-plugin-backups/"), "{said}");

        // The examples in the text, on a plugin of that name.
        host.sh("docker plugin install my-plugin:1.1.0 --alias my-plugin --grant-all-permissions").ok();
        for line in commands(&seed("lifecycle.sh")) {
            host.sh(line).ok();
        }
        let enabled = host.sh("docker plugin inspect -f '{{.Enabled}}' my-plugin:1.2.3").ok();
        assert_eq!(enabled, "true");
    }
}

#[test]
fn the_wider_security_block_is_honoured() {
    let engine = Engine::pintle();
    let package = package(&engine, "volume-dirs");
    // The seed's block, comments included, in the seed's own words; it leaves out what a plugin has to have.
    let block = text("crates/wire/tests/golden/seed-security.json");
    let mut own = config("volume-dirs");
    let own = own.as_object_mut().unwrap();
    own.retain(|key, _| !["linux", "mounts"].contains(&key.as_str()));
    let own = serde_json::to_string(own).unwrap();
    let own = own.trim_end_matches('}');
    fs::write(package.join("config.json"), format!("{own}, {}", block.trim_start().trim_start_matches('{')))
        .unwrap();
    let host_folder = Path::new("/var/lib/docker/plugins");
    fs::create_dir_all(host_folder).unwrap();

    let asked = engine.sh(&format!("pintle plugin validate {}", package.display())).ok();
    for privilege in
        ["mount: [/var/lib/docker/plugins/]", "device: [/dev/fuse]", "CAP_NET_ADMIN CAP_SYS_ADMIN"]
    {
        assert!(asked.contains(privilege), "{asked}");
    }
    engine
        .sh(&format!("pintle plugin create strict {} && docker plugin enable strict", package.display()))
        .ok();
    let id = engine.sh("docker plugin inspect -f '{{.Id}}' strict").ok();
    let procs = format!("/sys/fs/cgroup/pids/pintle/{id}/cgroup.procs");
    let pid = fs::read_to_string(procs).unwrap();
    let pid = pid.lines().next().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_owned();
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("CapInh:"), "0000000000000000");
    let effective = u64::from_str_radix(&field("CapEff:"), 16).unwrap();
    let (net_admin, sys_admin, sys_ptrace) = (1 << 12, 1 << 21, 1 << 19);
    assert_eq!(effective & (net_admin | sys_admin | sys_ptrace), net_admin | sys_admin, "{effective:x}");
    // Its one device, as it asked for it, and none of the others.
    let devices = fs::read_to_string(format!("/sys/fs/cgroup/devices/pintle/{id}/devices.list")).unwrap();
    assert!(devices.lines().any(|rule| rule == "c 10:229 rwm"), "{devices}");
    assert!(!devices.lines().any(|rule| rule.starts_with("a ")), "{devices}");
    // Its mount is read-only, as it said.
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let data = mounts.lines().find(|line| line.contains(" /data ")).unwrap_or_default();
    assert!(data.contains(" /data ro,"), "{mounts}");

    // A real mistake is refused with its place.
    fs::write(package.join("config.json"), "{\n  \"description\": \"x\",\n  \"entrypoint\" [\"/x\"]\n}")
        .unwrap();
    let refused = engine.sh(&format!("pintle plugin create wrong {}", package.display())).fails();
    assert!(refused.contains("line 3"), "{refused}");
}
