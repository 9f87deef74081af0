//! A real registry (Debian's docker-registry) on a loopback port of its own, and stories of images and plugins
//! that travel through it.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    harness::{Engine, eventually},
    package::{built, config, folder},
};

/// A registry that ends with the story.
pub struct Registry {
    pub address: String,
    child: Child,
}

impl Registry {
    /// One without authentication.
    pub fn open(dir: &Path) -> Self {
        Self::start(dir, "")
    }

    /// One that knows `user` with the password `secret`.
    pub fn guarded(dir: &Path) -> Self {
        let file = dir.join("htpasswd");
        let made =
            Command::new("htpasswd").args(["-Bbc", &file.display().to_string(), "user", "secret"]).status();
        assert!(made.expect("apt-get install apache2-utils").success());
        Self::start(dir, &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display()))
    }

    /// One with a certificate.
    pub fn secured(dir: &Path, certificate: &Path, key: &Path) -> Self {
        let (certificate, key) = (certificate.display(), key.display());
        Self::start(dir, &format!("  tls:\n    certificate: {certificate}\n    key: {key}\n"))
    }

    fn start(dir: &Path, more: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let root = dir.join(format!("registry-{port}"));
        fs::create_dir_all(&root).unwrap();
        let file = dir.join(format!("registry-{port}.yml"));
        let yaml = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    \
             enabled: true\nhttp:\n  addr: {address}\n{more}",
            root.display()
        );
        fs::write(&file, yaml).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", &file.display().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("apt-get install docker-registry");
        eventually("the registry", Duration::from_secs(20), || {
            std::net::TcpStream::connect(&address).is_ok()
        });
        Self { address, child }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_image_travels() {
    let engine = Engine::pintle();
    let registry = Registry::open(&engine.dir);
    engine.busybox("alpine");
    let name = format!("{}/team/box:1", registry.address);
    engine.sh(&format!("docker tag alpine {name} && docker push {name}")).ok();
    let id = engine.sh("docker images -q --no-trunc alpine").ok();
    engine.sh(&format!("docker rmi alpine {name}")).ok();
    let said = engine.sh(&format!("docker pull {name}")).ok();
    assert!(said.contains("Downloaded newer image") && said.contains("Digest: sha256:"), "{said}");
    assert_eq!(engine.sh(&format!("docker images -q --no-trunc {name}")).ok(), id);
    let again = engine.sh(&format!("docker pull {name}")).ok();
    assert!(again.contains("Image is up to date"), "{again}");
    assert_eq!(engine.sh(&format!("docker run --rm {name} echo ran")).ok(), "ran");
    let missing = engine.sh(&format!("docker pull {}/team/none", registry.address)).fails();
    assert!(missing.contains("not found") || missing.contains("manifest unknown"), "{missing}");
}

#[test]
fn a_guarded_registry_wants_the_right_password() {
    let engine = Engine::pintle();
    let registry = Registry::guarded(&engine.dir);
    let host = &registry.address;
    engine.busybox("alpine");
    engine.sh(&format!("docker tag alpine {host}/a:1")).ok();
    let refused = engine.sh(&format!("docker push {host}/a:1")).fails();
    assert!(
        refused.contains("no basic auth credentials")
            || refused.contains("unauthorized")
            || refused.contains("authentication required"),
        "{refused}"
    );
    let wrong = engine.sh(&format!("docker login -u user -p wrong {host}")).fails();
    assert!(wrong.to_lowercase().contains("unauthorized"), "{wrong}");
    engine.sh(&format!("docker login -u user -p secret {host} && docker push {host}/a:1")).ok();
    engine.sh(&format!("docker rmi {host}/a:1 && docker pull {host}/a:1")).ok();

    // A plugin's privileges are an error without the password, never an empty list.
    let package = folder(&engine, "volume-dirs", &built("volume-dirs"), &config("volume-dirs"));
    engine
        .sh(&format!(
            "docker plugin create {host}/p:1 {} && docker plugin push {host}/p:1",
            package.display()
        ))
        .ok();
    engine
        .sh(&format!(
            "docker plugin rm {host}/p:1 && docker plugin install --grant-all-permissions {host}/p:1"
        ))
        .ok();
    engine.sh(&format!("docker plugin rm -f {host}/p:1 && docker logout {host}")).ok();
    let (status, body) = engine.http("GET", &format!("/plugins/privileges?remote={host}/p:1"), None);
    assert!((400..=503).contains(&status) && body["message"].is_string(), "{status} {body}");
    let refused = engine.sh(&format!("docker plugin install --grant-all-permissions {host}/p:1")).fails();
    assert!(!refused.contains("incorrect privileges"), "{refused}");
}

