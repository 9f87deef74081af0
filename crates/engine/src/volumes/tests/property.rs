//! Whatever users, drivers and kill -9 do: mounts balance, what was acknowledged is there, and nothing else is.
//!
//! Each life of the engine is a runtime of its own, so that dropping it ends all its tasks between two steps,
//! as kill -9 does. The model is what containers and users would remember.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use pintle_contract::MountId;
use pintle_store::Store;
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};

use super::{
    super::{Budgets, Filters, Volumes},
    fake::{Mood, World, open},
};

#[derive(Debug, Clone)]
enum Step {
    Create {
        name: usize,
        driver: usize,
    },
    Remove {
        name: usize,
    },
    Mount {
        name: usize,
        id: usize,
    },
    Unmount {
        id: usize,
    },
    /// Somebody looks in, and goes away after some milliseconds.
    Pass {
        name: usize,
        after: u64,
    },
    /// The caller goes away after some milliseconds.
    Abandon {
        name: usize,
        id: usize,
        after: u64,
    },
    Mood {
        driver: usize,
        method: usize,
        mood: Mood,
    },
    Calm,
    /// The engine is killed some milliseconds into a step.
    Crash {
        during: Box<Step>,
        after: u64,
    },
}

const NAMES: [&str; 3] = ["v0", "v1", "v2"];
const DRIVERS: [&str; 2] = ["d1", "d2"];
const METHODS: [&str; 4] = ["Create", "Remove", "Mount", "Unmount"];

fn simple() -> impl Strategy<Value = Step> {
    let mood = prop_oneof![
        Just(Mood::Refuses),
        Just(Mood::Gone),
        Just(Mood::Hangs),
        Just(Mood::HangsAfter),
        (1_u64..25).prop_map(Mood::Slow),
    ];
    prop_oneof![
        3 => (0..3_usize, 0..2_usize).prop_map(|(name, driver)| Step::Create { name, driver }),
        1 => (0..3_usize).prop_map(|name| Step::Remove { name }),
        4 => (0..3_usize, 0..4_usize).prop_map(|(name, id)| Step::Mount { name, id }),
        2 => (0..4_usize).prop_map(|id| Step::Unmount { id }),
        2 => (0..3_usize, 0_u64..15).prop_map(|(name, after)| Step::Pass { name, after }),
        1 => (0..3_usize, 0..4_usize, 0_u64..15).prop_map(|(name, id, after)| Step::Abandon { name, id, after }),
        2 => (0..2_usize, 0..4_usize, mood).prop_map(|(driver, method, mood)| Step::Mood { driver, method, mood }),
        1 => Just(Step::Calm),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => simple(),
        1 => (simple(), 0_u64..10).prop_map(|(during, after)| Step::Crash { during: Box::new(during), after }),
    ]
}

fn budgets() -> Budgets {
    let millis = Duration::from_millis;
    Budgets {
        lookup: millis(200),
        get: millis(500),
        probe: millis(20),
        inspect: millis(20),
        create: millis(10),
        remove: millis(10),
        mount: millis(10),
        unmount: millis(10),
        late: millis(30),
        retries: vec![millis(2), millis(5)],
    }
}

/// What somebody was told, or has asked for and will take back after a crash.
#[derive(Debug, Default)]
struct Model {
    /// Volumes that must be there.
    acknowledged: BTreeMap<String, String>,
    /// Volumes whose removal was asked for and not confirmed: there or not.
    doubtful: BTreeSet<String>,
    /// Mount id to volume, written before each mount as a container's record is.
    intents: BTreeMap<String, String>,
    /// Those that were confirmed.
    mounted: BTreeSet<String>,
    /// Some driver refused to remove volumes, so it may have some that nobody was told of.
    stubborn: bool,
}

struct Life {
    world: Arc<World>,
    store: Store,
    runtime: Option<Runtime>,
    volumes: Option<Volumes>,
    model: Model,
}

