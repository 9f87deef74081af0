//! The image store without a registry.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{io::Cursor, path::Path, process::Command};

use pintle_image::{Change, ChangeKind, ErrorKind, ImageId, Images, Progress, Removed};
use support::{Scratch, Tar, busybox, docker_archive, drain, gzip, load, upper};

fn nobody(_: &ImageId) -> Vec<String> {
    Vec::new()
}

async fn saved(images: &Images, names: &[&str]) -> Vec<u8> {
    let (reader, writer) = tokio::io::duplex(1 << 16);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let images = images.clone();
    let saving = tokio::spawn(async move { images.save(&names, writer).await });
    let mut bytes = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut { reader }, &mut bytes).await.unwrap();
    saving.await.unwrap().unwrap();
    bytes
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn load_list_mount_diff_remove() {
    let scratch = Scratch::new();
    let images = scratch.images();
    let (progress, mut events) = Progress::channel();
    let archive = docker_archive(Some("box:1"), &[busybox(), upper()], gzip);
    let loaded = images.load(Cursor::new(archive), None, &progress).await.unwrap();
    assert_eq!(loaded[0].tags, ["box:1"]);
    assert!(drain(&mut events).iter().any(|event| event.status == "Loaded image: box:1"));

    let image = images.get("box:1").unwrap();
    assert_eq!(images.get(&image.id.hex()[..5]).unwrap().id, image.id);
    assert_eq!(images.get(image.id.as_str()).unwrap().id, image.id);
    assert_eq!(image.config.config.env, ["A=b"]);
    assert_eq!(images.list().unwrap().len(), 1);
    assert_eq!(images.history("box:1").unwrap().len(), 2);
    assert_eq!(images.disk_usage().unwrap().layers_size, image.size);
    assert_eq!(images.get("box").unwrap_err().to_string(), "No such image: box:latest");

    let dir = scratch.path().join("containers/c1");
    images.create_rootfs("c1", &dir, &image.id).await.unwrap();
    let merged = images.mount_rootfs("c1", &dir).await.unwrap();
    assert_eq!(images.mount_rootfs("c1", &dir).await.unwrap(), merged);
    assert!(!merged.join("etc/passwd").exists(), "a whiteout does not hide");
    let names: Vec<_> =
        std::fs::read_dir(merged.join("var/lib")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["c"], "an opaque directory does not hide");
    let output = Command::new("chroot")
        .arg(&merged)
        .args([
            "/bin/sh",
            "-c",
            "echo hi > /etc/new; echo x >> /etc/motd; /bin/busybox rm /var/lib/c; /bin/busybox cat /etc/motd",
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\nx\n");
    let change = |path: &str, kind| Change { path: path.to_owned(), kind };
    assert_eq!(
        images.changes("c1", &dir).await.unwrap(),
        [
            change("/etc", ChangeKind::Modified),
            change("/etc/motd", ChangeKind::Modified),
            change("/etc/new", ChangeKind::Added),
            change("/var", ChangeKind::Modified),
            change("/var/lib", ChangeKind::Modified),
            change("/var/lib/c", ChangeKind::Deleted),
        ]
    );

    let used = |_: &ImageId| vec!["abcdefabcdefabcdef".to_owned()];
    let error = images.remove("box:1", false, true, &used).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to remove repository reference \"box:1\" (must force) - container abcdefabcdef is using its referenced image {}",
            image.id.short()
        )
    );
    // By force the image goes and the container keeps its layers, over a restart too.
    images.remove("box:1", true, true, &used).await.unwrap();
    images.get("box:1").unwrap_err();
    images.unmount_rootfs("c1", &dir).await.unwrap();
    images.unmount_rootfs("c1", &dir).await.unwrap();
    drop(images);
    let images = scratch.images();
    let merged = images.mount_rootfs("c1", &dir).await.unwrap();
    assert_eq!(std::fs::read_to_string(merged.join("etc/new")).unwrap(), "hi\n");
    images.remove_rootfs("c1", &dir).await.unwrap();
    images.remove_rootfs("c1", &dir).await.unwrap();
    assert_eq!(count(&dir), 0);
    assert_eq!(count(&scratch.path().join("root/layers")), 1, "layers stay although nobody needs them");
    assert_eq!(images.blobs().list().unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_saved_loads_to_the_same_images() {
    let scratch = Scratch::new();
    let images = scratch.images();
    load(&images, docker_archive(Some("a:1"), &[busybox(), upper()], gzip)).await.unwrap();
    load(&images, docker_archive(Some("b:2"), &[busybox()], |layer| zstd::encode_all(layer, 3).unwrap()))
        .await
        .unwrap();
    images.tag("a:1", &"a:latest".parse().unwrap()).unwrap();
    let bytes = saved(&images, &["a", "b:2"]).await;
    assert!(bytes == saved(&images, &["a", "b:2"]).await, "saving twice gives two archives");

    let other = Scratch::new();
    let again = other.images();
    let mut loaded = load(&again, bytes.clone()).await.unwrap();
    loaded.iter_mut().for_each(|loaded| loaded.tags.sort());
    assert_eq!(loaded.len(), 2);
    for name in ["a:1", "a:latest", "b:2"] {
        let (before, after) = (images.get(name).unwrap(), again.get(name).unwrap());
        assert_eq!((before.id, before.size, before.layers), (after.id, after.size, after.layers));
    }
    assert!(bytes == saved(&again, &["a", "b:2"]).await);

    // The OCI half of the archive alone says the same, and so does skopeo.
    let file = scratch.path().join("saved.tar");
    std::fs::write(&file, &bytes).unwrap();
    let by_id = saved(&images, &[images.get("b:2").unwrap().id.as_str()]).await;
    let third = Scratch::new();
    let third_images = third.images();
    assert_eq!(load(&third_images, by_id).await.unwrap()[0].tags, Vec::<String>::new());
    let layout = scratch.path().join("oci.tar");
    let (from, to) = (
        format!("docker-archive:{}:b:2", file.display()),
        format!("oci-archive:{}:docker.io/library/b:3", layout.display()),
    );
    let output = Command::new("skopeo").args(["--insecure-policy", "copy", &from, &to]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let loaded = load(&third_images, std::fs::read(&layout).unwrap()).await.unwrap();
    assert_eq!(loaded[0].tags, ["b:3"]);
    assert_eq!(third_images.get("b:3").unwrap().layers, images.get("b:2").unwrap().layers);
}

#[tokio::test(flavor = "multi_thread")]
async fn import_applies_its_changes() {
    let scratch = Scratch::new();
    let images = scratch.images();
    let changes = [r#"CMD ["/bin/sh"]"#.to_owned(), "ENV X=y".to_owned(), "LABEL a=b".to_owned()];
    let name = "imported:v1".parse().unwrap();
    let id = images
        .import(
            Cursor::new(gzip(&busybox())),
            Some(&name),
            &changes,
            "Imported from -",
            None,
            &Progress::none(),
        )
        .await
        .unwrap();
    let image = images.get("imported:v1").unwrap();
    assert_eq!(image.id, id);
    assert_eq!(image.config.config.cmd.as_deref(), Some(&["/bin/sh".to_owned()][..]));
    assert_eq!(image.config.comment, "Imported from -");
    assert_eq!(pintle_image::Digest::of(&image.raw), *id.digest());
    let bad =
        images.import(Cursor::new(busybox()), None, &["RUN x".to_owned()], "", None, &Progress::none()).await;
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::InvalidArgument);
    images
        .import(Cursor::new(b"junk".repeat(200)), None, &[], "", None, &Progress::none())
        .await
        .unwrap_err();
    assert_eq!(images.blobs().list().unwrap().len(), 2, "a failed import leaves blobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_their_removal_follow_dockers_rules() {
    let scratch = Scratch::new();
    let images = scratch.images();
    let id = load(&images, docker_archive(Some("one:1"), &[busybox()], gzip)).await.unwrap()[0].id.clone();
    images.tag("one:1", &"two:1".parse().unwrap()).unwrap();
    let error = images.remove(id.short(), false, true, &nobody).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
            id.short()
        )
    );
    assert_eq!(
        images.remove("two:1", false, true, &nobody).await.unwrap(),
        [Removed::Untagged("two:1".to_owned())]
    );
    let running = |_: &ImageId| vec![pintle_image::Holder { container: "f".repeat(64), running: true }];
    let error = images.remove(id.as_str(), true, true, &running).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("(cannot be forced) - image is being used by running container ffffffffffff"),
        "{error}"
    );

    // Another image takes the name; the first is left dangling and is pruned.
    load(&images, docker_archive(Some("one:1"), &[upper()], gzip)).await.unwrap();
    assert_eq!(images.get(id.as_str()).unwrap().repo_tags, Vec::<String>::new());
    let (removed, freed) = images.prune(true, &|_| false).await.unwrap();
    assert!(removed.contains(&Removed::Deleted(id.to_string())) && freed > 0, "{removed:?} {freed}");
    assert_eq!(images.list().unwrap().len(), 1);
    let (_, _) = images.prune(false, &|_| false).await.unwrap();
    assert_eq!(images.list().unwrap().len(), 0);
    assert_eq!(images.blobs().list().unwrap(), []);
    let gone = images.remove("one:1", false, true, &nobody).await.unwrap_err();
    assert_eq!((gone.kind(), gone.to_string().as_str()), (ErrorKind::NotFound, "No such image: one:1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_and_broken_archives_leave_the_store_as_it_was() {
    let scratch = Scratch::new();
    let images = scratch.images();
    let lying = {
        let good = docker_archive(Some("x"), &[busybox()], gzip);
        let wrong = docker_archive(Some("x"), &[upper()], gzip);
        // The layer of one with the configuration of the other.
        let layer = tar::Archive::new(&wrong[..]).entries().unwrap().next().unwrap().map(|mut entry| {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            bytes
        });
        let mut tar = Tar::new();
        for entry in tar::Archive::new(&good[..]).entries().unwrap().skip(1) {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            tar = tar.file(&entry.path().unwrap().display().to_string(), &bytes);
        }
        tar.file("0/layer.tar", &layer.unwrap()).done()
    };
    let escaping = docker_archive(Some("x"), &[Tar::new().file("../../../x", b"").done()], gzip);
    let mut cut = docker_archive(Some("x"), &[busybox()], gzip);
    cut.truncate(cut.len() / 2);
    let empty = Tar::new().done();
    for (what, bytes) in [("lying", lying), ("escaping", escaping), ("cut", cut), ("empty", empty)] {
        load(&images, bytes).await.expect_err(what);
        assert_eq!(images.blobs().list().unwrap(), [], "{what}");
        assert_eq!(count(&scratch.path().join("root/layers")), 1, "{what}");
        assert_eq!(count(&scratch.path().join("root/layers/tmp")), 0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_layers_mount() {
    let scratch = Scratch::new();
    let images = scratch.images();
    let layers: Vec<Vec<u8>> =
        (0..400).map(|at| Tar::new().file(&format!("f{at}"), at.to_string().as_bytes()).done()).collect();
    let id = load(&images, docker_archive(None, &layers, <[u8]>::to_vec)).await.unwrap()[0].id.clone();
    let dir = scratch.path().join("c");
    images.create_rootfs("c", &dir, &id).await.unwrap();
    let merged = images.mount_rootfs("c", &dir).await.unwrap();
    assert_eq!(std::fs::read_to_string(merged.join("f0")).unwrap(), "0");
    assert_eq!(std::fs::read_to_string(merged.join("f399")).unwrap(), "399");
    images.remove_rootfs("c", &dir).await.unwrap();
}
