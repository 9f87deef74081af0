//! Compose, the real one, drives the engine with the user's files.

use std::{fs, path::PathBuf, time::Duration};

use crate::{
    foreign,
    harness::{Engine, eventually},
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
