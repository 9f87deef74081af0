//! Packages in a registry: pushed, pulled, granted, upgraded. Debian's docker-registry is the registry.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod house;

use std::time::Duration;

use house::{House, Registry, config, is_ready};
use pintle_host::{ErrorKind, Host, PluginAction, PluginState};
use pintle_image::{Auth, Progress, Reference, Scope};
use pintle_wire::config::Privilege;
use serde_json::{Value, json};

const DEFAULT: Duration = Duration::ZERO;

async fn publish(house: &House, host: &Host, name: &str, config: &Value) {
    house.create(host, name, config).await;
    host.push(name, &Auth::None, &Progress::none()).await.unwrap();
    host.remove(name, true).await.unwrap();
}

async fn pull(host: &Host, remote: &str, name: &str) {
    let granted = host.privileges(remote, &Auth::None).await.unwrap();
    host.pull(remote, Some(name), granted, &Auth::None, &Progress::none()).await.unwrap();
}

#[tokio::test]
async fn what_is_pushed_installs_under_any_name_and_is_stored_once() {
    let (house, registry) = (House::new(), Registry::start());
    let host = house.host().await;
    let remote = format!("{}/p/vol:1", registry.address);
    let id = house.create(&host, &remote, &config()).await;
    let (progress, mut lines) = Progress::channel();
    let pushed = host.push(&remote, &Auth::None, &progress).await.unwrap();
    drop(progress);
    assert_eq!(pushed.tag, "1");
    let mut texts = Vec::new();
    while let Some(line) = lines.recv().await {
        texts.push(line.status);
    }
    assert!(
        texts[0].contains(&format!("The push refers to repository [{}/p/vol]", registry.address)),
        "{texts:?}"
    );
    assert_eq!(host.get(&id).unwrap().manifest_digest.as_deref(), Some(pushed.digest.as_str()));

    // Docker's form: the config's own media type, gzip layers, diff ids of the compressed layers.
    let manifest = fetch(&registry, &format!("/v2/p/vol/manifests/{}", pushed.digest));
    assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.docker.plugin.v1+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
    let digest = manifest["config"]["digest"].as_str().unwrap();
    let published = fetch(&registry, &format!("/v2/p/vol/blobs/{digest}"));
    assert_eq!(published["Entrypoint"], json!(["/bin/plugin"]));
    assert_eq!(published["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);

    for name in ["one", "two"] {
        pull(&host, &remote, name).await;
        host.enable(name, DEFAULT).await.unwrap();
    }
    assert_eq!(house.contents().len(), 1);
    let plugin = host.get("one").unwrap();
    assert_eq!((plugin.manifest_digest, plugin.reference), (Some(pushed.digest.clone()), remote.clone()));
    for name in ["one", "two", &id] {
        host.remove(name, true).await.unwrap();
    }
    house.assert_clean();
    // By digest, named by the tag.
    let pinned = format!("{remote}@{}", pushed.digest);
    let granted = host.privileges(&pinned, &Auth::None).await.unwrap();
    host.pull(&pinned, None, granted, &Auth::None, &Progress::none()).await.unwrap();
    assert_eq!(host.list(&Default::default())[0].name, remote);
    host.remove(&remote, false).await.unwrap();
    let pulls: Vec<_> =
        house.events.lock().unwrap().iter().filter(|e| e.action == PluginAction::Pull).cloned().collect();
    assert_eq!((pulls[0].id.as_str(), pulls[0].name.as_str()), (remote.as_str(), "one:latest"));
    house.assert_clean();
    host.shutdown(true).await;
}

fn fetch(registry: &Registry, path: &str) -> Value {
    let output = std::process::Command::new("curl")
        .args(["-sfL", "-H", "Accept: application/vnd.docker.distribution.manifest.v2+json"])
        .arg(format!("http://{}{path}", registry.address))
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn privileges_are_granted_exactly_and_for_one_manifest() {
    let (house, registry) = (House::new(), Registry::start());
    let host = house.host().await;
    let remote = format!("{}/p/vol:1", registry.address);
    let mut wide = config();
    wide["network"] = json!({ "type": "host" });
    wide["mounts"] = json!([{ "name": "d", "type": "bind", "source": "/tmp", "destination": "/d" }]);
    wide["linux"] = json!({ "capabilities": ["CAP_SYS_ADMIN"] });
    publish(&house, &host, &remote, &wide).await;

    let asked = host.privileges(&remote, &Auth::None).await.unwrap();
    let names: Vec<_> = asked.iter().map(|privilege| privilege.name.as_str()).collect();
    assert_eq!(names, ["network", "mount", "capabilities"]);
    let privilege = |name: &str, value: &str| Privilege {
        name: name.into(),
        value: vec![value.into()],
        ..Privilege::default()
    };
    let mut refused: Vec<Vec<Privilege>> = (0..3)
        .map(|left_out| {
            let mut some = asked.clone();
            some.remove(left_out);
            some
        })
        .collect();
    refused.extend((0..3).map(|changed| {
        let mut other = asked.clone();
        other[changed].value = vec!["other".into()];
        other
    }));
    refused.push([asked.clone(), vec![privilege("device", "/dev/fuse")]].concat());
    refused.push(Vec::new());
    for granted in refused {
        let error = host.pull(&remote, Some("v"), granted, &Auth::None, &Progress::none()).await.unwrap_err();
        assert!(error.to_string().contains("incorrect privileges"), "{error}");
    }
    let reversed: Vec<_> = asked.iter().rev().cloned().collect();
    host.pull(&remote, Some("v"), reversed, &Auth::None, &Progress::none()).await.unwrap();
    assert_eq!(host.get("v").unwrap().granted, asked);
    host.remove("v", false).await.unwrap();

    // The tag moves between the question and the answer; what is asked for stays the same.
    let shown = host.privileges(&remote, &Auth::None).await.unwrap();
    wide["description"] = json!("another");
    publish(&house, &host, &remote, &wide).await;
    let error =
        host.pull(&remote, Some("v"), shown.clone(), &Auth::None, &Progress::none()).await.unwrap_err();
    assert!(
        error.to_string().contains("incorrect privileges") && error.to_string().contains("is now sha256:"),
        "{error}"
    );
    house.assert_clean();
    let shown = host.privileges(&remote, &Auth::None).await.unwrap();
    host.pull(&remote, Some("v"), shown, &Auth::None, &Progress::none()).await.unwrap();
    host.remove("v", false).await.unwrap();
    house.assert_clean();
    host.shutdown(true).await;
}

#[tokio::test]
async fn a_registry_that_fails_is_an_error_and_never_an_empty_list() {
    let (house, registry) = (House::new(), Registry::start());
    let host = house.host().await;
    let missing = format!("{}/p/none:1", registry.address);
    let error = host.privileges(&missing, &Auth::None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let address = registry.address.clone();
    drop(registry);
    let error = host.privileges(&format!("{address}/p/vol:1"), &Auth::None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = host.privileges("UPPER CASE", &Auth::None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    host.shutdown(true).await;
}

#[tokio::test]
async fn an_upgrade_keeps_what_the_user_changed_and_goes_back_if_it_must() {
    let (house, registry) = (House::new(), Registry::start());
    let host = house.host().await;
    let at = |tag: &str| format!("{}/p/vol:{tag}", registry.address);
    let mut two = config();
    two["description"] = json!("two");
    two["env"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "NEW", "settable": ["value"], "value": "default" }));
    let mut broken = config();
    broken["description"] = json!("broken");
    broken["interface"]["socket"] = json!("moved.sock");
    let mut unset = config();
    unset["description"] = json!("unset");
    unset["mounts"] =
        json!([{ "name": "d", "type": "bind", "source": "", "destination": "/d", "settable": ["source"] }]);
    publish(&house, &host, &at("1"), &config()).await;
    publish(&house, &host, &at("2"), &two).await;
    publish(&house, &host, &at("broken"), &broken).await;
    publish(&house, &host, &at("unset"), &unset).await;
    house.assert_clean();

    pull(&host, &at("1"), "v").await;
    let id = host.get("v").unwrap().id;
    host.set("v", &["DELAY=0.1".into(), "args=mine".into()]).await.unwrap();
    host.enable("v", Duration::from_secs(2)).await.unwrap();
    let kept = house.path().join("data/plugins").join(&id).join("propagated-mount/kept");
    std::fs::create_dir(&kept).unwrap();
    let error = upgrade(&host, &at("2")).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin must be disabled before upgrading: plugin v:latest is enabled");
    host.disable("v", false).await.unwrap();

    let error = upgrade(&host, &at("broken")).await.unwrap_err().to_string();
    assert!(error.contains("the old one was put back") && error.contains("wrong socket"), "{error}");
    let plugin = host.get("v").unwrap();
    assert_eq!(
        (plugin.config.description.as_str(), plugin.state, plugin.reference),
        ("one", PluginState::Disabled, at("1"))
    );
    host.enable("v", DEFAULT).await.unwrap();
    host.disable("v", false).await.unwrap();
    assert_eq!(house.contents().len(), 1, "nothing of the broken version is left");

    upgrade(&host, &at("2")).await.unwrap();
    let plugin = host.get("v").unwrap();
    assert_eq!(
        (plugin.id.as_str(), plugin.config.description.as_str(), plugin.enabled),
        (id.as_str(), "two", false)
    );
    assert_eq!(plugin.settings.args, ["mine"]);
    for expected in ["DELAY=0.1", "MODE=", "NEW=default"] {
        assert!(plugin.settings.env.contains(&expected.to_owned()), "{:?}", plugin.settings.env);
    }
    assert!(kept.exists());
    host.enable("v", DEFAULT).await.unwrap();
    assert!(is_ready(&host.get("v").unwrap()));
    host.disable("v", false).await.unwrap();

    // A version that only lacks a setting is the user's to complete.
    upgrade(&host, &at("unset")).await.unwrap();
    let error = host.enable("v", DEFAULT).await.unwrap_err().to_string();
    assert!(error.contains("mount source is not specified"), "{error}");
    host.set("v", &["d.source=/tmp".into()]).await.unwrap();
    host.enable("v", DEFAULT).await.unwrap();
    host.remove("v", true).await.unwrap();
    house.assert_clean();
    host.shutdown(true).await;
}

#[tokio::test]
async fn a_setting_stays_within_what_was_granted_or_is_granted_itself() {
    let (house, registry) = (House::new(), Registry::start());
    let host = house.host().await;
    let at = |tag: &str| format!("{}/p/vol:{tag}", registry.address);
    let dir = |name: &str| {
        let path = house.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (data, inner, other, third) = (dir("granted"), dir("granted/inner"), dir("other"), dir("third"));
    let asking = |source: &str| {
        let mut config = config();
        let mount = |name: &str, source: &str| {
            json!({ "name": name, "type": "bind", "source": source, "destination": format!("/{name}"),
                    "options": ["bind"], "settable": ["source"] })
        };
        config["mounts"] = json!([mount("d", source), mount("blank", "")]);
        config["linux"] =
            json!({ "devices": [{ "name": "dev", "path": "/dev/null", "settable": ["path"] }] });
        config
    };
    publish(&house, &host, &at("1"), &asking(&data)).await;
    publish(&house, &host, &at("2"), &asking(&other)).await;

    pull(&host, &at("1"), "v").await;
    let set = async |args: &[&str]| {
        host.set("v", &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>()).await
    };
    let source = |name: &str| {
        let mounts = host.get("v").unwrap().settings.mounts;
        mounts.into_iter().find(|mount| mount.name == name).unwrap().source.unwrap()
    };
    // Below what was granted, and back.
    set(&[&format!("d.source={inner}")]).await.unwrap();
    set(&[&format!("d.source={data}")]).await.unwrap();
    for beyond in [
        "d.source=/",
        &format!("d.source={other}"),
        &format!("d.source={data}/../other"),
        "dev.path=/dev/mem",
    ] {
        let error = set(&["DELAY=0.1", beyond]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("was not granted") && text.contains(&format!("--grant v:latest {beyond}")),
            "{text}"
        );
        let settings = host.get("v").unwrap().settings;
        assert!(!settings.env.contains(&"DELAY=0.1".to_owned()), "all or nothing");
        assert_eq!(source("d"), data);
    }
    // What was left open is granted by what it is first filled in with, and not again.
    set(&[&format!("blank.source={third}")]).await.unwrap();
    assert_eq!(set(&["blank.source=/"]).await.unwrap_err().kind(), ErrorKind::Forbidden);
    set(&["blank.source="]).await.unwrap();
    assert_eq!(set(&["blank.source=/"]).await.unwrap_err().kind(), ErrorKind::Forbidden);
    set(&[&format!("blank.source={third}")]).await.unwrap();
    // With the operator's word, which is shown and remembered.
    host.set_and_grant("v", &[format!("d.source={other}"), "dev.path=/dev/zero".into()]).await.unwrap();
    set(&[&format!("d.source={data}")]).await.unwrap();
    set(&[&format!("d.source={other}")]).await.unwrap();
    let granted = host.get("v").unwrap().granted;
    assert!(granted.iter().any(|privilege| privilege.value == [other.as_str()]), "{granted:?}");
    host.enable("v", DEFAULT).await.unwrap();
    host.disable("v", false).await.unwrap();
    set(&["dev.path=/dev/null"]).await.unwrap();

    // An override within the old grant may be beyond the new one.
    set(&[&format!("d.source={inner}")]).await.unwrap();
    let error = upgrade(&host, &at("2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    assert!(error.to_string().contains(&format!("--grant v:latest d.source={inner}")), "{error}");
    assert_eq!(host.get("v").unwrap().reference, at("1"));
    host.set_and_grant("v", &[format!("d.source={inner}")]).await.unwrap();
    upgrade(&host, &at("2")).await.unwrap();
    assert_eq!((source("d"), source("blank")), (inner, third));
    host.enable("v", DEFAULT).await.unwrap();
    host.remove("v", true).await.unwrap();

    // Nobody was asked about one that is made here, so nothing is refused.
    house.create(&host, "own", &asking(&data)).await;
    host.set("own", &["d.source=/".into()]).await.unwrap();
    host.remove("own", true).await.unwrap();
    house.assert_clean();
    host.shutdown(true).await;
}

#[tokio::test]
async fn an_oci_package_with_other_compression_installs_and_is_pushed_in_dockers_form() {
    let (house, registry) = (House::new(), Registry::start());
    let remote = format!("{}/p/oci:1", registry.address);
    let images = house.images();
    let reference: Reference = remote.parse().unwrap();
    let layer = house.plain_layer();
    let (layer, size) = (images.blobs().put(&layer).unwrap(), layer.len());
    let config = config().to_string();
    let digest = images.blobs().put(config.as_bytes()).unwrap();
    for blob in [&layer, &digest] {
        let (registry, none) = (images.registry(), Progress::none());
        registry.push_blob(&reference, &Auth::None, Scope::Plugin, blob, &none).await.unwrap();
    }
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "artifactType": "application/vnd.docker.plugin.v1+json",
        "config": { "mediaType": "application/vnd.docker.plugin.v1+json", "digest": digest, "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size }],
    })
    .to_string();
    let bytes = manifest.as_bytes();
    images.registry().push_manifest(&reference, &Auth::None, Scope::Plugin, kind, bytes).await.unwrap();
    drop(images);

    let host = house.host().await;
    pull(&host, &remote, &remote).await;
    host.enable(&remote, DEFAULT).await.unwrap();
    let pushed = host.push(&remote, &Auth::None, &Progress::none()).await.unwrap();
    let manifest = fetch(&registry, &format!("/v2/p/oci/manifests/{}", pushed.digest));
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
    let published =
        fetch(&registry, &format!("/v2/p/oci/blobs/{}", manifest["config"]["digest"].as_str().unwrap()));
    assert_eq!(published["rootfs"]["diff_ids"], json!([layer]));
    pull(&host, &remote, "again").await;
    host.enable("again", DEFAULT).await.unwrap();
    for name in [remote.as_str(), "again"] {
        host.remove(name, true).await.unwrap();
    }
    host.shutdown(true).await;
}

#[tokio::test]
async fn an_image_is_no_plugin() {
    let (house, registry) = (House::new(), Registry::start());
    let remote = format!("{}/p/image:1", registry.address);
    let images = house.images();
    let reference: Reference = remote.parse().unwrap();
    let config = images.blobs().put(b"{}").unwrap();
    let none = Progress::none();
    images.registry().push_blob(&reference, &Auth::None, Scope::Plugin, &config, &none).await.unwrap();
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": { "mediaType": "application/vnd.docker.container.image.v1+json", "digest": config, "size": 2 },
        "layers": [],
    })
    .to_string();
    let bytes = manifest.as_bytes();
    images.registry().push_manifest(&reference, &Auth::None, Scope::Plugin, kind, bytes).await.unwrap();
    drop(images);
    let host = house.host().await;
    let error = host.privileges(&remote, &Auth::None).await.unwrap_err().to_string();
    let expected =
        "Encountered remote \"application/vnd.docker.container.image.v1+json\"(image) when fetching";
    assert!(error.contains(expected), "{error}");
    host.shutdown(true).await;
}

async fn upgrade(host: &Host, remote: &str) -> Result<(), pintle_host::HostError> {
    let granted = host.privileges(remote, &Auth::None).await?;
    host.upgrade("v", remote, granted, &Auth::None, &Progress::none()).await
}
