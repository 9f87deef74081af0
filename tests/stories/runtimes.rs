//! Any OCI runtime under the stock client: one matrix, and what is particular to some.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    harness::{Client, Engine, Kind, eventually},
    package,
};

/// An engine that knows the given runtimes, and its configuration's place.
struct House {
    engine: Engine,
    dir: tempfile::TempDir,
}

impl House {
    /// `settings` makes what is added to daemon.json, given a directory for scripts.
    fn new(settings: impl FnOnce(&Path) -> Value) -> Self {
        let dir = tempfile::Builder::new().prefix("pintle-runtimes-").tempdir_in("/tmp").unwrap();
        let file = dir.path().join("daemon.json");
        fs::write(&file, settings(dir.path()).to_string()).unwrap();
        let engine = Engine::start(Kind::Pintle, Client::Docker, &["--config-file", file.to_str().unwrap()]);
        engine.busybox("alpine");
        Self { engine, dir }
    }

    fn sh(&self, script: &str) -> crate::harness::Ran {
        self.engine.sh(script)
    }
}

fn script(path: &Path, text: &str) -> PathBuf {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_owned()
}

/// A real program; the packages that `tests/run` installs have it.
fn program(name: &str) -> PathBuf {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/root/.cargo/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is needed: tests/run installs it"))
}

/// The matrix: what every user of a runtime does. `quirks` are what this one is known not to do.
fn matrix(house: &mut House, name: &str, quirks: &[&str]) {
    let can = |what: &str| !quirks.contains(&what);
    let on = format!("--runtime {name}");
    // run: streams, codes, and a command that is not there.
    assert_eq!(house.sh(&format!("docker run --rm {on} alpine echo hello")).ok(), "hello");
    assert_eq!(house.sh(&format!("echo through | docker run -i --rm {on} alpine cat")).ok(), "through");
    let failed = house.sh(&format!("docker run --rm {on} alpine sh -c 'echo oops >&2; exit 42'"));
    assert_eq!((failed.code, failed.stderr.trim()), (42, "oops"));
    let missing = house.sh(&format!("docker run --rm {on} alpine nosuchcmd"));
    assert_eq!(missing.code, 127, "{missing:?}");
    assert!(missing.stderr.contains("nosuchcmd"), "{missing:?}");
    assert_eq!(house.sh("docker ps -aq").ok(), "");
    let tty = house
        .sh(&format!(
            "script -qec 'docker run --rm -t {on} alpine sh -c \"test -t 1 && echo a terminal\"' /dev/null"
        ))
        .ok();
    assert!(tty.contains("a terminal"), "{tty}");

    // One that lives, with limits and a plugin's volume.
    package::install(&house.engine, "dirs");
    house.sh("docker volume create -d dirs vol").ok();
    house
        .sh(&format!(
            "docker run -d --name box {on} -m 128m --pids-limit 400 --cpus 0.5 -v vol:/d alpine \
             sh -c 'trap \"exit 3\" TERM; echo up; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.2; done'"
        ))
        .ok();
    assert_eq!(house.sh("docker inspect -f '{{.HostConfig.Runtime}}' box").ok(), name);
    eventually("its first line", Duration::from_secs(20), || {
        house.sh("docker logs box").stdout.contains("line 1")
    });
    house.sh("docker exec box sh -c 'echo kept > /d/f'").ok();
    assert_eq!(house.sh("docker exec box cat /d/f").ok(), "kept");
    assert_eq!(house.sh("echo piped | docker exec -i box cat").ok(), "piped");
    assert_eq!(house.sh("docker exec box sh -c 'exit 9'").code, 9);
    assert_eq!(house.sh("docker exec -u user box id -u").ok(), "1000");
    let missing = house.sh("docker exec box nosuch");
    assert!([126, 127, 128].contains(&missing.code), "{missing:?}");
    if can("exec terminal size") {
        let size = house.sh(
            "script -qec 'stty rows 33 cols 44; docker exec -it box sh -c \"sleep 1; stty size\"' /dev/null",
        );
        assert!(size.stdout.contains("33 44"), "{size:?}");
    }

    // stats and limits, as the host has them.
    let stats = house.sh("docker stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' box").ok();
    assert!(stats.contains("/ 128MiB") && !stats.starts_with("0B") && !stats.ends_with(" 0"), "{stats}");
    let id = house.sh("docker inspect -f '{{.Id}}' box").ok();
    let limits: Vec<String> = limits_of(&id);
    assert_eq!(limits, ["134217728", "400", "50000"]);
    house.sh("docker update --pids-limit 500 box").ok();
    assert_eq!(limits_of(&id)[1], "500");
    assert!(!house.sh("docker top box").ok().is_empty());

    // attach, pause.
    let attached = house.sh("timeout -s KILL 3 docker attach --no-stdin --sig-proxy=false box").stdout;
    assert!(attached.contains("line "), "{attached}");
    house.sh("docker pause box").ok();
    assert_eq!(house.sh("docker inspect -f '{{.State.Status}}' box").ok(), "paused");
    house.sh("docker unpause box").ok();

    // The engine dies and comes again; nothing of it is lost.
    house.engine.kill();
    std::thread::sleep(Duration::from_millis(700));
    house.engine.boot(&[]);
    assert_eq!(house.sh("docker inspect -f '{{.State.Status}}' box").ok(), "running");
    assert_eq!(house.sh("docker exec box cat /d/f").ok(), "kept");
    house.sh("docker stop -t 20 box").ok();
    let code = house.sh("docker inspect -f '{{.State.ExitCode}}' box").ok();
    assert_eq!(code, if can("trap") { "3" } else { "137" });
    let logged = house.sh("docker logs box").ok();
    let numbers: Vec<u32> =
        logged.lines().filter_map(|line| line.strip_prefix("line ")?.trim().parse().ok()).collect();
    assert!(numbers.len() > 5);
    assert_eq!(
        numbers,
        (1..=numbers.last().copied().unwrap()).collect::<Vec<_>>(),
        "no line is lost or doubled"
    );

    // Again, and away by force.
    house.sh("docker start box").ok();
    house.sh("docker restart -t 1 box").ok();
    house.sh("docker kill box").ok();
    assert_eq!(house.sh("docker wait box").ok(), "137");
    house
        .sh("docker start box && docker rm -f box && docker volume rm vol && docker plugin disable dirs")
        .ok();
    house.sh("docker plugin rm dirs && docker rmi alpine").ok();
    assert_eq!(house.engine.leftovers(), Vec::<String>::new());
    assert_eq!(control_groups(&id), Vec::<PathBuf>::new());
    house.engine.busybox("alpine");

    // And the engine's own word on it.
    let checked = house.sh(&format!("pintle runtime check {name}"));
    assert_eq!(checked.code, 0, "{checked:?}");
}