impl Life {
    fn begin() -> Self {
        let (world, store) = (Arc::new(World::default()), Store::in_memory().unwrap());
        let mut life = Self { world, store, runtime: None, volumes: None, model: Model::default() };
        life.start();
        life
    }

    fn start(&mut self) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let guard = runtime.enter();
        let (volumes, _events) = open(&self.world, &self.store, budgets());
        drop(guard);
        self.volumes = Some(volumes);
        self.runtime = Some(runtime);
    }

    /// kill -9, and what a new engine does at boot: containers are gone, so their mounts are taken back.
    fn crash(&mut self) {
        self.volumes = None;
        self.runtime.take().unwrap().shutdown_background();
        self.start();
        let volumes = self.volumes.clone().unwrap();
        let intents = std::mem::take(&mut self.model.intents);
        self.model.mounted.clear();
        self.runtime.as_ref().unwrap().block_on(async {
            volumes.reconcile().await;
            for (id, name) in intents {
                // Dead drivers get it when they are back.
                let _ = volumes.unmount(&name, &MountId(id)).await;
            }
        });
    }

    fn fake(&self, driver: usize) -> &super::fake::Fake {
        if driver == 0 { &self.world.d1 } else { &self.world.d2 }
    }

    fn run(&mut self, step: &Step, limit: Option<Duration>) {
        let volumes = self.volumes.clone().unwrap();
        let runtime = self.runtime.as_ref().unwrap();
        let model = &mut self.model;
        let until = limit.unwrap_or(Duration::from_secs(20));
        match step {
            Step::Create { name, driver } => {
                let (name, driver) = (NAMES[*name], DRIVERS[*driver]);
                let made = runtime.block_on(async {
                    tokio::time::timeout(
                        until,
                        volumes.create(Some(name), driver, BTreeMap::new(), BTreeMap::new()),
                    )
                    .await
                });
                if let Ok(Ok(volume)) = made {
                    assert_eq!(volume.driver, driver);
                    model.acknowledged.insert(name.to_owned(), driver.to_owned());
                    model.doubtful.remove(name);
                }
            }
            Step::Remove { name } => {
                let name = NAMES[*name];
                let used = model.mounted.iter().any(|id| model.intents.get(id).is_some_and(|on| on == name));
                let removed = runtime
                    .block_on(async { tokio::time::timeout(until, volumes.remove(name, false)).await });
                match removed {
                    Ok(Ok(())) => {
                        assert!(!used, "{name} was removed while mounted");
                        model.acknowledged.remove(name);
                        model.doubtful.remove(name);
                    }
                    Ok(Err(_)) | Err(_) if used => {}
                    _ => {
                        if model.acknowledged.remove(name).is_some() {
                            model.doubtful.insert(name.to_owned());
                        }
                    }
                }
            }
            Step::Mount { name, id } | Step::Abandon { name, id, .. } => {
                let (name, id) = (NAMES[*name].to_owned(), format!("m{id}"));
                if model.intents.contains_key(&id) {
                    return;
                }
                let until = match step {
                    Step::Abandon { after, .. } => Duration::from_millis(*after).min(until),
                    _ => until,
                };
                model.intents.insert(id.clone(), name.clone());
                let key = MountId(id.clone());
                let mounted = runtime
                    .block_on(async { tokio::time::timeout(until, volumes.mount(&name, "c", &key)).await });
                match mounted {
                    Ok(Ok(_)) => {
                        model.mounted.insert(id);
                    }
                    // Told that it failed: the engine must undo it by itself, even in its next life. A caller
                    // that went away was told nothing, and its container's record still has the id.
                    Ok(Err(_)) => {
                        model.intents.remove(&id);
                    }
                    _ => {}
                }
            }
            Step::Pass { name, after } => {
                let (name, until) = (NAMES[*name], Duration::from_millis(*after).min(until));
                // Who gives up, at whatever moment, ends nothing by himself.
                let _ = runtime.block_on(async {
                    let look = async {
                        if let Ok(passing) = volumes.pass(name, "c").await {
                            tokio::time::sleep(Duration::from_millis(after / 2)).await;
                            passing.end().await;
                        }
                    };
                    tokio::time::timeout(until, look).await
                });
            }
            Step::Unmount { id } => {
                let id = format!("m{id}");
                if !model.mounted.contains(&id) {
                    return;
                }
                let name = model.intents[&id].clone();
                let key = MountId(id.clone());
                let done = runtime
                    .block_on(async { tokio::time::timeout(until, volumes.unmount(&name, &key)).await });
                if done.is_ok() {
                    model.mounted.remove(&id);
                    model.intents.remove(&id);
                }
            }
            // A driver that refuses to unmount keeps its mount, rightly.
            Step::Mood { method: 3, mood: Mood::Refuses, .. } => {}
            Step::Mood { driver, method, mood } => {
                model.stubborn |= (METHODS[*method], *mood) == ("Remove", Mood::Refuses);
                self.fake(*driver).mood(METHODS[*method], *mood);
            }
            Step::Calm => {
                self.world.d1.calm();
                self.world.d2.calm();
            }
            Step::Crash { during, after } => {
                self.run(during, Some(Duration::from_millis(*after)));
                self.crash();
            }
        }
    }

    /// Everybody behaves again and all holders leave. Then what is there must be what should be there.
    fn finish(mut self) {
        self.run(&Step::Calm, None);
        let volumes = self.volumes.clone().unwrap();
        for (id, name) in std::mem::take(&mut self.model.intents) {
            let key = MountId(id);
            // It may still wait for a call that hung earlier; then it is done later.
            let _ = self.runtime.as_ref().unwrap().block_on(async { volumes.unmount(&name, &key).await });
        }
        let start = Instant::now();
        loop {
            let wrong = self.wrong();
            if wrong.is_empty() {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(3), "{wrong}; {:?}", self.model);
            self.runtime
                .as_ref()
                .unwrap()
                .block_on(async { tokio::time::sleep(Duration::from_millis(3)).await });
        }
    }

    fn wrong(&self) -> String {
        let volumes = self.volumes.as_ref().unwrap();
        let (listed, warnings) = self.runtime.as_ref().unwrap().block_on(volumes.list(&Filters::default()));
        let listed: BTreeMap<String, String> =
            listed.into_iter().map(|volume| (volume.name, volume.driver)).collect();
        let mut real: BTreeMap<String, String> = BTreeMap::new();
        for (driver, fake) in [("d1", &self.world.d1), ("d2", &self.world.d2)] {
            if !fake.counts().is_empty() {
                return format!("{driver} still has mounts: {:?}", fake.counts());
            }
            for name in fake.volumes() {
                if let Some(other) = real.insert(name.clone(), driver.to_owned()) {
                    return format!("{name} is in {driver} and in {other}");
                }
            }
        }
        let leases: BTreeMap<String, String> =
            self.world.leases().into_iter().map(|(driver, name)| (name, driver)).collect();
        if listed != real || leases != real || !warnings.is_empty() {
            return format!(
                "listed {listed:?}, leases {leases:?}, warnings {warnings:?}, but really {real:?}"
            );
        }
        for (name, driver) in &real {
            let excused = self.model.stubborn || self.model.doubtful.contains(name);
            if self.model.acknowledged.get(name) != Some(driver) && !excused {
                return format!("nobody was told of {name} in {driver}");
            }
        }
        for (name, driver) in &self.model.acknowledged {
            if real.get(name) != Some(driver) {
                return format!("{name} in {driver} was lost");
            }
        }
        String::new()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mounts_balance_and_nothing_is_lost_or_leaked(steps in proptest::collection::vec(step(), 1..25)) {
        let mut life = Life::begin();
        for step in &steps {
            life.run(step, None);
        }
        life.finish();
    }
}
