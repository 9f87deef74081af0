//! Images made here: committed, and built from Dockerfiles by the stock client's classic builder.

use std::{fs, time::Duration};

use crate::{
    harness::{Engine, eventually},
    operator::Host,
    package::built,
};

/// An engine with a base image, and a folder to build in.
fn ready() -> Engine {
    let engine = Engine::pintle();
    engine.busybox("base");
    fs::create_dir(engine.dir.join("ctx")).unwrap();
    engine
}

/// Builds a Dockerfile in the folder `ctx`, and says what the client said.
fn build(engine: &Engine, dockerfile: &str, options: &str) -> crate::harness::Ran {
    fs::write(engine.dir.join("ctx/Dockerfile"), dockerfile).unwrap();
    engine.sh(&format!("DOCKER_BUILDKIT=0 docker build {options} ctx"))
}

#[test]
fn a_commit_is_what_the_container_was() {
    let engine = ready();
    engine.sh("docker run --name box -e A=b -w /tmp base sh -c 'echo hi > /new; rm /bin/vi; mkdir /tmp/d; chmod 750 /root'").ok();
    let id = engine
        .sh("docker commit -a me -m words -c 'CMD [\"cat\", \"/new\"]' -c 'LABEL k=v' -c 'ENV C=$A' box made:1")
        .ok();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(engine.sh("docker run --rm made:1").ok(), "hi");
    let told = engine.sh("docker inspect -f '{{.Author}} {{.Comment}} {{.Config.Labels.k}} {{json .Config.Env}} {{.Config.WorkingDir}} {{.Parent}}' made:1").ok();
    let parent = engine.sh("docker inspect -f '{{.Id}}' base").ok();
    assert_eq!(told, format!("me words v [\"A=b\",\"C=b\"] /tmp {parent}"));
    assert_eq!(
        engine.sh("docker run --rm made:1 sh -c 'ls /bin/vi 2>&1; ls -d /tmp/d; stat -c %a /root; ls -a / | grep -c dockerenv'").ok(),
        "ls: /bin/vi: No such file or directory\n/tmp/d\n750\n1"
    );
    // What the engine itself put there is not part of it.
    let names = engine.sh("docker save made:1 | tar -x -O --wildcards '*/layer.tar' 2>/dev/null | tar -t 2>/dev/null; docker save -o s.tar made:1; mkdir s; tar -xf s.tar -C s; for f in $(find s -type f); do tar -tf $f 2>/dev/null; done; true").ok();
    assert!(names.contains("new") && names.contains("bin/.wh.vi"), "{names}");
    assert!(!names.contains(".dockerenv") && !names.contains("etc/resolv.conf"), "{names}");
    let rows = engine.sh("docker history --no-trunc --format '{{.CreatedBy}}|{{.Comment}}' made:1").ok();
    assert!(rows.starts_with("sh -c echo hi") && rows.lines().next().unwrap().ends_with("|words"), "{rows}");

    // A container that changed nothing adds no layer; a running one is frozen meanwhile and goes on.
    engine.sh("docker create --name still base true && docker commit still still").ok();
    let layers = "docker image inspect -f '{{len .RootFS.Layers}}'";
    assert_eq!(engine.sh(&format!("{layers} base still")).ok(), "1\n1");
    engine.sh("docker run -d --name runs base sleep 1000").ok();
    engine.sh("docker events --since 0 --filter type=container > events & echo $! > pid; docker commit runs fast; docker commit --pause=false runs faster; sleep 1; kill $(cat pid)").ok();
    let events = fs::read_to_string(engine.dir.join("events")).unwrap();
    assert_eq!(events.matches("container pause").count(), 1, "{events}");
    assert_eq!(events.matches("container commit").count(), 4, "{events}");
    assert_eq!(engine.sh("docker inspect -f '{{.State.Status}}' runs").ok(), "running");
    for (command, said) in [
        ("docker commit nobody", "No such container: nobody"),
        ("docker commit -c 'RUN x' box", "run is not a valid change command"),
        ("docker commit box UPPER", "invalid reference format"),
    ] {
        let refused = engine.sh(command).fails();
        assert!(refused.contains(said), "{command}: {refused}");
    }
}

