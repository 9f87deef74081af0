//! Compose, the real one, drives the engine with the user's files.

use std::{fs, path::PathBuf, time::Duration};

use crate::{
    foreign,
    harness::{Engine, Kind, eventually},
    host::Hosted,
    log_drivers::{Peer, documents, listens, tools},
};

/// What `postgres:13` is here: something that takes a moment until it is ready, keeps its data, and ends when told.
const POSTGRES: &str = r#"
mkdir -p img/bin img/tmp
cp /bin/busybox img/bin/
for applet in sh sleep cat ls test touch; do ln -s busybox img/bin/$applet; done
printf '#!/bin/sh\ntest "$1 $2" = "-U postgres" && test -f /tmp/ready\n' >img/bin/pg_isready
cat >img/bin/serve <<'END'
#!/bin/sh
test -n "$POSTGRES_PASSWORD" || exit 1
trap 'exit 0' TERM
echo boot >>/var/lib/postgresql/data/boots
sleep 1
touch /tmp/ready
while :; do sleep 0.1; done
END
chmod +x img/bin/serve img/bin/pg_isready
tar -C img -c . | docker import -c 'CMD ["/bin/serve"]' - postgres:13
"#;

/// The binary, which `tests/run` fetches.
fn compose() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/docker-compose");
    assert!(path.is_file(), "{} is missing: tests/run fetches it", path.display());
    path.canonicalize().unwrap()
}

#[test]
fn a_database_on_a_plugins_volume() {
    let engine = Engine::pintle();
    std::os::unix::fs::symlink(compose(), engine.dir.join("home/bin/docker-compose")).unwrap();
    foreign::install(&engine, "rexray/ebs");
    engine.sh(POSTGRES).ok();
    let project = engine.dir.join("shop");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("docker-compose.yml"), include_str!("seed/compose-volume.yml")).unwrap();
    let compose = |words: &str| engine.sh_in(&project, &format!("docker-compose {words}")).ok();
    let boots =
        || engine.sh("docker exec shop-db-1 cat /var/lib/postgresql/data/boots").stdout.lines().count();

    compose("up -d --wait");
    assert!(compose("ps").contains("healthy"));
    assert_eq!(boots(), 1);
    let volume =
        engine.sh("docker volume inspect -f '{{.Driver}} {{json .Options}}' shop_postgres_data").ok();
    assert_eq!(
        volume,
        "rexray/ebs:latest {\"availability\":\"us-east-1a\",\"encrypted\":\"true\",\"iops\":\"3000\",\
         \"size\":\"20\",\"volumetype\":\"gp2\"}"
    );
    let policy = engine.sh("docker inspect -f '{{json .HostConfig.RestartPolicy}}' shop-db-1").ok();
    assert_eq!(policy, r#"{"Name":"on-failure","MaximumRetryCount":3}"#);

    compose("stop");
    assert!(compose("ps -a").contains("Exited (0)"));
    compose("start");
    compose("restart");
    eventually("the third boot", Duration::from_secs(20), || boots() == 3);
    // The data outlives its containers, and `-v` ends it.
    compose("down");
    assert_eq!(engine.sh("docker ps -aq; docker network ls -q --filter name=shop").ok(), "");
    compose("up -d --wait");
    assert_eq!(boots(), 4);
    compose("down -v");
    assert_eq!(engine.sh("docker volume ls -q").ok(), "");
    engine.sh("docker plugin rm -f rexray/ebs").ok();
}

/// What `nginx:latest` is here: it answers nobody, and says what it would.
const NGINX: &str = r#"
mkdir -p img/bin
cp /bin/busybox img/bin/
for applet in sh sleep echo; do ln -s busybox img/bin/$applet; done
tar -C img -c . | docker import -c 'CMD ["sh", "-c", "i=0; while [ $i -lt 50 ]; do echo GET /$i; i=$((i+1)); done; sleep 600"]' - nginx:latest
"#;

#[test]
fn the_guides_logging_block_every_line_of_it() {
    // On a host of its own, since the block names a port.
    let engine = Hosted::start(Kind::Pintle, &[]);
    std::os::unix::fs::symlink(compose(), engine.dir.join("home/bin/docker-compose")).unwrap();
    engine.sh(NGINX).ok();
    let project = engine.dir.join("shop");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("docker-compose.yml"), include_str!("seed/compose-logging.yml")).unwrap();
    // With `fluentd-async` it starts though nobody listens.
    engine.sh_in(&project, "docker-compose up -d").ok();
    let out = engine.dir.join("entries");
    let script = format!(
        "const fs = require('fs'); const {{FluentServer}} = require('@fluent-org/logger');
         const s = new FluentServer({{listenOptions: {{port: 24224, host: '127.0.0.1'}}}});
         s.on('entry', (tag, time, record) => fs.appendFileSync({out:?}, JSON.stringify({{tag, record}}) + '\\n'));
         s.listen();",
        out = out.display().to_string(),
    );
    let peer = engine.host.run(|| {
        std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        let mut node = std::process::Command::new("node");
        node.args(["-e", &script]).env("NODE_PATH", tools().join("node/node_modules"));
        Peer::start(&mut node, &engine.dir.join("peer.log"), || listens(24224))
    });
    let lines = || -> Vec<String> {
        documents(&out)
            .iter()
            .filter_map(|entry| entry["record"]["log"].as_str().map(str::to_owned))
            .collect()
    };
    let wanted: Vec<String> = (0..50).map(|number| format!("GET /{number}")).collect();
    eventually("every line", Duration::from_secs(60), || lines() == wanted);
    let entry = documents(&out).remove(0);
    assert_eq!(entry["tag"], "nginx.shop-web-1");
    assert_eq!(
        (&entry["record"]["ENVIRONMENT"], &entry["record"]["container_name"]),
        (&"production".into(), &"/shop-web-1".into())
    );
    let log = engine.sh("docker inspect -f '{{json .HostConfig.LogConfig}}' shop-web-1").ok();
    for option in [
        "fluentd-async",
        "fluentd-retry-wait",
        "fluentd-max-retries",
        "fluentd-buffer-limit",
        "labels",
        "compress",
    ] {
        assert!(log.contains(option), "{log}");
    }
    engine.sh_in(&project, "docker-compose down -t 0").ok();
    drop(peer);
}
