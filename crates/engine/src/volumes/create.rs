//! Making volumes, and taking in those that a driver has already.

use std::{collections::BTreeMap, sync::Arc};

use pintle_contract::{CreateVolume, Scope};

use super::{
    ANONYMOUS, Answer, DEFAULT, Driver, Inner, Volume, Volumes,
    ledger::Turn,
    record::{Record, State},
    undecided, within,
};
use crate::{EngineError, ErrorKind};
use pintle_store::failpoint;

/// The longest name of a volume, which no driver comes near.
const LONGEST_NAME: usize = 1024;

/// What somebody asks for.
struct Wanted {
    name: String,
    /// Empty if none was named.
    driver: String,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    generated: bool,
}

impl Volumes {
    /// Makes a volume, or returns the one of that name unchanged. Without a name it gets a random one and the
    /// label of anonymous volumes. With an empty `driver` every driver is first asked whether it has the name;
    /// if none has, `local` makes it.
    pub async fn create(
        &self,
        name: Option<&str>,
        driver: &str,
        options: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
    ) -> Result<Volume, EngineError> {
        self.make(None, name, driver, options, labels).await
    }

    /// The same, and `container` refers to it from then on, with no moment in between for a removal.
    pub async fn create_for(
        &self,
        container: &str,
        name: Option<&str>,
        driver: &str,
        options: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
    ) -> Result<Volume, EngineError> {
        self.make(Some(container), name, driver, options, labels).await
    }

    async fn make(
        &self,
        container: Option<&str>,
        name: Option<&str>,
        driver: &str,
        options: BTreeMap<String, String>,
        mut labels: BTreeMap<String, String>,
    ) -> Result<Volume, EngineError> {
        let (name, generated) = match name.filter(|name| !name.is_empty()) {
            Some(name) => (name.to_owned(), false),
            None => {
                labels.insert(ANONYMOUS.to_owned(), String::new());
                (hex::encode(rand::random::<[u8; 32]>()), true)
            }
        };
        if name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(EngineError::invalid("volume name is too long or has control characters"));
        }
        let wanted = Wanted { name, driver: driver.to_owned(), options, labels, generated };
        // A client that hangs up does not leave a volume half made.
        let (inner, container) = (Arc::clone(&self.inner), container.map(str::to_owned));
        let made = self.inner.tasks.spawn(async move {
            let turn = inner.ledger.turn(&wanted.name, inner.budgets.get).await?;
            let name = wanted.name.clone();
            let volume = inner.create(&turn, wanted).await;
            if let (Ok(_), Some(container)) = (&volume, container) {
                inner.ledger.change(&name, |facts| facts.references.insert(container));
            }
            volume.map_err(|error| error.context(format!("create {name}")))
        });
        made.await.map_err(|error| EngineError::internal(error.to_string()))?
    }
}

impl Inner {
    async fn create(self: &Arc<Self>, turn: &Turn, wanted: Wanted) -> Result<Volume, EngineError> {
        let name = wanted.name.as_str();
        if let Some(record) = self.ledger.record(name) {
            if let Some(volume) = self.known(turn, &wanted, &record).await? {
                return Ok(volume);
            }
        } else if wanted.driver.is_empty()
            && !wanted.generated
            && let Some((driver, said)) = self.probe(name).await
        {
            return self.adopt(turn, name, &driver, said, BTreeMap::new(), BTreeMap::new()).await;
        }
        let driver = self.driver(if wanted.driver.is_empty() { DEFAULT } else { &wanted.driver }).await?;
        if !wanted.generated {
            match self.get(&driver, name, self.budgets.get).await {
                Answer::Found(said) => {
                    let volume = self.adopt(turn, name, &driver, said, wanted.options, wanted.labels).await?;
                    self.publish("create", name, &[("driver", &driver.name)]);
                    return Ok(volume);
                }
                Answer::Denied => {}
                Answer::Unreachable(error) => return Err(error.into()),
            }
        }
        self.create_anew(turn, wanted, &driver).await
    }