#[test]
fn a_commit_that_is_cut_short_leaves_its_container_running() {
    let mut engine = ready();
    engine.sh("docker run -d --name box base sleep 1000 && docker run -d --name cold base sleep 1000 && docker pause cold").ok();
    engine.kill();
    engine.boot(&[("PINTLE_FAILPOINT", "engine.commit.frozen")]);
    engine.sh("docker commit box made").fails();
    eventually("the engine to die", Duration::from_secs(30), || !engine.alive());
    engine.kill();
    engine.boot(&[]);
    // What the engine froze it thaws; what the user froze it does not.
    assert_eq!(engine.sh("docker inspect -f '{{.State.Status}}' box cold").ok(), "running\npaused");
    engine.sh("docker exec box true && docker commit box made && docker run --rm made true").ok();
    engine.sh("docker rm -f box cold && docker rmi made base").ok();
    assert_eq!(engine.leftovers(), Vec::<String>::new());
}

#[test]
fn every_instruction_does_what_it_says() {
    let engine = ready();
    let context = engine.dir.join("ctx");
    fs::create_dir_all(context.join("dir/sub")).unwrap();
    fs::write(context.join("one.txt"), "1").unwrap();
    fs::write(context.join("two.txt"), "2").unwrap();
    fs::write(context.join("secret.md"), "no").unwrap();
    fs::write(context.join("dir/sub/file"), "deep").unwrap();
    std::os::unix::fs::symlink("sub/file", context.join("dir/link")).unwrap();
    engine.sh("cd ctx && tar -czf packed.tgz dir && printf '*.md\\nDockerfile\\n' > .dockerignore").ok();
    let dockerfile = r#"# escape=\
ARG BASE=base
FROM $BASE AS first
ARG WHAT=default
ENV A=1 B="two words"
ENV C=${A}-${NONE:-none}
RUN echo "$WHAT $C" > /what && echo said && echo failed >&2
WORKDIR /work/dir
WORKDIR sub
COPY *.txt ./
COPY --chown=user:user one.txt /owned
COPY dir /copied/
COPY ["two.txt", "/renamed"]
ADD packed.tgz /unpacked
COPY packed.tgz /packed.tgz
COPY . /all
RUN chmod 1777 /tmp
USER user
RUN id -u > /tmp/id
USER root
VOLUME /data
EXPOSE 80 81/udp
LABEL one="1" two=2
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5m --retries=2 CMD true
SHELL ["/bin/sh", "-ec"]
RUN false || echo shell > /shell
ONBUILD RUN echo triggered > /triggered
MAINTAINER somebody
ENTRYPOINT ["echo"]
CMD ["the", "end"]
FROM scratch
COPY --from=first /what /
COPY --from=0 /copied/link /linked
COPY --from=base /bin/busybox /bin/
ENTRYPOINT ["/bin/busybox", "cat", "/what", "/linked"]
"#;
    let first = build(
        &engine,
        dockerfile,
        "--target first --build-arg WHAT=given --label from=cli -t first:1 -t first:2",
    )
    .ok();
    for said in [
        "Step 2/",
        " ---> Running in ",
        "said",
        "Removing intermediate container",
        "Successfully tagged first:2",
    ] {
        assert!(first.contains(said), "no {said:?} in {first}");
    }
    let run =
        |script: &str| engine.sh(&format!("docker run --rm --entrypoint sh first:1 -c '{script}'")).ok();
    assert_eq!(run("cat /what; pwd; cat one.txt two.txt"), "given 1-none\n/work/dir/sub\n12");
    assert_eq!(run("stat -c %u:%g /owned /renamed /copied/sub"), "1000:1000\n0:0\n0:0");
    assert_eq!(
        run("cat /copied/link /unpacked/dir/sub/file /shell; readlink /copied/link"),
        "deepdeepshell\nsub/file"
    );
    assert_eq!(
        run("ls -a /all; cat /tmp/id"),
        ".\n..\n.dockerignore\ndir\none.txt\npacked.tgz\ntwo.txt\n1000"
    );
    let config = engine.sh("docker inspect -f '{{json .Config}}|{{.Author}}' first:1").ok();
    for said in [
        r#""A=1","B=two words","C=1-none""#,
        r#""Cmd":["the","end"]"#,
        r#""80/tcp":{}"#,
        r#""81/udp":{}"#,
        r#""/data":{}"#,
        r#""from":"cli""#,
        r#""two":"2""#,
        r#""StopSignal":"SIGINT""#,
        r#""Interval":300000000000"#,
        r#""OnBuild":["RUN echo triggered > /triggered"]"#,
        r#""Shell":["/bin/sh","-ec"]"#,
        "|somebody",
    ] {
        assert!(config.contains(said), "no {said} in {config}");
    }
    // The second stage; the first is not done again.
    let second = build(&engine, dockerfile, "--build-arg WHAT=given -t second").ok();
    assert!(second.matches("Using cache").count() >= 24, "{second}");
    assert_eq!(engine.sh("docker run --rm second").ok(), "given 1-none\ndeep");
    assert_eq!(engine.sh("docker inspect -f '{{len .RootFS.Layers}}' second").ok(), "3");
    build(&engine, "FROM first:1\nRUN cat /triggered", "-t third").ok();
    assert_eq!(engine.sh("docker run --rm third").ok(), "the end");
    let history = engine.sh("docker history --no-trunc --format '{{.CreatedBy}}' second").ok();
    assert!(history.starts_with("/bin/sh -c #(nop)  ENTRYPOINT [\"/bin/busybox\" \"cat\""), "{history}");
    // Steps on the way are no images of their own, and go with the last name.
    assert!(!engine.sh("docker images").ok().contains("<none>"));
    assert!(engine.sh("docker images -a").ok().contains("<none>"));
    assert_eq!(engine.sh("docker ps -aq").ok(), "");
    engine.sh("docker rmi first:1 first:2 second third base && docker image prune -af").ok();
    assert_eq!(engine.sh("docker images -aq").ok(), "");
    assert_eq!(engine.leftovers(), Vec::<String>::new());
}

