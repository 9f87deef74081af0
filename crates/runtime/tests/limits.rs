//! Freezing, limits, statistics, the OOM killer, and what a shim and a start cost.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::time::{Duration, Instant};

use harness::{House, exec, exec_run, patience, status};
use pintle_runtime::oci_spec::runtime::{
    LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
};
use pintle_runtime::{ErrorKind, Status, TaskConfig};

fn limit(config: &mut TaskConfig, change: impl FnOnce(&mut LinuxResources)) {
    let linux = config.spec.linux_mut().as_mut().unwrap();
    let mut resources = linux.resources().clone().unwrap();
    change(&mut resources);
    linux.set_resources(Some(resources));
}

#[tokio::test]
async fn paused_is_paused() {
    let house = House::new();
    let config = house.shell("while :; do echo tick; sleep 0.01; done");
    let log = config.log.clone().unwrap().path;
    let task = house.runtime.create(config).await.unwrap();
    assert_eq!(task.pause().await.unwrap_err().kind(), ErrorKind::Conflict);
    task.start().await.unwrap();
    harness::until_logged(&log, "tick").await;
    task.pause().await.unwrap();
    assert_eq!(status(&task).await, Status::Paused);
    assert_eq!(task.pause().await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(
        task.exec(exec("x", &["true"]))
            .await
            .unwrap_err()
            .to_string()
            .contains("is paused, unpause the container before exec")
    );
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = std::fs::metadata(&log).unwrap().len();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(std::fs::metadata(&log).unwrap().len(), before);
    task.resume().await.unwrap();
    assert_eq!(task.resume().await.unwrap_err().kind(), ErrorKind::Conflict);
    patience(async {
        while std::fs::metadata(&log).unwrap().len() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    task.pause().await.unwrap();
    task.kill(9, false).await.unwrap();
    assert_eq!(patience(task.wait()).await.unwrap().code, 137, "killing a paused container ends it");
    task.delete().await.unwrap();

    let task = house.runtime.create(house.config(&["sleep", "1000"])).await.unwrap();
    task.start().await.unwrap();
    task.pause().await.unwrap();
    assert_eq!(patience(task.delete()).await.unwrap().code, 137, "deleting a paused one too");
}

#[tokio::test]
async fn the_oom_killer_is_noticed() {
    let house = House::new();
    let mut config = house.shell("head -c 200000000 /dev/zero | tail -c 200000000 | wc -c; exit 0");
    limit(&mut config, |r| {
        r.set_memory(Some(
            LinuxMemoryBuilder::default().limit(16_i64 << 20).swap(16_i64 << 20).build().unwrap(),
        ));
    });
    let (end, ..) = house.run(config).await;
    assert!(end.oom_killed, "{end:?}");
    assert!(!house.run(house.config(&["true"])).await.0.oom_killed);
}

#[tokio::test]
async fn limits_hold_are_changed_and_measured() {
    let house = House::new();
    let mut config = house.shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 1000");
    limit(&mut config, |r| {
        r.set_memory(Some(LinuxMemoryBuilder::default().limit(64_i64 << 20).build().unwrap()));
        r.set_pids(Some(LinuxPidsBuilder::default().limit(20).build().unwrap()));
    });
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    let stats = task.stats().await.unwrap();
    assert_eq!((stats.memory.limit, stats.pids.limit), (64 << 20, Some(20)));
    assert!(stats.pids.current >= 1 && stats.memory.usage > 0);
    let (code, ..) =
        exec_run(&task, exec("many", &["sh", "-c", "for i in $(seq 30); do sleep 5 & done; exit 0"]))
            .await
            .unwrap();
    assert_ne!(code, 0, "more processes than allowed");

    let more = LinuxResourcesBuilder::default()
        .memory(LinuxMemoryBuilder::default().limit(128_i64 << 20).build().unwrap())
        .cpu(
            LinuxCpuBuilder::default().shares(512_u64).quota(50_000_i64).period(100_000_u64).build().unwrap(),
        )
        .pids(LinuxPidsBuilder::default().limit(50).build().unwrap())
        .build()
        .unwrap();
    task.update(more).await.unwrap();
    let stats = task.stats().await.unwrap();
    assert_eq!((stats.memory.limit, stats.pids.limit), (128 << 20, Some(50)));
    patience(async {
        while task.stats().await.unwrap().cpu.total < 1_000_000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let bad = LinuxResourcesBuilder::default()
        .cpu(LinuxCpuBuilder::default().cpus("9999").build().unwrap())
        .build()
        .unwrap();
    let error = task.update(bad).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("cpuset.cpus"), "{error}");
    task.delete().await.unwrap();
    assert_eq!(task.stats().await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Numbers for the reader; loose bounds, since the machine is shared.
#[tokio::test]
async fn what_it_costs() {
    let house = House::new();
    let (mut split, rounds) = ([Duration::ZERO; 4], 10);
    let mut best = [Duration::MAX; 4];
    for _ in 0..rounds {
        let config = house.config(&["true"]);
        let mut mark = Instant::now();
        let mut lap = |at: usize| {
            let took = mark.elapsed();
            split[at] += took;
            best[at] = best[at].min(took);
            mark = Instant::now();
        };
        let task = house.runtime.create(config).await.unwrap();
        lap(0);
        task.start().await.unwrap();
        lap(1);
        task.wait().await.unwrap();
        lap(2);
        task.delete().await.unwrap();
        lap(3);
    }
    let mean = split.map(|t| t / rounds);
    println!("create, start, wait, delete: mean {mean:?}, best {best:?}");
    assert!(mean.iter().sum::<Duration>() < Duration::from_secs(2));

    let task = house.runtime.create(house.config(&["sleep", "1000"])).await.unwrap();
    task.start().await.unwrap();
    let mark = Instant::now();
    for n in 0..5 {
        exec_run(&task, exec(&format!("e{n}"), &["true"])).await.unwrap();
    }
    println!("exec: mean {:?}", mark.elapsed() / 5);
    let pid =
        std::fs::read_to_string(house.dir.path().join("tasks").join(task.id()).join("shim.pid")).unwrap();
    let memory = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.trim())).unwrap();
    let field = |name: &str| -> u64 {
        memory
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .trim()
            .parse()
            .unwrap()
    };
    // Pages of a program that was linked a moment ago count as dirty until they are on disk; these are the shim's own.
    println!("shim: {} KiB of its own, {} KiB resident", field("Anonymous:"), field("Rss:"));
    assert!(field("Anonymous:") < 8 << 10);
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid.trim())).unwrap().count();
    assert_eq!(threads, 1);
    task.delete().await.unwrap();
}