/// Directories of a container's control groups, wherever they are.
fn control_groups(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((dir, depth)) = pending.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name() == id {
                found.push(entry.path());
            } else if depth < 2 {
                pending.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

/// Memory, processes and CPU quota of a container, from either version of control groups.
fn limits_of(id: &str) -> Vec<String> {
    let groups = control_groups(id);
    let read = |names: &[&str]| {
        let files = groups.iter().flat_map(|dir| names.iter().map(|name| dir.join(name)));
        let text = files.filter_map(|file| fs::read_to_string(file).ok()).next().unwrap_or_default();
        text.split_whitespace().next().unwrap_or_default().to_owned()
    };
    vec![
        read(&["memory.limit_in_bytes", "memory.max"]),
        read(&["pids.max"]),
        read(&["cpu.cfs_quota_us", "cpu.max"]),
    ]
}

/// Debian's crun refuses a machine that has both versions of control groups: the second is hidden from it.
fn crun(dir: &Path) -> PathBuf {
    let crun = program("crun");
    if !Path::new("/sys/fs/cgroup/unified").exists() {
        return crun;
    }
    let text = format!(
        "exec unshare -m --propagation slave sh -c 'umount -l /sys/fs/cgroup/unified; exec {} \"$@\"' crun \"$@\"",
        crun.display()
    );
    script(&dir.join("crun"), &text)
}

#[test]
fn the_matrix_on_the_embedded_runtime() {
    matrix(&mut House::new(|_| json!({})), "pintle", &[]);
}

#[test]
fn the_matrix_on_runc() {
    let mut house = House::new(|_| json!({"runtimes": {"plain": {"path": program("runc")}}}));
    matrix(&mut house, "plain", &[]);
}

#[test]
fn the_matrix_on_crun() {
    let mut house = House::new(|dir| json!({"runtimes": {"crun": {"path": crun(dir)}}}));
    matrix(&mut house, "crun", &[]);
}

#[test]
fn the_matrix_on_gvisor() {
    // This machine cannot give it a virtual machine, and its network stack needs more of the namespace than is there.
    let mut house = House::new(|_| {
        json!({"runtimes": {"gvisor": {"path": program("runsc"),
            "runtimeArgs": ["--platform=ptrace", "--network=none"]}}})
    });
    matrix(&mut house, "gvisor", &[]);
}

#[test]
fn the_matrix_on_pintles_own_command_line() {
    let mut house = House::new(
        |_| json!({"runtimes": {"oci": {"path": crate::harness::PINTLE, "runtimeArgs": ["oci"]}}}),
    );
    matrix(&mut house, "oci", &[]);
}

#[test]
fn dockerd_runs_containers_on_pintle() {
    let dir = tempfile::Builder::new().prefix("pintle-runtimes-").tempdir_in("/tmp").unwrap();
    let file = dir.path().join("daemon.json");
    let settings = json!({"runtimes": {"pintle": {"path": crate::harness::PINTLE, "runtimeArgs": ["oci"]}}});
    fs::write(&file, settings.to_string()).unwrap();
    let engine = Engine::start(Kind::Dockerd, Client::Docker, &["--config-file", file.to_str().unwrap()]);
    engine.busybox("alpine");
    let on = "--network none --runtime pintle";
    assert_eq!(engine.sh(&format!("echo through | docker run -i --rm {on} alpine cat")).ok(), "through");
    assert_eq!(engine.sh(&format!("docker run --rm {on} alpine sh -c 'exit 42'")).code, 42);
    let missing = engine.sh(&format!("docker run --rm {on} alpine nosuch"));
    assert!(missing.code == 127 && missing.stderr.contains("executable file not found"), "{missing:?}");
    let tty =
        format!("script -qec 'docker run --rm -t {on} alpine sh -c \"test -t 1 && stty size\"' /dev/null");
    assert!(!engine.sh(&tty).ok().is_empty());
    // Docker's filter of system calls holds, for those that join too.
    engine.sh(&format!("docker run -d --name box -m 64m {on} alpine sleep 1000")).ok();
    let mode = "grep -E 'Seccomp:|CapBnd' /proc/self/status";
    let confined = engine.sh(&format!("docker exec box {mode}")).ok();
    assert!(confined.contains("Seccomp:\t2") && confined.contains("00000000a80425fb"), "{confined}");
    assert_eq!(engine.sh(&format!("docker run --rm {on} alpine {mode}")).ok(), confined);
    assert_eq!(engine.sh("docker exec -u user -e A=b box sh -c 'id -u; echo $A'").ok(), "1000\nb");
    assert_eq!(engine.sh("docker exec box sh -c 'exit 9'").code, 9);
    assert!(engine.sh("docker stats --no-stream --format '{{.MemUsage}}' box").ok().ends_with("/ 64MiB"));
    engine.sh("docker pause box && docker unpause box && docker update --pids-limit 50 box").ok();
    assert!(engine.sh("docker top box").ok().contains("sleep"));
    engine.sh("docker stop -t 1 box").ok();
    assert_eq!(engine.sh("docker inspect -f '{{.State.ExitCode}}' box").ok(), "137");
    engine.sh("docker start box && docker rm -f box").ok();
}

#[test]
#[ignore = "youki takes minutes to build: tests/peers/youki installs it and runs this"]
fn the_matrix_on_youki() {
    let mut house = House::new(|_| json!({"runtimes": {"youki": {"path": program("youki")}}}));
    matrix(&mut house, "youki", &[]);
}

#[test]
fn any_binary_with_runcs_command_line_is_a_runtime() {
    let house = House::new(|dir| {
        // What NVIDIA's is: a program that changes the specification and calls runc.
        let calls = dir.join("calls");
        let text = format!("echo \"$@\" >>{}\nexec {} \"$@\"", calls.display(), program("runc").display());
        let nvidia = script(&dir.join("nvidia-container-runtime"), &text);
        json!({"default-runtime": "nvidia",
            "runtimes": {"nvidia": {"path": nvidia, "runtimeArgs": ["--debug"]}}})
    });
    assert_eq!(house.sh("docker info -f '{{.DefaultRuntime}}'").ok(), "nvidia");
    // Asked in the background, as the engine comes up.
    eventually("its features", Duration::from_secs(20), || {
        let info = house.engine.http("GET", "/info", None).1;
        let features = &info["Runtimes"]["nvidia"]["status"]["org.opencontainers.runtime-spec.features"];
        features.as_str().is_some_and(|text| text.contains("ociVersionMax"))
    });
    let id = house.sh("docker run -d --name box alpine sleep 1000").ok();
    assert_eq!(house.sh("docker inspect -f '{{.HostConfig.Runtime}}' box").ok(), "nvidia");
    house.sh("docker exec box true && docker pause box && docker unpause box && docker rm -f box").ok();
    let calls = fs::read_to_string(house.dir.path().join("calls")).unwrap();
    assert_eq!(calls.lines().next(), Some("--debug features"), "{calls}");
    for verb in ["create --bundle ", "start ", "exec --detach ", "pause ", "resume ", "delete --force "] {
        let line = calls.lines().find(|line| line.contains(&format!(" --log-format json {verb}")));
        let line = line.unwrap_or_else(|| panic!("no {verb} in\n{calls}"));
        assert!(line.starts_with("--debug --root ") && line.contains(&id), "{line}");
    }
    assert_eq!(calls.matches("--debug features").count(), 1, "each binary is asked once\n{calls}");
}

#[test]
fn what_is_wrong_with_a_runtime_is_said_in_dockers_words() {
    let house = House::new(|dir| {
        let broken = script(&dir.join("broken"), "echo 'no driver was found' >&2; exit 4");
        json!({"runtimes": {"broken": {"path": broken}, "gone": {"path": "/opt/gone/runtime"}}})
    });
    let unknown = house.sh("docker run --runtime nosuch alpine true").fails();
    assert!(unknown.contains("unknown or invalid runtime name: nosuch"), "{unknown}");
    let broken = house.sh("docker run --runtime broken alpine true");
    assert_eq!(broken.code, 128 - 3, "{broken:?}");
    assert!(
        broken.stderr.contains("OCI runtime create failed: ")
            && broken.stderr.contains("no driver was found: unknown"),
        "{broken:?}"
    );
    let gone = house.sh("docker run --rm --runtime gone alpine true");
    assert!(gone.stderr.contains("/opt/gone/runtime: no such file or directory"), "{gone:?}");
    let listed = house.sh("pintle runtime ls").ok();
    assert!(listed.contains("pintle *") && listed.contains("no such file or directory"), "{listed}");
    assert_eq!(house.sh("pintle runtime ls -q").ok(), "pintle\nbroken\ngone");
    assert_eq!(
        house.sh("pintle runtime inspect -f '{{.Path}} {{.Available}}' gone").ok(),
        "/opt/gone/runtime false"
    );
    assert!(house.sh("pintle runtime inspect nosuch").fails().contains("nosuch"));
    let checked = house.sh("pintle runtime check broken");
    assert!(checked.code == 1 && checked.stdout.contains("no driver was found"), "{checked:?}");
    house.sh("docker ps -aq | xargs docker rm -f").ok();
    assert_eq!(house.engine.leftovers(), Vec::<String>::new());
}

#[test]
fn managed_plugins_run_on_the_default_runtime_or_on_one_of_their_own() {
    let house = House::new(|dir| {
        let wrapper = |name: &str| {
            let calls = dir.join(format!("{name}.calls"));
            let text =
                format!("echo \"$@\" >>{}\nexec {} \"$@\"", calls.display(), program("runc").display());
            script(&dir.join(name), &text)
        };
        json!({"default-runtime": "first",
            "runtimes": {"first": {"path": wrapper("first")}, "second": {"path": wrapper("second")}},
            "plugins": {"runtimes": {"other": "second"}}})
    });
    package::install(&house.engine, "dirs");
    package::install(&house.engine, "other");
    for plugin in ["dirs", "other"] {
        house.sh(&format!("docker volume create -d {plugin} v-{plugin}")).ok();
        let seen =
            house.sh(&format!("docker run --rm -v v-{plugin}:/d alpine sh -c 'echo x >/d/f; cat /d/f'"));
        assert_eq!(seen.ok(), "x");
    }
    for (plugin, runtime) in [("dirs", "first"), ("other", "second")] {
        let id = house.sh(&format!("docker plugin inspect -f '{{{{.Id}}}}' {plugin}")).ok();
        let calls = fs::read_to_string(house.dir.path().join(format!("{runtime}.calls"))).unwrap();
        assert!(calls.lines().any(|line| line.contains("create --bundle") && line.contains(&id)), "{calls}");
    }
}

#[test]
fn devices_that_files_describe() {
    let house = House::new(|dir| {
        let cdi = dir.join("cdi");
        fs::create_dir(&cdi).unwrap();
        let hook = script(&dir.join("hook"), &format!("cat >{}", dir.join("seen").display()));
        fs::write(dir.join("library"), "from the host").unwrap();
        // Vendors write YAML.
        let text = format!(
            "cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ncontainerEdits:\n  env: [DRIVER=570]\n  mounts:\n  - hostPath: {lib}\n    \
             containerPath: /usr/lib/libcuda.so\n    options: [ro]\ndevices:\n- name: \"0\"\n  containerEdits:\n    \
             deviceNodes:\n    - path: /dev/nvidia0\n      hostPath: /dev/zero\n      permissions: r\n    hooks:\n    \
             - hookName: createRuntime\n      path: {hook}\n- name: all\n  containerEdits:\n    env: [ALL=yes]\n",
            lib = dir.join("library").display(),
            hook = hook.display()
        );
        fs::write(cdi.join("nvidia.yaml"), text).unwrap();
        json!({"cdi-spec-dirs": [cdi], "runtimes": {"plain": {"path": program("runc")}}})
    });
    let info = house.engine.http("GET", "/info", None).1;
    assert_eq!(info["DiscoveredDevices"][0], json!({"Source": "cdi", "ID": "nvidia.com/gpu=0"}));
    let look = "sh -c 'echo $DRIVER $ALL; cat /usr/lib/libcuda.so; head -c 3 /dev/nvidia0 | wc -c'";
    for runtime in ["pintle", "plain"] {
        let _ = fs::remove_file(house.dir.path().join("seen"));
        let one = house.sh(&format!("docker run --rm --runtime {runtime} --gpus 1 alpine {look}")).ok();
        assert_eq!(one.split_whitespace().collect::<Vec<_>>(), ["570", "from", "the", "host3"], "{runtime}");
        let seen = fs::read_to_string(house.dir.path().join("seen")).unwrap();
        let state: Value = serde_json::from_str(&seen).unwrap();
        assert!(state["pid"].as_i64().is_some_and(|pid| pid > 0), "{state}");
        let all = house.sh(&format!(
            "docker run --rm --runtime {runtime} --gpus all alpine sh -c 'echo $ALL; ls /dev/nvidia0'"
        ));
        assert!(all.stdout.starts_with("yes") && all.code != 0, "{all:?}");
    }
    let named = house.sh(&format!("pintle run --rm --device nvidia.com/gpu=0 alpine {look}")).ok();
    assert!(named.ends_with('3'), "{named}");
    let unknown = house.sh("pintle run --rm --device nvidia.com/gpu=9 alpine true").fails();
    assert!(
        unknown.contains("CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=9"),
        "{unknown}"
    );
    let many = house.sh("docker run --rm --gpus 4 alpine true").fails();
    assert!(many.contains("could not select device driver \"\" with capabilities: [[gpu]]"), "{many}");
    assert_eq!(house.engine.leftovers(), Vec::<String>::new());
}
