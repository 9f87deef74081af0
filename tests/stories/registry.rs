//! A real registry (Debian's docker-registry) on a loopback port of its own, and stories of images and plugins
//! that travel through it.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
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
    requests: PathBuf,
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
        let requests = dir.join(format!("registry-{port}.requests"));
        let child = Command::new("docker-registry")
            .args(["serve", &file.display().to_string()])
            .stdout(fs::File::create(&requests).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("apt-get install docker-registry");
        eventually("the registry", Duration::from_secs(20), || {
            std::net::TcpStream::connect(&address).is_ok()
        });
        Self { address, child, requests }
    }

    /// The requests so far whose line holds all of these, each as `METHOD /path`.
    pub fn requests(&self, words: &[&str]) -> Vec<String> {
        let log = fs::read_to_string(&self.requests).unwrap();
        let request =
            |line: &str| line.split('"').nth(1).map(|asked| asked.trim_end_matches(" HTTP/1.1").to_owned());
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).filter_map(request).collect()
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

/// Whoever wants the same image at the same time downloads it once, and nobody clears away what somebody needs.
#[test]
fn pulls_of_one_image_share_the_work_and_keep_what_they_need() {
    let engine = Engine::pintle();
    let registry = Registry::open(&engine.dir);
    let host = &registry.address;
    engine.busybox("base");
    // Two images with layers in common, of a size that takes a while.
    let steps = "FROM base\nRUN head -c 8000000 /dev/urandom > /a\nRUN head -c 8000000 /dev/urandom > /b\n";
    fs::create_dir(engine.dir.join("ctx")).unwrap();
    for (name, more) in [("one", "RUN echo one > /name"), ("two", "RUN echo two > /name")] {
        fs::write(engine.dir.join("ctx/Dockerfile"), format!("{steps}{more}")).unwrap();
        engine
            .sh(&format!(
                "DOCKER_BUILDKIT=0 docker build -t {host}/{name}:1 ctx && docker push {host}/{name}:1"
            ))
            .ok();
    }
    let layers = |name: &str| -> Vec<String> {
        let text = engine
            .sh(&format!("docker image inspect -f '{{{{join .RootFS.Layers \" \"}}}}' {host}/{name}:1"))
            .ok();
        text.split(' ').map(str::to_owned).collect()
    };
    let mut all = [layers("one"), layers("two")].concat();
    all.sort();
    all.dedup();
    let away = format!("docker rmi -f {host}/one:1 {host}/two:1 && docker image prune -af");
    engine.sh(&away).ok();

    let mut seen = registry.requests(&["GET", "/blobs/"]).len();
    for _ in 0..4 {
        // While they are pulled, everything that nobody needs is cleared away again and again.
        engine
            .sh(&format!(
                "for i in 1 2 3 4; do docker pull {host}/one:1 & docker pull {host}/two:1 & done; \
                 for i in 1 2 3 4 5 6; do docker image prune -af; docker system prune -f; done >/dev/null & wait"
            ))
            .ok();
        // A prune that came after the last pull took them again.
        engine
            .sh(&format!(
                "docker run --rm --name one {host}/one:1 cat /name && docker run --rm {host}/two:1 cat /name"
            ))
            .ok();
        engine.sh(&away).ok();
    }
    engine.sh(&away).ok();
    seen = registry.requests(&["GET", "/blobs/"]).len() - seen;
    assert!(seen > 0);

    let before = registry.requests(&["GET", "/blobs/"]).len();
    engine
        .sh(&format!(
            "for i in 1 2 3 4 5 6; do docker pull {host}/one:1 & docker pull {host}/two:1 & done; wait"
        ))
        .ok();
    let mut asked = registry.requests(&["GET", "/blobs/"]).split_off(before);
    // Each layer once, and the two configurations.
    assert_eq!(asked.len(), all.len() + 2, "{asked:#?}");
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), all.len() + 2);

    // A container keeps its files, whatever becomes of its image.
    engine.sh(&format!("docker create --name kept {host}/one:1 cat /name && {away}")).ok();
    assert_eq!(engine.sh("docker start -a kept").ok(), "one");
    engine.sh("docker rm kept && docker image prune -af").ok();
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