#[test]
fn the_cache_knows_what_changed() {
    let engine = ready();
    let context = engine.dir.join("ctx");
    fs::write(context.join("file"), "1").unwrap();
    let dockerfile = "FROM base\nARG V\nRUN echo $V > /v\nCOPY file /\nRUN cat /file";
    let hits = |ran: crate::harness::Ran| ran.ok().matches("Using cache").count();
    assert_eq!(hits(build(&engine, dockerfile, "--build-arg V=1")), 0);
    assert_eq!(hits(build(&engine, dockerfile, "--build-arg V=1")), 4);
    // Neither times nor the order of reading count; content and mode do.
    engine.sh("touch -d 2001-01-01 ctx/file").ok();
    assert_eq!(hits(build(&engine, dockerfile, "--build-arg V=1")), 4);
    assert_eq!(hits(build(&engine, dockerfile, "--build-arg V=2")), 1);
    fs::write(context.join("file"), "2").unwrap();
    assert_eq!(hits(build(&engine, dockerfile, "--build-arg V=1")), 2);
    engine.sh("chmod 600 ctx/file").ok();
    assert_eq!(hits(build(&engine, dockerfile, "--build-arg V=1")), 2);
    assert_eq!(hits(build(&engine, dockerfile, "--build-arg V=1 --no-cache")), 0);
    // A proxy that is only passed through makes no step another one.
    assert_eq!(hits(build(&engine, dockerfile, "--build-arg V=1 --build-arg http_proxy=x")), 4);
    // Quiet: the id and nothing else.
    let id = build(&engine, dockerfile, "-q --build-arg V=1").ok();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
}

