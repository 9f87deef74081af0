//! What the protocol reference says of volumes, one story each.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use pintle_contract::{MountId, Value};
use pintle_store::Store;

use super::{
    super::{ANONYMOUS, Budgets, Filters, PruneFilters, Reference, Use, Volumes},
    fake::{Mood, World, impatient, open},
};
use crate::{ErrorKind, events::Events};

struct Scene {
    world: Arc<World>,
    store: Store,
    volumes: Volumes,
    events: Events,
}

fn scene() -> Scene {
    scene_with(impatient())
}

fn scene_with(budgets: Budgets) -> Scene {
    let (world, store) = (Arc::new(World::default()), Store::in_memory().unwrap());
    let (volumes, events) = open(&world, &store, budgets);
    Scene { world, store, volumes, events }
}

impl Scene {
    async fn create(&self, name: &str, driver: &str) -> Result<super::super::Volume, crate::EngineError> {
        self.volumes.create(Some(name), driver, BTreeMap::new(), BTreeMap::new()).await
    }

    /// The engine dies and another starts.
    fn restart(&mut self) {
        (self.volumes, self.events) = open(&self.world, &self.store, impatient());
    }

    fn actions(&self) -> Vec<String> {
        let (past, _live) = self.events.subscribe(Some(0), None);
        past.into_iter().map(|event| format!("{} {}", event.action, event.actor_id)).collect()
    }

    async fn names(&self, filters: &Filters) -> Vec<String> {
        self.volumes.list(filters).await.0.into_iter().map(|volume| volume.name).collect()
    }
}

fn id(text: &str) -> MountId {
    MountId(text.to_owned())
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(5), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_mount_in_passing_is_owed_its_unmount_from_the_start() {
    let mut scene = scene();
    scene.create("v", "d1").await.unwrap();
    scene.volumes.mount("v", "c", &id("own")).await.unwrap();
    let own = BTreeMap::from([(("v".to_owned(), "own".to_owned()), 1)]);
    scene.volumes.pass("v", "c").await.unwrap().end().await;
    assert_eq!((scene.world.d1.counts(), scene.world.d1.calls("Unmount")), (own.clone(), 1));
    drop(scene.volumes.pass("v", "c").await.unwrap());
    eventually("it is unmounted", || scene.world.d1.counts() == own).await;
    // The engine dies while somebody looks.
    let passing = scene.volumes.pass("v", "c").await.unwrap();
    assert_eq!(scene.world.d1.counts().len(), 2);
    std::mem::forget(passing);
    scene.restart();
    scene.volumes.restore(vec![Reference {
        volume: "v".into(),
        container: "c".into(),
        mounts: vec![id("own")],
    }]);
    scene.volumes.reconcile().await;
    eventually("it is unmounted", || scene.world.d1.counts() == own).await;
    // One that the driver refuses leaves nothing.
    scene.world.d1.mood("Mount", Mood::Refuses);
    assert!(scene.volumes.pass("v", "c").await.is_err());
    assert_eq!(scene.world.d1.counts(), own);
}

#[tokio::test]
async fn what_exists_is_returned_unchanged() {
    let scene = scene();
    let labels = map(&[("a", "1")]);
    let first = scene.volumes.create(Some("v"), "d1", map(&[("o", "x")]), labels.clone()).await.unwrap();
    assert_eq!((first.driver.as_str(), &first.labels), ("d1", &labels));
    assert!(first.mountpoint.is_some());
    let again = scene.volumes.create(Some("v"), "d1", map(&[("o", "y")]), BTreeMap::new()).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(scene.create("v", "").await.unwrap(), first);
    let error = scene.create("v", "d2").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.to_string(), "create v: driver 'd1' already has volume 'v': volume name must be unique");
    assert_eq!(scene.actions(), ["create v"]);
    assert_eq!(scene.world.leases(), [("d1".to_owned(), "v".to_owned())].into());
    assert_eq!(scene.world.d1.calls("Create"), 1);
}

