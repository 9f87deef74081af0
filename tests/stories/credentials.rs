//! Passwords of registries: where they are kept, who is asked for them, and where they go.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    harness::{Client, Engine, Kind},
    registry::Registry,
};

/// A credential helper of the user's; `$1` is what it is asked to do.
fn helper(engine: &Engine, name: &str, script: &str, mode: u32) {
    let file = engine.dir.join("home/bin").join(format!("docker-credential-{name}"));
    fs::write(&file, format!("#!/bin/bash\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
}

fn client_config(engine: &Engine, text: &str) {
    fs::create_dir_all(engine.dir.join("home/.docker")).unwrap();
    fs::write(engine.dir.join("home/.docker/config.json"), text).unwrap();
}

/// An engine with an image in a registry that wants a password, and that the client is logged in to no more.
fn guarded(client: Client) -> (Engine, Registry) {
    let engine = Engine::start(Kind::Pintle, client, &[]);
    let registry = Registry::guarded(&engine.dir);
    let host = &registry.address;
    engine.busybox("base");
    engine
        .sh(&format!(
            "docker tag base {host}/base:1 && docker login -u user -p secret {host} && docker push {host}/base:1 && \
             docker logout {host} && docker rmi base {host}/base:1 && rm -rf home/.docker && mkdir ctx"
        ))
        .ok();
    (engine, registry)
}

#[test]
fn a_build_may_stand_on_an_image_that_wants_a_password() {
    for client in [Client::Docker, Client::Pintle] {
        let (engine, registry) = guarded(client);
        let host = &registry.address;
        let build = "DOCKER_BUILDKIT=0 docker build";
        let forget = format!("docker rmi -f made {host}/base:1 && docker image prune -af");
        let variants = [
            format!("FROM {host}/base:1\nRUN true\n"),
            "ARG WHERE\nFROM $WHERE/base:1\nRUN true\n".to_owned(),
            format!("FROM scratch\nCOPY --from={host}/base:1 /bin/busybox /x\n"),
        ];
        for dockerfile in &variants {
            fs::write(engine.dir.join("ctx/Dockerfile"), dockerfile).unwrap();
            let refused = engine.sh(&format!("{build} --build-arg WHERE={host} ctx")).fails();
            assert!(refused.contains("no basic auth credentials"), "{refused}");
        }
        engine.sh(&format!("docker login -u user -p secret {host}")).ok();
        for dockerfile in &variants {
            fs::write(engine.dir.join("ctx/Dockerfile"), dockerfile).unwrap();
            engine.sh(&format!("{build} --build-arg WHERE={host} -t made ctx")).ok();
            engine.sh(&forget).ok();
        }
        // A Dockerfile that the client does not read: in an archive on standard input.
        fs::write(engine.dir.join("ctx/Dockerfile"), &variants[0]).unwrap();
        engine.sh(&format!("tar -C ctx -c . | {build} -t made - && {forget}")).ok();
        // Other clients write the registry's address.
        let config = fs::read_to_string(engine.dir.join("home/.docker/config.json")).unwrap();
        client_config(&engine, &config.replace(&format!("\"{host}\""), &format!("\"https://{host}/v1/\"")));
        engine.sh(&format!("tar -C ctx -c . | {build} -t made - && {forget}")).ok();
    }
}

#[test]
fn each_registry_is_one_question_to_one_helper() {
    let (engine, registry) = guarded(Client::Pintle);
    let host = &registry.address;
    let asked = engine.dir.join("asked");
    let script = format!(
        r#"server=$(cat; echo .); server=${{server%.}}
echo "$0 $1 $server" | sed 's|.*/docker-credential-||' >>{}
[ "$1" = get ] || exit 3
echo '{{"ServerURL": "'$server'", "Username": "user", "Secret": "secret"}}'"#,
        asked.display()
    );
    helper(&engine, "own", &script, 0o755);
    helper(&engine, "all", &script, 0o755);
    client_config(
        &engine,
        &format!(
            r#"{{"credsStore": "all", "credHelpers": {{"{host}": "own"}}, "auths": {{"{host}": {{"auth": "eDp5"}}}}}}"#
        ),
    );
    let questions = || {
        let said = fs::read_to_string(&asked).unwrap_or_default();
        let _ = fs::remove_file(&asked);
        said
    };
    let one = format!("own get {host}\n");
    fs::write(engine.dir.join("ctx/Dockerfile"), format!("FROM {host}/base:1 AS a\nFROM {host}/base:1\n"))
        .unwrap();
    for command in [
        format!("docker pull {host}/base:1"),
        format!("docker push {host}/base:1"),
        format!("docker rmi {host}/base:1 && docker run --rm {host}/base:1 true"),
        format!("docker rmi {host}/base:1 && docker create {host}/base:1"),
        "docker build ctx".to_owned(),
        "docker build --pull ctx".to_owned(),
    ] {
        engine.sh(&command).ok();
        assert_eq!(questions(), one, "{command}");
    }
    // What comes from the environment needs no helper.
    let environment =
        format!(r#"DOCKER_AUTH_CONFIG='{{"auths": {{"{host}": {{"auth": "dXNlcjpzZWNyZXQ="}}}}}}'"#);
    engine.sh(&format!("{environment} docker pull {host}/base:1")).ok();
    assert_eq!(questions(), "");
    let odd = engine.sh(&format!("DOCKER_AUTH_CONFIG='[' docker pull {host}/base:1")).fails();
    assert!(odd.contains("DOCKER_AUTH_CONFIG is not usable") && questions().is_empty(), "{odd}");
}

#[test]
fn a_helper_that_is_broken_sends_nothing_anywhere() {
    // Whoever is connected to, at the registry or by way of the proxy to any other host, would count it.
    let connections = Arc::new(AtomicUsize::new(0));
    let listening = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let counter = Arc::clone(&connections);
        thread::spawn(move || {
            for _ in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        address
    };
    let (host, proxy) = (listening(), format!("http://{}", listening()));
    let mut engine = Engine::prepared(Kind::Pintle, Client::Pintle, &[]);
    engine.boot(&[("HTTPS_PROXY", &proxy), ("HTTP_PROXY", &proxy)]);
    engine.busybox("base");
    engine.sh(&format!("docker tag base {host}/base && docker tag base base2 && mkdir ctx")).ok();
    for (name, dockerfile) in [("named", format!("FROM {host}/other")), ("hub", "FROM other".to_owned())] {
        fs::write(engine.dir.join("ctx").join(name), dockerfile).unwrap();
    }
    let scripts: [(&str, &str, u32, &str); 6] = [
        ("crashes", "kill -SEGV $$", 0o755, "failed"),
        ("refuses", "echo 'the key chain is locked'; exit 1", 0o755, "the key chain is locked"),
        ("talks", "echo '<html>hello</html>'", 0o755, "is not the JSON that it owes"),
        (
            "lies",
            r#"echo '{"ServerURL": "evil.example", "Username": "u", "Secret": "s"}'"#,
            0o755,
            "another server",
        ),
        ("asleep", "true", 0o644, "is not in PATH"),
        ("open", "true", 0o777, "can be written by other users"),
    ];
    for (name, script, mode, _) in &scripts {
        helper(&engine, name, script, *mode);
    }
    let missing = ("missing", "", 0, "is not in PATH");
    for (name, _, _, said) in scripts.iter().chain([&missing]) {
        client_config(
            &engine,
            &format!(
                r#"{{"credsStore": "{name}", "auths": {{"{host}": {{"auth": "dTpw"}}, "https://index.docker.io/v1/": {{"auth": "dTpw"}}}}}}"#
            ),
        );
        for command in [
            format!("docker pull {host}/base"),
            format!("docker push {host}/base"),
            "docker build -f ctx/named ctx".to_owned(),
            format!("docker plugin install --grant-all-permissions {host}/plugin"),
            "docker pull other".to_owned(),
            "docker push base2".to_owned(),
            "docker build -f ctx/hub ctx".to_owned(),
        ] {
            let refused = engine.sh(&command).fails();
            assert!(refused.contains(&format!("docker-credential-{name}")), "{command}: {refused}");
            assert!(refused.contains(said), "{command}: {refused}");
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}