#[test]
fn a_cache_comes_from_elsewhere() {
    let one = ready();
    let other = Engine::pintle();
    let dockerfile =
        "FROM base\nENV A=1\nRUN date +%N > /when\nCOPY file /\nWORKDIR /w\nRUN date +%N > /then";
    let longer = format!("{dockerfile}\nRUN echo more\nLABEL more=1");
    let hits = |ran: crate::harness::Ran| ran.ok().matches("Using cache").count();
    for engine in [&one, &other] {
        fs::create_dir_all(engine.dir.join("ctx")).unwrap();
        fs::write(engine.dir.join("ctx/file"), "1").unwrap();
    }
    build(&one, dockerfile, "-t made:1").ok();
    one.sh("docker save -o made.tar base made:1").ok();
    other.sh(&format!("docker load -i {}", one.dir.join("made.tar").display())).ok();
    let id = other.sh("docker images -q --no-trunc made:1").ok();
    // Whoever has an image of it need not do it again, and gets the very same.
    assert_eq!(hits(build(&other, dockerfile, "--cache-from nothing:1 --cache-from made:1 -t again")), 5);
    assert_eq!(other.sh("docker images -q --no-trunc again").ok(), id);
    assert_eq!(hits(build(&other, &longer, "--cache-from made:1 -t longer")), 5);
    assert_eq!(
        other.sh("docker run --rm longer cat /when /then").ok(),
        one.sh("docker run --rm made:1 cat /when /then").ok()
    );
    // From the step on that differs, it is done.
    fs::write(other.dir.join("ctx/file"), "2").unwrap();
    assert_eq!(hits(build(&other, dockerfile, "--cache-from made:1 -t changed")), 2);
    assert_eq!(
        other.sh("docker run --rm changed cat /file /when").ok(),
        format!("2{}", other.sh("docker run --rm made:1 cat /when").ok())
    );
    // What was done here is no cache then, unless it is what the image stands on.
    assert_eq!(hits(build(&other, dockerfile, "")), 5);
    assert_eq!(hits(build(&other, dockerfile, "--cache-from base")), 0);
    assert_eq!(hits(build(&other, dockerfile, "--cache-from changed")), 5);
    assert_eq!(hits(build(&other, dockerfile, "--cache-from changed --no-cache")), 0);
    // Every stage may come from another image.
    let stages = "FROM base AS a\nRUN echo a > /a\nFROM base\nRUN echo b > /b\nCOPY --from=a /a /";
    build(&one, stages, "--target a -t part:a").ok();
    build(&one, stages, "-t part:b").ok();
    one.sh("docker save -o part.tar part:a part:b").ok();
    other.sh(&format!("docker load -i {}", one.dir.join("part.tar").display())).ok();
    assert_eq!(hits(build(&other, stages, "--cache-from part:b --cache-from part:a")), 3);

    // dockerd's images are a cache too, as far as they tell the same.
    let theirs = Engine::start(crate::harness::Kind::Dockerd, crate::harness::Client::Docker, &[]);
    fs::create_dir_all(theirs.dir.join("ctx")).unwrap();
    theirs.sh(&format!("docker load -i {}", one.dir.join("made.tar").display())).ok();
    let steps = "FROM base\nENV B=2\nRUN date +%N > /theirs\nEXPOSE 80\nRUN date +%N > /too";
    build(&theirs, steps, "--network none -t theirs:1").ok();
    theirs.sh("docker save -o theirs.tar theirs:1").ok();
    other.sh(&format!("docker load -i {}", theirs.dir.join("theirs.tar").display())).ok();
    assert_eq!(hits(build(&other, steps, "--network none --cache-from theirs:1 -t mine")), 4);
    assert_eq!(
        other.sh("docker run --rm mine cat /theirs /too").ok(),
        other.sh("docker run --rm theirs:1 cat /theirs /too").ok()
    );
}

