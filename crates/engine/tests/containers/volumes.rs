use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use pintle_engine::{
    ErrorKind,
    containers::{ListOptions, MountKind, MountSpec, RemoveOptions, StopOptions},
};

use crate::house::{House, patience};

pub async fn kinds_of_mounts() {
    let house = House::new().await;
    let host = house.dir.join("host/made");
    let mut spec = house.shell(
        "echo hello > /bound/file; touch /ro/x || echo ro; df /scratch | grep -c tmpfs; touch /tmpfs/y; cat /part/inside",
    );
    house.volumes.create(Some("data"), "local", Default::default(), Default::default()).await.unwrap();
    let volume = house.dir.join("volumes/data");
    std::fs::create_dir_all(volume.join("sub")).unwrap();
    std::fs::write(volume.join("sub/inside"), "inside\n").unwrap();
    spec.binds = vec![format!("{}:/bound", host.display()), "data:/ro:ro".into()];
    spec.tmpfs.insert("/scratch".into(), "size=1m".into());
    spec.mounts = vec![
        MountSpec { kind: MountKind::Tmpfs, target: "/tmpfs".into(), ..MountSpec::default() },
        MountSpec {
            kind: MountKind::Volume,
            source: "data".into(),
            target: "/part".into(),
            subpath: "sub".into(),
            ..MountSpec::default()
        },
    ];
    let id = house.start(spec).await;
    house.wait(&id).await;
    let output = house.output(&id).await;
    assert!(output.contains("ro\n") && output.contains("1\n") && output.ends_with("inside\n"), "{output}");
    assert_eq!(std::fs::read_to_string(host.join("file")).unwrap(), "hello\n");
    assert_eq!(house.driver.held(), []);
    let error = house.volumes.remove("data", false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "the container still refers to it");

    let mut from = house.shell("cat /part/inside; touch /bound/x || echo ro");
    from.volumes_from = vec![format!("{id}:ro")];
    assert_eq!(house.run(from).await.1.lines().filter(|line| ["inside", "ro"].contains(line)).count(), 2);

    let missing = MountSpec { source: "/no/such/path".into(), target: "/x".into(), ..MountSpec::default() };
    let mut spec = house.spec(&["true"]);
    spec.mounts = vec![missing];
    let error = house.containers.create(None, spec).await.unwrap_err();
    assert_eq!(
        error.message,
        "invalid mount config for type \"bind\": bind source path does not exist: /no/such/path"
    );
    let mut spec = house.spec(&["true"]);
    spec.binds = vec!["a:/x".into(), "b:/x".into()];
    let error = house.containers.create(None, spec).await.unwrap_err();
    assert_eq!(error.message, "Duplicate mount point: /x");
    let mut spec = house.spec(&["true"]);
    spec.binds = vec!["other:/x".into()];
    spec.volume_driver = "nope".into();
    house.containers.create(Some("fails"), spec).await.unwrap_err();
    assert_eq!(house.containers.inspect("fails").unwrap_err().kind(), ErrorKind::NotFound);
    house.close().await;
}

pub async fn anonymous_volumes_and_copy_up() {
    let house = House::new().await;
    let mut spec = house.shell("cat /srv/data/file /srv/data/deep/er; echo changed > /srv/data/file");
    spec.volumes = vec!["/srv/data".into()];
    let id = house.start(spec).await;
    house.wait(&id).await;
    assert_eq!(house.output(&id).await, "from the image\ndeep\n");
    let name = house.containers.inspect(&id).unwrap().mounts[0].name.clone().unwrap();
    assert_eq!(name.len(), 64);
    let path = house.dir.join("volumes").join(&name);
    assert_eq!(std::fs::read_to_string(path.join("file")).unwrap(), "changed\n");
    house.containers.remove(&id, RemoveOptions { force: false, volumes: false }).await.unwrap();
    assert!(path.exists(), "without -v it stays");
    house.volumes.remove(&name, false).await.unwrap();

    let mut spec = house.shell("ls -A /srv/data | wc -l");
    spec.binds = vec!["empty:/srv/data:nocopy".into()];
    assert_eq!(house.run(spec).await.1.trim(), "0");
    let mut spec = house.shell("cat /srv/data/file");
    spec.binds = vec!["filled:/srv/data".into()];
    assert_eq!(house.run(spec.clone()).await.1, "from the image\n");
    // A second time nothing is copied over what is there.
    std::fs::write(house.dir.join("volumes/filled/file"), "mine\n").unwrap();
    assert_eq!(house.run(spec).await.1, "mine\n");
    assert_eq!(house.driver.held(), []);
    house.close().await;
}

pub async fn a_driver_that_hangs() {
    let house = House::new().await;
    let mut spec = house.spec(&["sleep", "60"]);
    spec.binds = vec!["slow:/x:nocopy".into()];
    let id = house.create(spec.clone()).await;
    house.driver.hang.store(true, Ordering::SeqCst);
    let start = tokio::spawn({
        let (containers, id) = (house.containers.clone(), id.clone());
        async move { containers.start(&id).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begin = Instant::now();
    house.containers.inspect(&id).unwrap();
    house.containers.list(ListOptions { all: true, ..ListOptions::default() }).await.unwrap();
    assert!(begin.elapsed() < Duration::from_millis(50));
    // Others run meanwhile.
    assert_eq!(house.run(house.spec(&["true"])).await.0, 0);

    let begin = Instant::now();
    let _ = patience(house.containers.stop(&id, StopOptions::default())).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "a hanging start must not hold up a stop");
    assert_eq!(patience(start).await.unwrap().unwrap_err().kind(), ErrorKind::Conflict);

    // The same with a removal, and with an end whose unmount hangs.
    let begin = Instant::now();
    let start = tokio::spawn({
        let (containers, id) = (house.containers.clone(), id.clone());
        async move { containers.start(&id).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    house.gone(&id).await;
    let _ = start.await;
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());

    house.driver.hang.store(false, Ordering::SeqCst);
    let id = house.start(spec).await;
    house.driver.hang.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    patience(house.containers.kill(&id, "KILL")).await.unwrap();
    house.gone(&id).await;
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    house.driver.hang.store(false, Ordering::SeqCst);
    crate::house::until("everything is unmounted", || house.driver.held().is_empty()).await;
    house.close().await;
}