    /// What to return for a name with a record; `None` if the way is free for a new volume.
    async fn known(
        self: &Arc<Self>,
        turn: &Turn,
        wanted: &Wanted,
        record: &Record,
    ) -> Result<Option<Volume>, EngineError> {
        let name = wanted.name.as_str();
        match record.state {
            State::Ready => {}
            // Left by a crash or an unanswered call. Nobody was told of it; undo it, or overwrite it.
            State::Creating | State::Removing => {
                let driver = self.driver(&record.driver).await?;
                self.remove_from(turn, name, &driver).await?;
                return Ok(None);
            }
        }
        let other_driver = !wanted.driver.is_empty()
            && wanted.driver != record.driver
            && self.driver(&wanted.driver).await?.name != record.driver;
        match self.check(&record.driver, name, self.budgets.get).await? {
            Answer::Found(_) if other_driver => Err(EngineError::conflict(format!(
                "driver '{}' already has volume '{name}': volume name must be unique",
                record.driver
            ))),
            Answer::Found(said) => Ok(Some(record.described(name, said))),
            Answer::Unreachable(error) => Err(EngineError::from(error).context(format!(
                "error while checking if volume \"{name}\" exists in driver \"{}\"",
                record.driver
            ))),
            Answer::Denied => {
                let users = self.ledger.get(name).users();
                if !users.is_empty() {
                    return Err(EngineError::conflict(format!(
                        "driver '{}' no longer has volume '{name}', which is still in use - [{}]; remove these \
                         containers first: volume name must be unique",
                        record.driver,
                        users.join(", ")
                    )));
                }
                self.forget(turn, name, &record.driver)?;
                Ok(None)
            }
        }
    }

    /// Takes in a volume that the driver has already.
    pub(super) async fn adopt(
        &self,
        turn: &Turn,
        name: &str,
        driver: &Driver,
        said: pintle_contract::Volume,
        options: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
    ) -> Result<Volume, EngineError> {
        let record = Record {
            driver: driver.name.clone(),
            labels,
            options,
            created_at: said.created_at.clone().filter(|at| !at.is_empty()).unwrap_or_else(now),
            global: self.is_global(driver).await,
            state: State::Ready,
        };
        self.drivers.hold(&driver.name, name);
        if let Err(error) = self.ledger.put(turn, name, record.clone()) {
            self.drivers.release(&driver.name, name);
            return Err(error);
        }
        Ok(record.described(name, said))
    }

    async fn create_anew(
        self: &Arc<Self>,
        turn: &Turn,
        wanted: Wanted,
        driver: &Driver,
    ) -> Result<Volume, EngineError> {
        let Wanted { name, options, labels, .. } = wanted;
        let record = Record {
            driver: driver.name.clone(),
            labels,
            options: options.clone(),
            created_at: now(),
            global: self.is_global(driver).await,
            state: State::Creating,
        };
        // The lease first: the plugin cannot be disabled while it makes the volume.
        self.drivers.hold(&driver.name, &name);
        if let Err(error) = self.ledger.put(turn, &name, record.clone()) {
            self.drivers.release(&driver.name, &name);
            return Err(error);
        }
        failpoint!("engine.volume.creating");
        let request = CreateVolume { name: name.clone(), options };
        if let Err(error) = within(self.budgets.create, "Create", driver.driver.create(request)).await {
            if undecided(&error) {
                self.settle_later(&name);
            } else {
                self.forget(turn, &name, &driver.name)?;
            }
            return Err(error.into());
        }
        failpoint!("engine.volume.created");
        if let Err(error) = self.ledger.set_state(turn, &name, State::Ready) {
            self.settle_later(&name);
            return Err(error);
        }
        failpoint!("engine.volume.ready");
        self.publish("create", &name, &[("driver", &driver.name)]);
        Ok(match self.get(driver, &name, self.budgets.probe).await {
            Answer::Found(said) => record.described(&name, said),
            Answer::Denied | Answer::Unreachable(_) => record.volume(&name),
        })
    }

    async fn is_global(&self, driver: &Driver) -> bool {
        let capabilities = within(self.budgets.probe, "Capabilities", driver.driver.capabilities()).await;
        // The protocol's rule: whoever does not say is local.
        capabilities.is_ok_and(|capabilities| capabilities.scope == Scope::Global)
    }

    /// Drops the record and the lease of a volume that is not there.
    pub(super) fn forget(&self, turn: &Turn, name: &str, driver: &str) -> Result<(), EngineError> {
        self.ledger.delete(turn, name)?;
        self.drivers.release(driver, name);
        Ok(())
    }

    /// Has the driver remove a volume and forgets it. One that the driver does not know is removed.
    pub(super) async fn remove_from(
        &self,
        turn: &Turn,
        name: &str,
        driver: &Driver,
    ) -> Result<(), EngineError> {
        match within(self.budgets.remove, "Remove", driver.driver.remove(name)).await {
            Ok(()) => {}
            Err(error) if error.kind == pintle_contract::ErrorKind::NotFound => {}
            // Plugins say "no such volume" in words of their own; only their Get tells.
            Err(error) if undecided(&error) => return Err(error.into()),
            Err(error) => match self.get(driver, name, self.budgets.get).await {
                Answer::Denied => {}
                Answer::Found(_) | Answer::Unreachable(_) => return Err(error.into()),
            },
        }
        failpoint!("engine.volume.gone");
        self.forget(turn, name, &driver.name)
    }
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// 404 for a name that nobody has.
pub(super) fn no_such_volume(name: &str) -> EngineError {
    EngineError::new(ErrorKind::NotFound, format!("get {name}: no such volume"))
}