#[test]
fn what_cannot_be_built_says_why() {
    let engine = ready();
    let failed = build(&engine, "FROM base\nRUN echo before; exit 7", "");
    assert_eq!(failed.code, 7, "{failed:?}");
    assert!(failed.stdout.contains("before"), "{failed:?}");
    assert!(
        failed.stderr.contains("The command '/bin/sh -c echo before; exit 7' returned a non-zero code: 7"),
        "{failed:?}"
    );
    // Docker keeps the container of a step that failed, for a look.
    assert_eq!(engine.sh("docker ps -aq | wc -l").ok(), "1");
    engine.sh("docker rm $(docker ps -aq)").ok();
    build(&engine, "FROM base\nRUN exit 7", "--force-rm").fails();
    for (dockerfile, options, said) in [
        ("FROM base\nFOO x", "", "dockerfile parse error on line 2: unknown instruction: FOO"),
        ("", "", "the Dockerfile (Dockerfile) cannot be empty"),
        (
            "FROM base\nCOPY nothing /",
            "",
            "COPY failed: file not found in build context or excluded by .dockerignore",
        ),
        ("FROM base\nCOPY ../../etc/passwd /", "", "COPY failed: file not found in build context"),
        ("FROM base\nCOPY *.none /", "", "no source files were specified"),
        (
            "FROM base\nCOPY Dockerfile Dockerfile /x",
            "",
            "the destination must be a directory and end with a /",
        ),
        ("FROM base\nCOPY --chown=who Dockerfile /", "", "COPY failed: --chown=who"),
        ("FROM base\nCOPY --from=0 / /", "", "refers to current build stage"),
        ("FROM base", "--target none", "target stage \"none\" could not be found"),
        ("FROM scratch", "", "No image was generated"),
        ("FROM base\nSTOPSIGNAL nonsense", "", "invalid signal: nonsense"),
        ("FROM base\nRUN --mount=type=cache,target=/x true", "", "the --mount option requires BuildKit"),
        ("FROM base\nENV A=${B:?needed}", "", "B: needed"),
        ("FROM base\nADD http://127.0.0.1:1/x /", "", "ADD failed"),
    ] {
        let refused = build(&engine, dockerfile, options).fails();
        assert!(refused.contains(said), "{dockerfile:?}: {refused}");
    }
    // A link in the context leads nowhere but into the context, and a Dockerfile is one of its files.
    engine.sh("ln -s /etc ctx/evil && ln -s ../../../../etc/passwd ctx/climbs").ok();
    for source in ["evil/passwd", "climbs", "evil/.", "/../etc/passwd"] {
        let refused = build(&engine, &format!("FROM base\nCOPY {source} /x"), "").fails();
        assert!(
            refused.contains("file not found in build context") || refused.contains("archive entry"),
            "{refused}"
        );
    }
    engine.sh("rm ctx/evil ctx/climbs").ok();
    // So does one in an image.
    let outside = engine.dir.join("outside");
    fs::create_dir(&outside).unwrap();
    let link = outside.display();
    build(&engine, &format!("FROM base\nRUN ln -s {link} /out && ln -s /../../..{link} /up\nCOPY Dockerfile /out/x/\nCOPY Dockerfile /up/y/"), "").ok();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let unused = build(&engine, "FROM base", "--build-arg NOBODY=x").ok();
    assert!(unused.contains("One or more build-args [NOBODY] were not consumed"), "{unused}");
    let absent = engine.sh("DOCKER_BUILDKIT=0 docker build -f Nope ctx").fails();
    assert!(absent.contains("Nope"), "{absent}");
    assert_eq!(engine.sh("docker ps -aq").ok(), "");
}

#[test]
fn runs_have_the_network_and_limits_that_were_asked_for() {
    let engine = ready();
    let links = build(&engine, "FROM base\nRUN ip -o link | wc -l", "--network none").ok();
    assert!(links.contains("\n1\n"), "{links}");
    let own = "ls -l /proc/self/ns/net | sed 's/.*-> //'";
    let host = engine.sh(own).ok();
    let seen = build(&engine, &format!("FROM base\nRUN {own}"), "--network host").ok();
    assert!(seen.contains(&format!("\n{host}\n")), "{host}: {seen}");
    let hosts = build(
        &engine,
        "FROM base\nRUN grep 10.9.8.7 /etc/hosts && ulimit -n && df /dev/shm | tail -n 1",
        "--add-host other:10.9.8.7 --ulimit nofile=77:88 --shm-size 8m -m 64m",
    )
    .ok();
    assert!(
        hosts.contains("10.9.8.7\tother") && hosts.contains("\n77\n") && hosts.contains(" 8192 "),
        "{hosts}"
    );
}

