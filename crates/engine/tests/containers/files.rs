use std::io::Read;

use pintle_engine::{ErrorKind, containers::CopyIn};
use tokio::io::AsyncReadExt;

use crate::house::{House, patience};

fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content).unwrap();
    tar.into_inner().unwrap()
}

fn entries(bytes: &[u8]) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(bytes);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut text = String::new();
            let _ = entry.read_to_string(&mut text);
            (name, text)
        })
        .collect()
}

async fn check(house: &House, id: &str) {
    let put = |path: &'static str, name: &str, text: &str| {
        let tar = std::io::Cursor::new(tar_of(name, text.as_bytes()));
        house.containers.copy_in(id, path, tar, CopyIn::default())
    };
    put("/tmp", "a", "in the root").await.unwrap();
    put("/data", "b", "in the volume").await.unwrap();
    assert_eq!(std::fs::read_to_string(house.dir.join("volumes/data/b")).unwrap(), "in the volume");
    let (stat, mut archive) = house.containers.copy_out(id, "/data/b").await.unwrap();
    assert_eq!((stat.name.as_str(), stat.size), ("b", 13));
    let mut bytes = Vec::new();
    patience(archive.tar.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(entries(&bytes), [("b".to_owned(), "in the volume".to_owned())]);
    drop(archive);
    assert_eq!(house.containers.stat_path(id, "/tmp/a").await.unwrap().size, 11);
    let error = house.containers.stat_path(id, "/nope").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.message, format!("Could not find the file /nope in container {id}"));
}

pub async fn copies_and_looks() {
    let house = House::new().await;
    let mut spec = house.shell("mkdir -p /tmp; echo n > /new; rm /etc/group; sleep 60");
    spec.binds = vec!["data:/data".into()];
    let id = house.create(spec).await;
    // Before its first start, while it runs, and after.
    check(&house, &id).await;
    crate::house::until("the view was closed", || house.driver.held().is_empty()).await;
    house.containers.start(&id).await.unwrap();
    check(&house, &id).await;
    crate::house::until("it wrote", || {
        house.dir.join("data/containers").join(&id).join("rw/diff/new").exists()
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    patience(house.containers.kill(&id, "")).await.unwrap();
    check(&house, &id).await;
    let mut archive = house.containers.export(&id).await.unwrap();
    let mut bytes = Vec::new();
    patience(archive.tar.read_to_end(&mut bytes)).await.unwrap();
    let names: Vec<String> = entries(&bytes).into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().any(|name| name.trim_end_matches('/') == "tmp/a"), "{names:?}");
    assert!(!names.iter().any(|name| name == "data/b"), "an export has no volumes");
    let changes = house.containers.changes(&id).await.unwrap();
    let find = |path: &str| {
        changes.iter().find(|change| change.path == path).map(|change| format!("{:?}", change.kind))
    };
    assert_eq!(find("/new").as_deref(), Some("Added"));
    assert_eq!(find("/etc/group").as_deref(), Some("Deleted"));
    assert!(house.containers.size(&id).await.unwrap().rw > 0);
    drop(archive);
    house.gone(&id).await;
    crate::house::until("nothing is mounted", || house.driver.held().is_empty()).await;
    house.close().await;
}
