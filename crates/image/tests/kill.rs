//! SIGKILL in the middle of load, pull and remove: the store opens, and what is there is whole.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use pintle_image::{Auth, ImageId, Images, Options, Progress, archive::Limits};
use pintle_store::Store;
use support::{RegistryServer, Scratch, Tar, docker_archive, gzip, load};

const ROUNDS: u64 = 40;

/// Several layers of some size, so that there is a middle to be killed in.
fn layers(seed: u8) -> Vec<Vec<u8>> {
    (0..4u8)
        .map(|layer| {
            (0..40u8).fold(Tar::new().dir("d/"), |tar, file| {
                tar.file(&format!("d/{layer}-{file}"), &vec![seed ^ layer ^ file; 40_000])
            })
        })
        .map(Tar::done)
        .collect()
}

fn open(root: &Path) -> Images {
    Images::open(root, Store::open(&root.join("pintle.redb")).unwrap(), Options::default()).unwrap()
}

/// What the killed process does, again and again.
#[tokio::main]
async fn victim(root: &Path, archive: &Path, name: &str) {
    let images = open(root);
    let bytes = std::fs::read(archive).unwrap();
    let nobody = |_: &ImageId| Vec::<String>::new();
    println!("ready");
    loop {
        load(&images, bytes.clone()).await.unwrap();
        println!("loaded");
        images.remove("kill:load", true, true, &nobody).await.unwrap();
        println!("removed");
        images.pull(&name.parse().unwrap(), None, &Auth::None, &Progress::none()).await.unwrap();
        println!("pulled");
        images.remove(name, true, true, &nobody).await.unwrap();
        println!("removed");
    }
}

#[test]
fn a_killed_store_opens_and_is_whole() {
    if let Ok(root) = std::env::var("IMAGE_KILL_VICTIM") {
        victim(
            Path::new(&root),
            Path::new(&std::env::var("IMAGE_KILL_ARCHIVE").unwrap()),
            &std::env::var("IMAGE_KILL_NAME").unwrap(),
        );
        return;
    }
    let scratch = Scratch::new();
    let server = RegistryServer::start(None, None);
    let name = format!("127.0.0.1:{}/kill:pull", server.port);
    let archive = scratch.path().join("archive.tar");
    std::fs::write(&archive, docker_archive(Some("kill:load"), &layers(1), gzip)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let other = Scratch::new();
        let images = other.images();
        load(&images, docker_archive(Some(&name), &layers(2), gzip)).await.unwrap();
        images.push(&name.parse().unwrap(), &Auth::None, &Progress::none()).await.unwrap();
    });
    let root = scratch.path().join("root");
    std::fs::create_dir_all(&root).unwrap();
    let mut happened = std::collections::BTreeMap::<String, u32>::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_store_opens_and_is_whole", "--nocapture"])
            .env("IMAGE_KILL_VICTIM", &root)
            .env("IMAGE_KILL_ARCHIVE", &archive)
            .env("IMAGE_KILL_NAME", &name)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with("ready")), "the store did not open in round {round}");
        // Every step is hit, at times that fall everywhere but are the same in every run.
        let seen = (0..round % 4).map_while(|_| lines.next()).last();
        std::thread::sleep(Duration::from_millis(round * 7919 % 149));
        child.kill().unwrap();
        child.wait().unwrap();
        let last = lines.last().or(seen).unwrap_or_else(|| "ready".to_owned());
        *happened.entry(last.clone()).or_default() += 1;

        let images = open(&root);
        for image in images.list().unwrap() {
            for (dir, layer) in image.layer_dirs.iter().zip(&image.layers) {
                assert_eq!(std::fs::read_dir(dir.join("d")).unwrap().count(), 40, "{layer} in round {round}");
            }
        }
        if last.ends_with("loaded") || last.ends_with("pulled") {
            // Acknowledged and perhaps removed again by now, but never half of it: get works or says not found.
            let _ = images.get("kill:load");
        }
        let known: usize = images.list().unwrap().iter().map(|image| image.layers.len()).sum();
        let unpacked = std::fs::read_dir(root.join("layers")).unwrap().count() - 1;
        assert!(unpacked <= known, "{unpacked} layers for {known} known in round {round}");
        // Every blob is whole, and held by somebody.
        let held: std::collections::BTreeSet<_> =
            images.blobs().holders().unwrap().into_values().flatten().collect();
        for blob in images.blobs().list().unwrap() {
            assert!(held.contains(&blob), "{blob} leaked in round {round}");
            let bytes = images.blobs().read(&blob, Limits::LAYER.max_bytes).unwrap();
            assert_eq!(pintle_image::Digest::of(&bytes), blob);
        }
    }
    println!("killed after: {happened:?}");
    let images = open(&root);
    runtime.block_on(images.prune(false, &|_| false)).unwrap();
    assert_eq!(images.blobs().list().unwrap(), [], "blobs leaked");
    assert_eq!(std::fs::read_dir(root.join("layers")).unwrap().count(), 1, "layers leaked");
    assert_eq!(std::fs::read_dir(root.join("blobs/partial")).unwrap().count(), 0, "downloads leaked");
}