#[test]
fn a_build_that_is_cut_short_leaves_nothing() {
    let mut engine = ready();
    fs::write(engine.dir.join("ctx/file"), vec![b'x'; 1 << 20]).unwrap();
    let dockerfile = "FROM base\nCOPY file /\nVOLUME /v\nRUN echo started && sleep 1000";
    fs::write(engine.dir.join("ctx/Dockerfile"), dockerfile).unwrap();
    let started = |engine: &Engine| {
        eventually("the step to run", Duration::from_secs(30), || {
            fs::read_to_string(engine.dir.join("out")).is_ok_and(|out| out.contains("\nstarted"))
        });
    };
    let background = "DOCKER_BUILDKIT=0 docker build --no-cache ctx > out 2>&1 & echo $! > pid";
    let nothing = |engine: &Engine| {
        engine.leftovers().is_empty() && engine.sh("docker ps -aq; docker volume ls -q").ok().is_empty()
    };

    // The client goes away.
    engine.sh(background).ok();
    started(&engine);
    assert_eq!(engine.sh("docker ps -q | wc -l").ok(), "1");
    engine.sh("kill -INT $(cat pid)").ok();
    eventually("everything to be cleared away", Duration::from_secs(30), || nothing(&engine));

    // The engine dies.
    fs::remove_file(engine.dir.join("out")).unwrap();
    engine.sh(background).ok();
    started(&engine);
    engine.kill();
    engine.boot(&[]);
    eventually("everything to be cleared away", Duration::from_secs(30), || nothing(&engine));
    // And it builds.
    build(&engine, "FROM base\nCOPY file /\nRUN true", "-t after").ok();
    engine.sh("docker rmi -f after base && docker image prune -af").ok();
    assert_eq!(engine.leftovers(), Vec::<String>::new());
}

#[test]
fn the_seeds_scaffolding_block_runs_as_written() {
    for client in [crate::harness::Client::Docker, crate::harness::Client::Pintle] {
        scaffolding(&Host::new(client, &[], &[]));
    }
}

fn scaffolding(host: &Host) {
    // A base that the seed's build stage can go by: a `go` that puts a plugin where it is told to.
    let base = host.engine.dir.join("golang");
    fs::create_dir_all(base.join("bin")).unwrap();
    fs::copy("/bin/busybox", base.join("bin/busybox")).unwrap();
    for applet in ["sh", "cp", "mkdir", "test"] {
        std::os::unix::fs::symlink("busybox", base.join("bin").join(applet)).unwrap();
    }
    fs::copy(built("volume-dirs"), base.join("plugin")).unwrap();
    let go = "#!/bin/sh\ncase \"$1\" in\n get) test -f main.go ;;\n build) test \"$CGO_ENABLED\" = 0 && cp /plugin \"$3\" ;;\n *) exit 1 ;;\nesac\n";
    fs::write(base.join("bin/go"), go).unwrap();
    host.sh("chmod 755 golang/bin/go && tar -C golang -c . | docker import -c 'ENV PATH=/bin' - golang:1.19-alpine").ok();
    let seed = include_str!("seed/scaffolding.sh");
    fs::write(host.engine.dir.join("main.go"), "package main\n").unwrap();
    // The seed's author has a program in the folder by then.
    let script = format!(
        "set -e\nexport DOCKER_BUILDKIT=0\nmkdir -p my-volume-plugin && cp main.go my-volume-plugin/\n{seed}"
    );
    host.sh(&script).ok();
    let plugin = host.engine.dir.join("my-volume-plugin/rootfs/usr/bin/my-volume-plugin");
    assert_eq!(fs::read(plugin).unwrap(), fs::read(built("volume-dirs")).unwrap());
    assert_eq!(host.sh("docker ps -aq").ok(), "");
    // And what follows in the seed, which mounts a folder of Docker's.
    fs::create_dir_all("/var/lib/docker/volumes").unwrap();
    let developing = include_str!("seed/developing.sh");
    let create = developing.split("docker plugin create").next().unwrap();
    host.sh(&format!(
        "cd my-volume-plugin && {create}\npintle plugin create my-username/my-volume-plugin . && docker plugin enable my-username/my-volume-plugin"
    ))
    .ok();
}