#[tokio::test]
async fn nobody_named_it() {
    let scene = scene();
    let volume = scene.volumes.create(None, "", BTreeMap::new(), BTreeMap::new()).await.unwrap();
    assert_eq!(volume.driver, "local");
    assert!(volume.name.len() == 64 && volume.name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(volume.labels, map(&[(ANONYMOUS, "")]));
    assert_eq!(scene.world.d1.calls("Get"), 0, "nobody can have a random name");
}

#[tokio::test]
async fn texts_of_drivers_that_are_not_there() {
    let scene = scene();
    let error = scene.create("v", "nosuch").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "create v: error looking up volume plugin nosuch: plugin \"nosuch\" not found"
    );
    scene.create("v", "d1").await.unwrap();
    scene.world.take_away("d1", ErrorKind::Conflict);
    let error = scene.volumes.inspect("v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.to_string(),
        "get v: error while checking if volume \"v\" exists in driver \"d1\": error looking up volume plugin d1: \
         plugin d1 found but disabled"
    );
    assert_eq!(scene.volumes.remove("v", true).await.unwrap_err().kind(), ErrorKind::Conflict);
    let (volumes, warnings) = scene.volumes.list(&Filters::default()).await;
    assert_eq!(volumes.len(), 1);
    assert_eq!(warnings, ["list d1: error looking up volume plugin d1: plugin d1 found but disabled"]);
    assert_eq!(scene.volumes.inspect("w").await.unwrap_err().to_string(), "get w: no such volume");
}

#[tokio::test]
async fn a_driver_that_refuses_leaves_nothing() {
    let scene = scene();
    scene.world.d1.mood("Create", Mood::Refuses);
    let error = scene.create("v", "d1").await.unwrap_err();
    assert_eq!(error.to_string(), "create v: no Create today");
    assert!(scene.world.leases().is_empty());
    assert!(scene.names(&Filters::default()).await.is_empty());
    scene.world.d1.calm();
    scene.create("v", "d2").await.unwrap();
}

#[tokio::test]
async fn removed_behind_our_back() {
    let scene = scene();
    scene.create("v", "d1").await.unwrap();
    scene.world.d1.lose("v");
    assert_eq!(scene.volumes.inspect("v").await.unwrap_err().kind(), ErrorKind::NotFound);
    scene.volumes.reference("v", "c1");
    assert_eq!(scene.create("v", "d1").await.unwrap_err().kind(), ErrorKind::Conflict);
    scene.volumes.unreference("v", "c1");
    scene.create("v", "d2").await.unwrap();
    assert_eq!(scene.world.leases(), [("d2".to_owned(), "v".to_owned())].into());

    scene.create("w", "d1").await.unwrap();
    scene.world.d1.lose("w");
    assert_eq!(scene.volumes.remove("w", false).await.unwrap_err().to_string(), "get w: no such volume");
    scene.volumes.remove("w", true).await.unwrap();
}

#[tokio::test]
async fn without_a_driver_all_are_asked_for_the_name() {
    let scene = scene();
    scene.world.d2.add("theirs");
    assert_eq!(scene.volumes.inspect("theirs").await.unwrap().driver, "d2");
    assert_eq!(scene.create("theirs", "").await.unwrap().driver, "d2");
    assert_eq!(scene.world.local.calls("Create") + scene.world.d2.calls("Create"), 0);
    // A driver that hangs is asked once and delays others only by that.
    scene.world.d1.all(Mood::Hangs);
    assert_eq!(scene.create("mine", "").await.unwrap().driver, "local");
    let start = Instant::now();
    scene.create("mine2", "").await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(20), "{:?}", start.elapsed());
}

#[tokio::test]
async fn in_use() {
    let scene = scene();
    scene.volumes.create_for("c2", Some("v"), "d1", BTreeMap::new(), BTreeMap::new()).await.unwrap();
    scene.volumes.reference("v", "c1");
    for force in [false, true] {
        let error = scene.volumes.remove("v", force).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(error.to_string(), "remove v: volume is in use - [c1, c2]");
    }
    scene.volumes.unreference("v", "c1");
    scene.volumes.unreference("v", "c2");
    scene.volumes.remove("v", false).await.unwrap();
    assert_eq!(scene.actions(), ["create v", "destroy v"]);
    assert!(scene.world.leases().is_empty());
    assert_eq!(scene.volumes.remove("v", false).await.unwrap_err().kind(), ErrorKind::NotFound);
    scene.volumes.remove("v", true).await.unwrap();
}

