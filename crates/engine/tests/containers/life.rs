use std::time::{Duration, Instant};

use pintle_engine::{
    ErrorKind,
    containers::{
        ContainerSpec, ListOptions, RemoveOptions, Resources, RestartMode, RestartPolicy, State, StopOptions,
        Ulimit, Update, WaitCondition,
    },
};

use crate::house::{House, patience, until};

fn actions(house: &House, id: &str) -> Vec<String> {
    let (past, _) = house.events.subscribe(Some(0), None);
    past.into_iter().filter(|event| event.actor_id == id).map(|event| event.action).collect()
}

pub async fn runs_and_tells_how_it_ended() {
    let house = House::new().await;
    let (code, output) = house.run(house.shell("echo out; echo err >&2; exit 7")).await;
    assert_eq!(code, 7);
    assert!(output.contains("out\n") && output.contains("err\n"), "{output}");

    let id = house.create(house.spec(&["true"])).await;
    let next = house.containers.wait(&id, WaitCondition::NextExit).unwrap();
    house.containers.start(&id).await.unwrap();
    assert_eq!(patience(next).await.code, 0);
    let seen = house.containers.inspect(&id).unwrap();
    assert_eq!(seen.life.status(), "exited");
    assert!(seen.life.exit().unwrap().finished_at > seen.life.exit().unwrap().started_at);
    assert_eq!(actions(&house, &id), ["create", "start", "die"]);

    // Again, and what a whole life costs.
    let mut best = [Duration::MAX; 3];
    for _ in 0..8 {
        let begin = Instant::now();
        let id = house.create(house.spec(&["true"])).await;
        let created = begin.elapsed();
        let wait = house.containers.wait(&id, WaitCondition::NextExit).unwrap();
        house.containers.start(&id).await.unwrap();
        let started = begin.elapsed();
        patience(wait).await;
        let all = [created, started - created, begin.elapsed() - started];
        if all.iter().sum::<Duration>()
            < best.iter().fold(Duration::ZERO, |sum, part| sum.saturating_add(*part))
        {
            best = all;
        }
    }
    println!("  create, start, wait at best: {best:?}");
    house.close().await;
}

pub async fn a_command_that_is_not_there() {
    let house = House::new().await;
    let id = house.create(house.spec(&["no-such-command"])).await;
    let error = house.containers.start(&id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.message.contains("executable file not found"), "{error}");
    assert_eq!(error.message.matches("failed to create task for container").count(), 1, "{error}");
    let seen = house.containers.inspect(&id).unwrap();
    assert_eq!((seen.life.status(), seen.life.exit().unwrap().code), ("created", 127));
    assert!(!house.dir.join("run/tasks").join(&id).exists());

    let mut unknown = house.spec(&["true"]);
    unknown.user = "nobody-here".into();
    let id = house.create(unknown).await;
    let error = house.containers.start(&id).await.unwrap_err();
    assert!(error.message.contains("unable to find user nobody-here"), "{error}");

    let mut vanishes = house.spec(&["no-such-command"]);
    vanishes.auto_remove = true;
    let id = house.create(vanishes).await;
    house.containers.start(&id).await.unwrap_err();
    assert_eq!(house.containers.inspect(&id).unwrap_err().kind(), ErrorKind::NotFound);
    let error =
        house.containers.create(None, ContainerSpec { image: "nope".into(), ..Default::default() }).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    house.close().await;
}