#[test]
fn a_plugin_travels_and_what_was_granted_is_what_is_installed() {
    let engine = Engine::pintle();
    let registry = Registry::open(&engine.dir);
    let name = format!("{}/me/dirs:1", registry.address);
    let mut settings = config("volume-dirs");
    settings["linux"]["capabilities"] = serde_json::json!(["CAP_SYS_ADMIN"]);
    let package = folder(&engine, "volume-dirs", &built("volume-dirs"), &settings);
    engine
        .sh(&format!(
            "docker plugin create {name} {} && docker plugin push {name} && docker plugin rm {name}",
            package.display()
        ))
        .ok();

    let declined = engine.sh(&format!("echo n | docker plugin install {name}")).fails();
    assert!(declined.contains("capabilities: [CAP_SYS_ADMIN]"), "{declined}");
    assert_eq!(engine.sh("docker plugin ls -q").ok(), "");
    // Any difference in what is granted refuses.
    for grant in ["[]", r#"[{"Name":"capabilities","Value":["CAP_NET_ADMIN"]}]"#] {
        let grant = serde_json::from_str(grant).unwrap();
        let (status, body) =
            engine.http("POST", &format!("/plugins/pull?remote={name}&name=x"), Some(&grant));
        assert!(status >= 400 || body.to_string().contains("error"), "{status} {body}");
        assert!(body.to_string().contains("incorrect privileges"), "{body}");
    }
    engine.sh(&format!("echo y | docker plugin install --alias dirs {name} DEBUG=1")).ok();
    assert_eq!(engine.sh("docker plugin ls --format '{{.Name}} {{.Enabled}}'").ok(), "dirs:latest true");
    engine.sh("docker volume create -d dirs vol").ok();
}

#[test]
fn upgrade_keeps_overrides_takes_new_defaults_and_rolls_back() {
    let engine = Engine::pintle();
    let registry = Registry::open(&engine.dir);
    let at = |tag: &str| format!("{}/me/dirs:{tag}", registry.address);
    let publish = |tag: &str, settings: &serde_json::Value, binary: &Path| {
        let package = folder(&engine, "volume-dirs", binary, settings);
        let name = at(tag);
        engine
            .sh(&format!(
                "docker plugin create {name} {} && docker plugin push {name} && docker plugin rm {name}",
                package.display()
            ))
            .ok();
    };
    let good = built("volume-dirs");
    publish("1", &config("volume-dirs"), &good);
    let mut second = config("volume-dirs");
    second["env"]
        .as_array_mut()
        .unwrap()
        .push(serde_json::json!({"name": "FRESH", "value": "yes", "settable": ["value"]}));
    publish("2", &second, &good);
    let mut broken = config("volume-dirs");
    broken["entrypoint"] = serde_json::json!(["/usr/bin/volume-dirs", "--no-such-flag"]);
    fs::write(engine.dir.join("broken"), "not a program").unwrap();
    publish("3", &broken, &engine.dir.join("broken"));

    engine
        .sh(&format!("docker plugin install --grant-all-permissions --alias dirs {} DEBUG=7", at("1")))
        .ok();
    engine.sh("docker volume create -d dirs vol").ok();
    let enabled = engine
        .sh(&format!("docker plugin upgrade --grant-all-permissions --skip-remote-check dirs {}", at("2")))
        .fails();
    assert!(enabled.contains("disabled before upgrading"), "{enabled}");
    engine.sh("docker plugin disable -f dirs").ok();
    engine.sh(&format!("docker plugin upgrade --grant-all-permissions --skip-remote-check dirs {} && docker plugin enable dirs", at("2"))).ok();
    let env = engine.sh("docker plugin inspect -f '{{json .Settings.Env}}' dirs").ok();
    assert!(env.contains("DEBUG=7") && env.contains("FRESH=yes"), "{env}");
    engine.sh("docker volume inspect vol").ok();

    engine.sh("docker plugin disable -f dirs").ok();
    let _ = engine
        .sh(&format!("docker plugin upgrade --grant-all-permissions --skip-remote-check dirs {}", at("3")));
    let _ = engine.sh("docker plugin enable dirs");
    eventually("the old version to be back", Duration::from_secs(30), || {
        engine.sh("docker volume inspect vol").code == 0
    });
    let env = engine.sh("docker plugin inspect -f '{{json .Settings.Env}} {{.Enabled}}' dirs").ok();
    assert!(env.contains("DEBUG=7") && env.contains("FRESH=yes") && env.ends_with("true"), "{env}");
}