#[test]
fn what_dockerd_builds_is_what_pintle_builds() {
    let ours = ready();
    let theirs = Engine::start(crate::harness::Kind::Dockerd, crate::harness::Client::Docker, &[]);
    ours.sh("docker save -o base.tar base").ok();
    theirs.sh(&format!("docker load -i {}", ours.dir.join("base.tar").display())).ok();
    for engine in [&ours, &theirs] {
        let context = engine.dir.join("ctx");
        fs::create_dir_all(context.join("dir/sub")).unwrap();
        for (name, text) in [("a.txt", "a"), ("b.txt", "b"), ("dir/sub/deep", "d"), ("dir/top", "t")] {
            fs::write(context.join(name), text).unwrap();
        }
        engine.sh("cd ctx && ln -s sub/deep dir/link && chmod 640 a.txt && tar -cf packed.tar dir && touch -d 2020-02-02 a.txt b.txt dir/top").ok();
    }
    let dockerfile = r#"
ARG V=1
FROM base AS one
ARG V
ARG OTHER=x$V
ENV A=1 B="two words" C='$A' D=$V-${OTHER:-no}
LABEL plain=1 "quoted key"="quoted value" also=\"kept\"
RUN mkdir -p /made/here && ln -s /made/here /link && echo $OTHER > /made/file && chown 5:6 /made/file
WORKDIR /link
WORKDIR inner
COPY a.txt b.txt ./
COPY a.txt renamed
COPY dir dest
COPY dir/ /slash/
COPY dir/link /followed
COPY *.txt /wild/
COPY --chown=7:8 dir /owned
ADD packed.tar /unpacked/
ADD a.txt packed.tar /mixed/
COPY ["b.txt", "/with space/b"]
USER 5:6
EXPOSE 80 443/tcp 53/udp
VOLUME /v1 /v2
VOLUME ["/v3"]
STOPSIGNAL 9
HEALTHCHECK --interval=1m --timeout=3s --start-period=5s --retries=4 CMD ["probe", "it"]
ENTRYPOINT run "$A" \
  # a comment inside
  more
CMD ["a", "b"]
ONBUILD COPY . /x
MAINTAINER a b <c@d>
FROM one
COPY --from=one /slash /again
ENTRYPOINT ["only"]
"#;
    let built = |engine: &Engine| {
        build(engine, dockerfile, "--network none --build-arg V=7 -t made").ok();
        let read = |script: &str| engine.sh(script).ok();
        let config: serde_json::Value =
            serde_json::from_str(&read("docker image inspect -f '{{json .Config}}' made")).unwrap();
        let mut config = config.as_object().unwrap().clone();
        // What a container has and an image does not, which older Dockers wrote all the same.
        for key in [
            "Hostname",
            "Domainname",
            "AttachStdin",
            "AttachStdout",
            "AttachStderr",
            "Tty",
            "OpenStdin",
            "StdinOnce",
            "Image",
        ] {
            config.remove(key);
        }
        config.retain(|_, value| !value.is_null());
        let history = read(
            "docker history --no-trunc --format '{{.CreatedBy}}' made | grep -v HEALTHCHECK | sed -E 's/(file|dir|multi):[0-9a-f]{64}/HASH/'",
        );
        let layers = read("docker image inspect -f '{{len .RootFS.Layers}} {{.Author}}' made");
        // Names, kinds, modes and owners of everything, and what is in the files.
        let files = read(
            "docker create --name look made x >/dev/null && docker export look | tar -tv --numeric-owner --full-time | \
             grep -vE ' (dev|proc|sys|etc)/| \\.dockerenv' | awk '{print $1, $2, ($1 ~ /^d/ ? \"\" : $3), $6, $7, $8}' | sort -k4",
        );
        (serde_json::Value::Object(config), history, layers, files)
    };
    let (ours, theirs) = (built(&ours), built(&theirs));
    assert_eq!(ours.0, theirs.0);
    assert_eq!(ours.1.lines().collect::<Vec<_>>(), theirs.1.lines().collect::<Vec<_>>());
    assert_eq!(ours.2, theirs.2);
    assert_eq!(ours.3.lines().collect::<Vec<_>>(), theirs.3.lines().collect::<Vec<_>>());
}