pub async fn names_and_conflicts() {
    let house = House::new().await;
    let id = house.containers.create(Some("/web"), house.spec(&["sleep", "60"])).await.unwrap().id;
    let error = house.containers.create(Some("web"), house.spec(&["true"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.message,
        format!(
            "Conflict. The container name \"/web\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
        )
    );
    for name in ["web", "/web", &id, &id[..6]] {
        assert_eq!(house.containers.inspect(name).unwrap().id, id);
    }
    assert_eq!(house.containers.inspect("nope").unwrap_err().message, "No such container: nope");
    house.containers.rename("web", "shop").await.unwrap();
    assert_eq!(house.containers.inspect("web").unwrap_err().kind(), ErrorKind::NotFound);
    let other = house.containers.create(Some("web"), house.spec(&["true"])).await.unwrap().id;
    assert_eq!(house.containers.rename(&other, "shop").await.unwrap_err().kind(), ErrorKind::Conflict);

    house.containers.start("shop").await.unwrap();
    assert_eq!(house.containers.start("shop").await.unwrap_err().kind(), ErrorKind::NotModified);
    let error = house.containers.remove("shop", RemoveOptions::default()).await.unwrap_err();
    assert_eq!(
        error.message,
        "cannot remove container \"/shop\": container is running: stop the container before removing or force remove"
    );
    house.gone("shop").await;
    // The name is free at once.
    house.containers.create(Some("shop"), house.spec(&["true"])).await.unwrap();
    house.close().await;
}

pub async fn stop_kill_restart_and_pause() {
    let house = House::new().await;
    let polite = house.start(house.shell("trap 'exit 3' TERM; while :; do sleep 0.05; done")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    patience(house.containers.stop(&polite, StopOptions::default())).await.unwrap();
    assert_eq!(house.containers.inspect(&polite).unwrap().life.exit().unwrap().code, 3);
    assert_eq!(actions(&house, &polite), ["create", "start", "kill", "die", "stop"]);
    let again = house.containers.stop(&polite, StopOptions::default()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotModified);

    let rude = house.start(house.shell("trap '' TERM; while :; do sleep 0.05; done")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begin = Instant::now();
    patience(house.containers.stop(&rude, StopOptions { timeout: Some(1), signal: None })).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(house.containers.inspect(&rude).unwrap().life.exit().unwrap().code, 137);

    patience(house.containers.restart(&rude, StopOptions::default())).await.unwrap();
    house.containers.pause(&rude).await.unwrap();
    assert_eq!(house.containers.inspect(&rude).unwrap().life.status(), "paused");
    house.containers.pause(&rude).await.unwrap_err();
    house.containers.unpause(&rude).await.unwrap();
    house.containers.pause(&rude).await.unwrap();
    patience(house.containers.kill(&rude, "KILL")).await.unwrap();
    assert_eq!(house.containers.inspect(&rude).unwrap().life.status(), "exited");
    let error = house.containers.kill(&rude, "").await.unwrap_err();
    assert_eq!(error.message, format!("cannot kill container: {rude}: container {rude} is not running"));
    assert_eq!(house.containers.kill(&rude, "NOPE").await.unwrap_err().message, "invalid signal: NOPE");
    house.close().await;
}

pub async fn auto_remove_and_waits() {
    let house = House::new().await;
    let mut spec = house.shell("exit 4");
    spec.auto_remove = true;
    spec.volumes = vec!["/srv/data".into()];
    let id = house.create(spec.clone()).await;
    let volume = house.containers.inspect(&id).unwrap().mounts[0].name.clone().unwrap();
    let removed = house.containers.wait(&id, WaitCondition::Removed).unwrap();
    house.containers.start(&id).await.unwrap();
    assert_eq!(patience(removed).await.code, 4);
    assert_eq!(house.containers.inspect(&id).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(house.volumes.inspect(&volume).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(actions(&house, &id), ["create", "start", "die", "destroy"]);

    // A restart does not remove it.
    spec.cmd = Some(["sleep", "60"].map(str::to_owned).to_vec());
    let id = house.start(spec).await;
    let options = StopOptions { timeout: Some(0), signal: None };
    patience(house.containers.restart(&id, options)).await.unwrap();
    assert_eq!(house.containers.inspect(&id).unwrap().life.status(), "running");
    house.close().await;
}

pub async fn policies_restart() {
    let house = House::new().await;
    let mut spec = house.shell("exit 5");
    spec.restart = RestartPolicy { mode: RestartMode::OnFailure, max_retries: 2 };
    let id = house.start(spec).await;
    until("it gives up", || {
        let seen = house.containers.inspect(&id).unwrap();
        seen.life.restart_count == 2 && matches!(seen.life.state, State::Exited(_))
    })
    .await;
    let mut spec = house.shell("exit 0");
    spec.restart.mode = RestartMode::Always;
    let id = house.start(spec).await;
    until("it is started again", || house.containers.inspect(&id).unwrap().life.restart_count > 2).await;
    // Whatever it does at this moment, a stop ends it for good.
    let _ = patience(house.containers.stop(&id, StopOptions::default())).await;
    let count = house.containers.inspect(&id).unwrap().life.restart_count;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = house.containers.inspect(&id).unwrap();
    assert_eq!((seen.life.status(), seen.life.restart_count), ("exited", count));
    house.close().await;
}

pub async fn what_the_process_sees() {
    let house = House::new().await;
    let mut spec = house.shell(
        "id -u; id -g; pwd; hostname; echo $FROM_IMAGE $MINE $HOME; cat /etc/hosts /etc/hostname; ip addr show lo; ping -c1 -w2 127.0.0.1 >/dev/null && echo pinged; ulimit -n; touch /x && echo writable; cat /proc/self/status",
    );
    spec.user = "app".into();
    spec.working_dir = "/made/for/it".into();
    spec.env = vec!["MINE=1".into()];
    spec.hostname = "box".into();
    spec.extra_hosts = vec!["db:10.9.8.7".into()];
    spec.ulimits = vec![Ulimit { name: "nofile".into(), soft: 77, hard: 99 }];
    spec.read_only = true;
    spec.security_opt = vec!["no-new-privileges".into()];
    let (_, output) = house.run(spec).await;
    assert!(output.starts_with("1000\n1000\n/made/for/it\nbox\nyes 1 /home/app\n"), "{output}");
    for part in [
        "10.9.8.7\tdb",
        "LOOPBACK,UP",
        "\n77\n",
        "NoNewPrivs:\t1",
        "CapEff:\t0000000000000000",
        "Seccomp:\t2",
    ] {
        assert!(output.contains(part), "{part} in {output}");
    }
    assert!(!output.contains("writable"), "{output}");

    let mut spec =
        house.shell("ip -o link | wc -l; ls /proc | grep -c '^[0-9]' ; id -u; cat /proc/self/status");
    spec.network_mode = "host".into();
    spec.pid_mode = "host".into();
    spec.privileged = true;
    let (_, output) = house.run(spec).await;
    assert!(output.contains("Seccomp:\t0"), "{output}");

    let mut spec = house.spec(&["ps"]);
    spec.init = true;
    let (code, output) = house.run(spec).await;
    assert_eq!(code, 0);
    assert!(output.contains("init") && output.contains("ps"), "{output}");
    house.close().await;
}

pub async fn limits_and_update() {
    let house = House::new().await;
    let mut spec = house.spec(&["sleep", "60"]);
    spec.resources = Resources { memory: 64 << 20, pids_limit: Some(50), ..Resources::default() };
    let id = house.start(spec).await;
    let stats = house.containers.stats(&id).await.unwrap().unwrap();
    println!("  memory limit as seen: {}", stats.memory.limit);
    let update = Update {
        resources: Resources { memory: 128 << 20, memory_swap: 256 << 20, ..Resources::default() },
        restart: Some(RestartPolicy { mode: RestartMode::UnlessStopped, max_retries: 0 }),
    };
    house.containers.update(&id, update).await.unwrap();
    let seen = house.containers.inspect(&id).unwrap();
    assert_eq!((seen.spec.resources.memory, seen.spec.resources.pids_limit), (128 << 20, Some(50)));
    assert_eq!(seen.spec.restart.mode, RestartMode::UnlessStopped);
    let top = house.containers.top(&id, "").await.unwrap();
    assert_eq!(top.processes.len(), 1);
    assert_eq!(top.processes[0].last().unwrap(), "sleep 60");
    house.close().await;
}

pub async fn lists_are_fast() {
    let house = House::new().await;
    let begin = Instant::now();
    for n in 0..200 {
        let mut spec = house.spec(&["true"]);
        spec.labels.insert("n".into(), (n % 10).to_string());
        house.create(spec).await;
    }
    println!("  200 creations: {} ms", begin.elapsed().as_millis());
    let all = ListOptions { all: true, ..ListOptions::default() };
    let begin = Instant::now();
    assert_eq!(house.containers.list(all.clone()).await.unwrap().len(), 200);
    let took = begin.elapsed();
    println!("  a list of 200: {} µs", took.as_micros());
    assert!(took < Duration::from_millis(14), "{took:?}");
    let count = async |pairs: &[(&str, &str)], limit| {
        let filters = pairs.iter().map(|(k, v)| ((*k).to_owned(), vec![(*v).to_owned()])).collect();
        house.containers.list(ListOptions { filters, limit, ..all.clone() }).await.unwrap().len()
    };
    assert_eq!(count(&[("label", "n=3")], 0).await, 20);
    assert_eq!(count(&[("label", "n=3"), ("status", "running")], 0).await, 0);
    assert_eq!(count(&[("ancestor", "box")], 0).await, 200);
    assert_eq!(count(&[], 7).await, 7);
    assert!(house.containers.list(ListOptions::default()).await.unwrap().is_empty());
    let pruned =
        house.containers.prune(&[("label".to_owned(), vec!["n=1".to_owned()])].into()).await.unwrap();
    assert_eq!(pruned.deleted.len(), 20);
    house.close().await;
}
