//! A container's life: created, run, signalled, ended, deleted; and what is left then.

mod harness;

use harness::{House, patience, process, status};
use pintle_runtime::{ErrorKind, Status};

#[tokio::test]
async fn exit_codes_and_output() {
    let house = House::new();
    let (end, out, err) = house.run(house.shell("echo hello; echo oops >&2; exit 7")).await;
    assert_eq!((end.code, out.as_str(), err.as_str()), (7, "hello\n", "oops\n"));
    assert!(!end.oom_killed && end.error.is_none());
    let (end, ..) = house.run(house.shell("kill -SEGV $$")).await;
    assert_eq!(end.code, 0, "PID 1 is not killed by its own signals without a handler");
    let (end, ..) = house.run(house.config(&["true"])).await;
    assert_eq!(end.code, 0);
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let house = House::new();
    let config = house.config(&["sleep", "1000"]);
    let cgroup = config.cgroup.clone();
    let id = config.id.clone();
    let task = house.runtime.create(config).await.unwrap();
    assert_eq!(status(&task).await, Status::Created);
    task.start().await.unwrap();
    assert_eq!(status(&task).await, Status::Running);
    assert_eq!(task.processes().await.unwrap(), [task.pid().unwrap()]);
    assert_eq!(task.start().await.unwrap_err().kind(), ErrorKind::Conflict);
    let pid = task.pid().unwrap();
    assert!(std::fs::read_to_string("/proc/self/cgroup").is_ok());
    let end = patience(task.delete()).await.unwrap();
    assert_eq!(end.code, 137);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!pintle_runtime::cgroup::Group::new(&cgroup).exists());
    assert!(house.runtime.list().await.unwrap().is_empty());
    assert!(house.runtime.attach_existing(&id).await.unwrap().is_none());
    assert_eq!(patience(task.delete()).await.unwrap().code, 255, "deleting twice is fine");
    assert_eq!(task.state().await.unwrap_err().kind(), ErrorKind::NotFound);
    // Shims go away by themselves, soon after their last answer.
    let shims = || {
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|p| std::fs::read_to_string(p.path().join("cmdline")).ok())
            .filter(|c| c.contains(house.dir.path().to_str().unwrap()))
            .count()
    };
    patience(async {
        while shims() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_created_container_can_be_deleted() {
    let house = House::new();
    let task = house.runtime.create(house.config(&["true"])).await.unwrap();
    assert_eq!(patience(task.delete()).await.unwrap().code, 137);
}

#[tokio::test]
async fn ids_are_taken_once_and_checked() {
    let house = House::new();
    let config = house.config(&["sleep", "1000"]);
    let task = house.runtime.create(config.clone()).await.unwrap();
    assert_eq!(house.runtime.create(config).await.unwrap_err().kind(), ErrorKind::Conflict);
    task.delete().await.unwrap();
    for id in ["", "..", "a/b", "a b"] {
        let mut config = house.config(&["true"]);
        config.id = id.into();
        assert_eq!(
            house.runtime.create(config).await.unwrap_err().kind(),
            ErrorKind::InvalidArgument,
            "{id:?}"
        );
    }
}

#[tokio::test]
async fn commands_that_cannot_run_say_so_in_dockers_words() {
    let house = House::new();
    for (args, text, code) in [
        (&["nosuchcmd"][..], "exec: \"nosuchcmd\": executable file not found in $PATH", 127),
        (&["/nosuch"], "exec: \"/nosuch\": stat /nosuch: no such file or directory", 127),
        (&["/etc/passwd"], "exec: \"/etc/passwd\": permission denied", 126),
        (&["/etc"], "exec: \"/etc\": is a directory", 126),
    ] {
        let error = house.runtime.create(house.config(args)).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(error.to_string().starts_with("failed to create task for container: "), "{error}");
        assert_eq!(error.exit_code(), code);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert!(house.runtime.list().await.unwrap().is_empty(), "nothing is left of what could not be created");
}

#[tokio::test]
async fn a_script_without_interpreter_is_not_given_to_a_shell() {
    let house = House::new();
    let script = house.rootfs.join("bin/script");
    std::fs::write(&script, "echo a shell ran this\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (end, out, err) = house.run(house.config(&["script"])).await;
    assert_eq!((end.code, out.as_str()), (255, ""));
    assert_eq!(err, "exec /bin/script: exec format error\n");
}

#[tokio::test]
async fn signals_reach_init_or_everyone() {
    let house = House::new();
    let config = house.shell("trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    let log = config.log.clone().unwrap().path;
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    harness::until_logged(&log, "ready").await;
    task.kill(15, false).await.unwrap();
    assert_eq!(patience(task.wait()).await.unwrap().code, 3);
    assert_eq!(harness::logged(&log, "stdout"), "ready\ngot it\n");
    assert_eq!(task.kill(15, false).await.unwrap_err().kind(), ErrorKind::NotFound);
    task.delete().await.unwrap();

    let task = house.runtime.create(house.shell("sleep 1000 & sleep 1000 & wait")).await.unwrap();
    task.start().await.unwrap();
    patience(async {
        while task.processes().await.unwrap().len() < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    task.kill(9, true).await.unwrap();
    assert_eq!(patience(task.wait()).await.unwrap().code, 137);
    task.delete().await.unwrap();
}

#[tokio::test]
async fn a_real_time_signal_ends_it_like_any_other() {
    let house = House::new();
    for init in [false, true] {
        let mut config = house.config(&["sleep", "1000"]);
        config.init = init;
        harness::without_namespace(
            &mut config.spec,
            pintle_runtime::oci_spec::runtime::LinuxNamespaceType::Pid,
        );
        let task = house.runtime.create(config).await.unwrap();
        task.start().await.unwrap();
        if init {
            patience(async {
                while task.processes().await.unwrap().len() < 2 {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            })
            .await;
        } else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        task.kill(36, false).await.unwrap();
        assert_eq!(patience(task.wait()).await.unwrap().code, 128 + 36, "init: {init}");
        task.delete().await.unwrap();
    }
}

#[tokio::test]
async fn without_a_pid_namespace_leftovers_die_with_init() {
    let house = House::new();
    let mut config = house.shell("sleep 1000 & echo started");
    harness::without_namespace(&mut config.spec, pintle_runtime::oci_spec::runtime::LinuxNamespaceType::Pid);
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    assert_eq!(patience(task.wait()).await.unwrap().code, 0);
    assert!(task.processes().await.unwrap().is_empty());
    task.delete().await.unwrap();
}

#[tokio::test]
async fn the_environment_is_exact_and_has_a_home() {
    let house = House::new();
    let mut config = house.config(&["/bin/env"]);
    process(&mut config.spec).set_env(Some(vec!["B=2".into(), "A=1".into(), "EMPTY=".into()]));
    let (_, out, _) = house.run(config).await;
    assert_eq!(out, "B=2\nA=1\nEMPTY=\nHOME=/root\n", "no PATH was given, so there is none");
}

#[tokio::test]
async fn users_are_dropped_to_and_may_reopen_their_output() {
    let house = House::new();
    let mut config = house.shell("id; echo again > /dev/stdout; echo $HOME");
    let mut user = pintle_runtime::oci_spec::runtime::User::default();
    user.set_uid(1000).set_gid(1000);
    process(&mut config.spec).set_user(user);
    let (end, out, err) = house.run(config).await;
    assert_eq!((end.code, out.as_str()), (0, "uid=1000(app) gid=1000(app)\nagain\n/home/app\n"), "{err}");
}

#[tokio::test]
async fn only_the_standard_streams_reach_the_container() {
    let house = House::new();
    let (_, out, _) = house.run(house.shell("ls /proc/1/fd; :")).await;
    assert_eq!(out.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2"]);
    let (_, out, _) = house.run(house.config(&["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"])).await;
    assert_eq!(out.matches("0000000000000000").count(), 2, "{out}");
}

#[tokio::test]
async fn limits_the_engine_cannot_give_are_explained() {
    let house = House::new();
    let mut config = house.config(&["true"]);
    let limit = pintle_runtime::oci_spec::runtime::PosixRlimitBuilder::default()
        .typ(pintle_runtime::oci_spec::runtime::PosixRlimitType::RlimitNofile)
        .soft(1_u64 << 40)
        .hard(1_u64 << 41)
        .build()
        .unwrap();
    process(&mut config.spec).set_rlimits(Some(vec![limit]));
    let error = house.runtime.create(config).await.unwrap_err();
    if !rustix::thread::capabilities(None)
        .unwrap()
        .effective
        .contains(rustix::thread::CapabilitySet::SYS_RESOURCE)
    {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("CAP_SYS_RESOURCE"), "{error}");
        let mut config = house.config(&["true"]);
        let mut caps = pintle_runtime::spec::default_capabilities();
        caps.insert(pintle_runtime::oci_spec::runtime::Capability::SysResource);
        process(&mut config.spec).set_capabilities(Some(pintle_runtime::spec::capability_sets(&caps)));
        let error = house.runtime.create(config).await.unwrap_err();
        assert!(error.to_string().contains("CAP_SYS_RESOURCE"), "{error}");
    }
}

#[tokio::test]
async fn the_containers_oom_score_is_not_the_shims() {
    let house = House::new();
    let mut config = house.shell("cat /proc/self/oom_score_adj");
    config.oom_score_adj = Some(321);
    let log = config.log.clone().unwrap().path;
    let task = house.runtime.create(config).await.unwrap();
    let shim =
        std::fs::read_to_string(house.dir.path().join("tasks").join(task.id()).join("shim.pid")).unwrap();
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", shim.trim())).unwrap();
    assert_ne!(score.trim(), "321");
    task.start().await.unwrap();
    patience(task.wait()).await.unwrap();
    assert_eq!(harness::logged(&log, "stdout"), "321\n");
    task.delete().await.unwrap();
    if !rustix::thread::capabilities(None)
        .unwrap()
        .effective
        .contains(rustix::thread::CapabilitySet::SYS_RESOURCE)
    {
        let mut config = house.config(&["true"]);
        config.oom_score_adj = Some(-900);
        let error = house.runtime.create(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("oom_score_adj to -900"), "{error}");
    }
}

#[tokio::test]
async fn an_init_forwards_and_reaps() {
    let house = House::new();
    let mut config =
        house.shell("trap 'exit 5' TERM; (sleep 0.01 &) ; echo pid $$; while :; do sleep 0.05; done");
    config.init = true;
    let log = config.log.clone().unwrap().path;
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    harness::until_logged(&log, "pid ").await;
    assert_ne!(harness::logged(&log, "stdout"), "pid 1\n");
    task.kill(15, false).await.unwrap();
    assert_eq!(patience(task.wait()).await.unwrap().code, 5);
    task.delete().await.unwrap();
    let mut config = house.config(&["nosuchcmd"]);
    config.init = true;
    assert_eq!(house.run(config).await.0.code, 127);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_do_not_disturb_each_other() {
    let house = std::sync::Arc::new(House::new());
    let mut all = tokio::task::JoinSet::new();
    for n in 0..16 {
        let house = house.clone();
        all.spawn(async move {
            let mut config = house.shell(&format!("echo {n}; exit {n}"));
            config.terminal = n % 4 == 3;
            let log = config.log.clone().unwrap().path;
            let task = house.runtime.create(config).await.unwrap();
            let waiting = tokio::spawn({
                let task = task.clone();
                async move { task.wait().await.unwrap() }
            });
            task.start().await.unwrap();
            assert_eq!(patience(waiting).await.unwrap().code, n);
            assert_eq!(harness::logged(&log, "stdout").trim(), n.to_string());
            patience(task.delete()).await.unwrap();
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    assert!(house.runtime.list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn execs_at_once_too() {
    let house = std::sync::Arc::new(House::new());
    let task = house.runtime.create(house.config(&["sleep", "1000"])).await.unwrap();
    task.start().await.unwrap();
    let mut all = tokio::task::JoinSet::new();
    for n in 0..16 {
        let task = task.clone();
        all.spawn(async move {
            let script = format!("echo {n}; exit {n}");
            let got = harness::exec_run(&task, harness::exec(&format!("e{n}"), &["sh", "-c", &script]))
                .await
                .unwrap();
            assert_eq!(got, (n, format!("{n}\n"), String::new()));
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    patience(task.delete()).await.unwrap();
}