#[tokio::test]
async fn an_orphan_is_listed_and_can_be_forgotten() {
    let scene = scene();
    scene.create("v", "d1").await.unwrap();
    scene.world.take_away("d1", ErrorKind::NotFound);
    let (volumes, warnings) = scene.volumes.list(&Filters::default()).await;
    assert_eq!(volumes[0].driver, "d1");
    assert_eq!(warnings, ["list d1: error looking up volume plugin d1: plugin \"d1\" not found"]);
    assert_eq!(scene.volumes.remove("v", false).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(scene.volumes.references("v").len(), 0);
    scene.volumes.remove("v", true).await.unwrap();
    assert!(scene.names(&Filters::default()).await.is_empty());
}

#[tokio::test]
async fn filters() {
    let scene = scene();
    scene.volumes.create(Some("data-1"), "d1", BTreeMap::new(), map(&[("a", "1"), ("b", "")])).await.unwrap();
    scene.volumes.create(Some("data-2"), "d2", BTreeMap::new(), map(&[("a", "2")])).await.unwrap();
    scene.create("other", "local").await.unwrap();
    scene.volumes.reference("data-1", "c1");
    let list = async |pairs: &[(&str, &[&str])]| {
        let filters: BTreeMap<String, Vec<String>> = pairs
            .iter()
            .map(|(key, values)| {
                ((*key).to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
            })
            .collect();
        match Filters::new(&filters) {
            Ok(filters) => scene.names(&filters).await,
            Err(error) => vec![error.to_string()],
        }
    };
    assert_eq!(list(&[]).await, ["data-1", "data-2", "other"]);
    assert_eq!(list(&[("dangling", &["true"])]).await, ["data-2", "other"]);
    assert_eq!(list(&[("dangling", &["0"])]).await, ["data-1"]);
    assert_eq!(list(&[("driver", &["d1", "local"])]).await, ["data-1", "other"]);
    assert_eq!(list(&[("label", &["a"])]).await, ["data-1", "data-2"]);
    assert_eq!(list(&[("label", &["a=1", "b"])]).await, ["data-1"]);
    assert_eq!(list(&[("name", &["data"])]).await, ["data-1", "data-2"]);
    assert_eq!(list(&[("name", &["^o.*r$"])]).await, ["other"]);
    assert_eq!(list(&[("name", &["("])]).await, Vec::<String>::new());
    assert_eq!(list(&[("colour", &["red"])]).await, ["invalid filter 'colour'"]);
    assert_eq!(list(&[("dangling", &["maybe"])]).await, ["invalid filter 'dangling=[maybe]'"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_driver_costs_lists_and_inspects_less_than_half_a_second() {
    let scene = scene_with(Budgets::default());
    for (name, driver) in [("a", "d1"), ("b", "d2"), ("c", "local")] {
        scene.create(name, driver).await.unwrap();
    }
    scene.world.d1.add("theirs");
    assert_eq!(scene.names(&Filters::default()).await, ["a", "b", "c", "theirs"]);
    for mood in [Mood::Hangs, Mood::HangsAfter] {
        scene.world.d1.all(mood);
        for round in 0..3 {
            let start = Instant::now();
            let (volumes, warnings) = scene.volumes.list(&Filters::default()).await;
            assert!(start.elapsed() < Duration::from_millis(450), "round {round}: {:?}", start.elapsed());
            let names: Vec<_> = volumes.iter().map(|volume| volume.name.as_str()).collect();
            assert_eq!(names, ["a", "b", "c", "theirs"]);
            assert_eq!(warnings.len(), 1);
            assert!(warnings[0].starts_with("list d1: "), "{warnings:?}");
        }
        let start = Instant::now();
        let volume = scene.volumes.inspect("a").await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(450), "{:?}", start.elapsed());
        assert!(matches!(volume.status.get("error"), Some(Value::String(_))), "{volume:?}");
        let start = Instant::now();
        scene.create("unrelated", "").await.unwrap();
        scene.volumes.remove("unrelated", false).await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    }
    // What changes meanwhile is seen, whatever the driver last said.
    scene.world.d2.all(Mood::Hangs);
    scene.world.d2.mood("Remove", Mood::Works);
    scene.world.d2.mood("Get", Mood::Works);
    scene.volumes.remove("b", false).await.unwrap();
    assert_eq!(scene.names(&Filters::default()).await, ["a", "c", "theirs"]);
}

#[tokio::test]
async fn a_volume_does_not_wait_for_another_ones_mount() {
    let scene = scene_with(Budgets::default());
    scene.create("a", "d1").await.unwrap();
    scene.create("b", "d2").await.unwrap();
    scene.world.d1.mood("Mount", Mood::Hangs);
    let volumes = scene.volumes.clone();
    let hung = tokio::spawn(async move { volumes.mount("a", "c1", &id("1")).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let start = Instant::now();
    scene.volumes.mount("b", "c2", &id("2")).await.unwrap();
    scene.volumes.inspect("a").await.unwrap();
    assert_eq!(scene.names(&Filters::default()).await, ["a", "b"]);
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
    hung.abort();
}

#[tokio::test]
async fn mount_and_unmount_tell_and_balance() {
    let scene = scene();
    scene.create("v", "d1").await.unwrap();
    let seen = Use { destination: "/data".to_owned(), read_write: true, propagation: String::new() };
    let path = scene.volumes.mount_as("v", "c1", &id("1"), &seen).await.unwrap();
    assert_eq!(path, std::path::Path::new("/fake/v"));
    // As `docker cp` does.
    scene.volumes.mount("v", "c1", &id("1")).await.unwrap();
    scene.volumes.unmount("v", &id("1")).await.unwrap();
    assert_eq!(scene.volumes.remove("v", true).await.unwrap_err().kind(), ErrorKind::Conflict);
    scene.volumes.unmount("v", &id("1")).await.unwrap();
    assert!(scene.world.d1.counts().is_empty());
    scene.volumes.remove("v", false).await.unwrap();
    assert_eq!(scene.actions(), ["create v", "mount v", "mount v", "unmount v", "unmount v", "destroy v"]);
    let (past, _live) = scene.events.subscribe(Some(0), None);
    let expected = [
        ("container", "c1"),
        ("destination", "/data"),
        ("driver", "d1"),
        ("propagation", ""),
        ("read/write", "true"),
    ];
    assert_eq!(past[1].attributes, map(&expected));
    assert_eq!(past[4].attributes, map(&[("container", "c1"), ("driver", "d1")]));
    assert_eq!(scene.volumes.mount("nosuch", "c1", &id("1")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_refused_mount_is_not_unmounted() {
    let scene = scene();
    scene.create("v", "d1").await.unwrap();
    scene.world.d1.mood("Mount", Mood::Refuses);
    let error = scene.volumes.mount("v", "c1", &id("1")).await.unwrap_err();
    assert_eq!(error.to_string(), "error while mounting volume 'v': no Mount today");
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(scene.world.d1.calls("Unmount"), 0);
    scene.volumes.remove("v", false).await.unwrap();
}

#[tokio::test]
async fn a_mount_that_succeeds_too_late_is_undone() {
    let scene = scene();
    scene.create("v", "d1").await.unwrap();
    for mood in [Mood::Slow(90), Mood::HangsAfter] {
        scene.world.d1.mood("Mount", mood);
        assert_eq!(
            scene.volumes.mount("v", "c1", &id("1")).await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        let unmounts = scene.world.d1.calls("Unmount");
        eventually("the unmount", || scene.world.d1.calls("Unmount") > unmounts).await;
        assert!(scene.world.d1.counts().is_empty());
    }
    assert!(scene.volumes.references("v").is_empty());
    // A retry comes after it and works.
    scene.world.d1.calm();
    scene.volumes.mount("v", "c1", &id("1")).await.unwrap();
    assert_eq!(scene.world.d1.counts().len(), 1);
}

#[tokio::test]
async fn a_mount_whose_caller_went_away_is_undone() {
    let scene = scene();
    scene.create("v", "d1").await.unwrap();
    scene.world.d1.mood("Mount", Mood::Slow(30));
    let volumes = scene.volumes.clone();
    let caller = tokio::spawn(async move { volumes.mount("v", "c1", &id("1")).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    caller.abort();
    eventually("the unmount", || scene.world.d1.calls("Unmount") == 1).await;
    assert!(scene.world.d1.counts().is_empty());
    assert!(scene.volumes.references("v").is_empty());
}

#[tokio::test]
async fn an_unmount_that_did_not_arrive_is_sent_again() {
    let scene = scene();
    scene.create("v", "d1").await.unwrap();
    scene.volumes.mount("v", "c1", &id("1")).await.unwrap();
    scene.world.d1.mood("Unmount", Mood::Gone);
    scene.volumes.unmount("v", &id("1")).await.unwrap_err();
    assert!(scene.volumes.references("v").is_empty());
    assert_eq!(scene.world.d1.counts().len(), 1);
    scene.world.d1.calm();
    eventually("the mount is gone", || scene.world.d1.counts().is_empty()).await;
}

#[tokio::test]
async fn prune_takes_only_what_is_nobodys() {
    let scene = scene();
    let labels = |text: &str| map(&[(text, "")]);
    scene.volumes.create(Some("named"), "local", BTreeMap::new(), labels("x")).await.unwrap();
    scene.volumes.create(Some("kept"), "local", BTreeMap::new(), labels("keep")).await.unwrap();
    scene.volumes.create(Some("nfs"), "local", map(&[("type", "nfs")]), BTreeMap::new()).await.unwrap();
    scene.create("remote", "d1").await.unwrap();
    scene.volumes.create_for("c1", Some("used"), "local", BTreeMap::new(), BTreeMap::new()).await.unwrap();
    let anonymous = scene.volumes.create(None, "", BTreeMap::new(), BTreeMap::new()).await.unwrap().name;
    let filters = |pairs: &[(&str, &str)], by_default| {
        let filters =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect();
        PruneFilters::new(&filters, by_default).unwrap()
    };
    let pruned = scene.volumes.prune(&filters(&[], true)).await.unwrap();
    assert_eq!(pruned.volumes, [anonymous]);
    let pruned = scene.volumes.prune(&filters(&[("all", "true"), ("label!", "keep")], true)).await.unwrap();
    assert_eq!(pruned.volumes, ["named"]);
    assert_eq!(scene.names(&Filters::default()).await, ["kept", "nfs", "remote", "used"]);
    let pruned = scene.volumes.prune(&filters(&[("label", "keep")], false)).await.unwrap();
    assert_eq!(pruned.volumes, ["kept"]);
}

#[tokio::test]
async fn one_prune_at_a_time() {
    let scene = scene_with(Budgets::default());
    scene.create("v", "local").await.unwrap();
    scene.world.local.mood("Remove", Mood::Slow(50));
    let volumes = scene.volumes.clone();
    let first = tokio::spawn(async move { volumes.prune(&PruneFilters::default()).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let error = scene.volumes.prune(&PruneFilters::default()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Conflict, "a prune operation is already running")
    );
    assert_eq!(first.await.unwrap().unwrap().volumes, ["v"]);
    scene.volumes.prune(&PruneFilters::default()).await.unwrap();
}

#[tokio::test]
async fn a_create_that_was_never_answered_is_undone() {
    let scene = scene();
    scene.world.d1.mood("Create", Mood::HangsAfter);
    assert_eq!(scene.create("v", "d1").await.unwrap_err().kind(), ErrorKind::Unavailable);
    eventually("the volume is gone", || scene.world.d1.volumes().is_empty()).await;
    eventually("the lease is gone", || scene.world.leases().is_empty()).await;
    scene.world.d1.calm();
    scene.create("v", "d1").await.unwrap();
}

#[tokio::test]
async fn boot_forgets_what_is_denied_and_keeps_what_cannot_be_asked() {
    let mut scene = scene();
    for (name, driver) in [("denied", "d1"), ("used", "d1"), ("there", "d1"), ("unreachable", "d2")] {
        scene.create(name, driver).await.unwrap();
    }
    scene.world.d1.lose("denied");
    scene.world.d1.lose("used");
    scene.world.d2.lose("unreachable");
    for mood in [Mood::Hangs, Mood::Gone] {
        scene.world.d2.all(mood);
        scene.restart();
        assert_eq!(scene.world.leases().len(), if mood == Mood::Hangs { 4 } else { 3 });
        let mounts = vec![id("1")];
        scene.volumes.restore(vec![Reference {
            volume: "used".to_owned(),
            container: "c1".to_owned(),
            mounts,
        }]);
        scene.volumes.reconcile().await;
        let names: Vec<String> = scene.world.leases().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["there", "used", "unreachable"]);
        assert_eq!(scene.volumes.references("used"), ["c1"]);
        assert_eq!(scene.volumes.holders().len(), 3);
    }
    scene.world.d2.calm();
    scene.volumes.reconcile().await;
    assert_eq!(
        scene.names(&Filters::default()).await,
        ["there"],
        "used is not there, unreachable is forgotten"
    );
    // The restored mount counts once.
    scene.volumes.unreference("used", "c1");
    assert_eq!(scene.volumes.references("used"), ["c1"]);
    scene.volumes.unmount("used", &id("1")).await.unwrap();
    assert!(scene.volumes.references("used").is_empty());
}
