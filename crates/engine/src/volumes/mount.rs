//! Mounting and unmounting, such that a driver's count of mounts balances whatever happens to the caller.
//!
//! The driver call runs in a task of its own which has the volume's turn until the call's outcome is settled.
//! A caller that stops waiting, by its budget or because its client hung up, does not take the mount: then
//! the task undoes it. A mount that the driver refused is not followed by an unmount; one that it never
//! answered is, since it may be done. An unmount that the driver did not confirm is owed, which outlives the
//! engine, and sent again for as long as nobody mounts with that id.

use std::{path::PathBuf, sync::Arc};

use pintle_contract::{DriverError, ErrorKind as DriverKind, MountId};
use tokio::sync::oneshot;

use super::{
    Driver, Inner, Use, Volumes,
    create::no_such_volume,
    ledger::Turn,
    record::{Record, State},
    undecided, within,
};
use crate::{EngineError, ErrorKind};
use pintle_store::failpoint;

/// A mounted volume on its way to the caller, who says that it took it.
type Delivery = Result<(PathBuf, oneshot::Sender<()>), EngineError>;

impl Volumes {
    /// Mounts a volume for container `holder` and says where it is on this host. The same `id` may mount
    /// several times and must unmount as often.
    pub async fn mount(&self, name: &str, holder: &str, id: &MountId) -> Result<PathBuf, EngineError> {
        self.mount_for(name, holder, id, Sort::Plain).await
    }

    /// The same, and the `mount` event tells how the container sees it.
    pub async fn mount_as(
        &self,
        name: &str,
        holder: &str,
        id: &MountId,
        seen: &Use,
    ) -> Result<PathBuf, EngineError> {
        self.mount_for(name, holder, id, Sort::Seen(seen.clone())).await
    }

    pub(super) async fn mount_for(
        &self,
        name: &str,
        holder: &str,
        id: &MountId,
        sort: Sort,
    ) -> Result<PathBuf, EngineError> {
        let (deliver, mut delivered) = oneshot::channel();
        let job = Mounting { name: name.to_owned(), holder: holder.to_owned(), id: id.clone(), sort };
        self.inner.tasks.spawn(Arc::clone(&self.inner).mount(job, deliver));
        match tokio::time::timeout(self.inner.budgets.mount, &mut delivered).await {
            Ok(Ok(Ok((path, took)))) => {
                let _ = took.send(());
                Ok(path)
            }
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_gone)) => Err(EngineError::internal(format!("mounting volume {name} was abandoned"))),
            Err(_elapsed) => {
                // Before the caller forgets the id, and before the task sees that nobody is listening.
                self.inner.ledger.owe(name, id);
                drop(delivered);
                Err(EngineError::new(
                    ErrorKind::Unavailable,
                    format!(
                        "error while mounting volume '{name}': VolumeDriver.Mount: no answer within {} s",
                        self.inner.budgets.mount.as_secs_f32()
                    ),
                ))
            }
        }
    }

    /// Ends one mount. The use is over even if this fails: an unmount that did not reach the driver is sent
    /// again when the driver is back, and one that it refused is its own affair.
    pub async fn unmount(&self, name: &str, id: &MountId) -> Result<(), EngineError> {
        let (deliver, delivered) = oneshot::channel();
        self.inner.tasks.spawn(Arc::clone(&self.inner).unmount(name.to_owned(), id.clone(), deliver));
        match tokio::time::timeout(self.inner.budgets.unmount, delivered).await {
            Ok(Ok(done)) => done,
            Ok(Err(_gone)) => Err(EngineError::internal(format!("unmounting volume {name} was abandoned"))),
            Err(_elapsed) => {
                // The call goes on, but the engine may not: the caller need not remember it.
                self.inner.ledger.owe(name, id);
                Err(EngineError::new(
                    ErrorKind::Unavailable,
                    format!(
                        "error while unmounting volume '{name}': VolumeDriver.Unmount: no answer within {} s",
                        self.inner.budgets.unmount.as_secs_f32()
                    ),
                ))
            }
        }
    }
}

struct Mounting {
    name: String,
    holder: String,
    id: MountId,
    sort: Sort,
}

/// What a mount is for.
pub(super) enum Sort {
    /// Somebody who remembers it durably.
    Plain,
    /// The same, and it is told how the container sees it.
    Seen(Use),
    /// Somebody who does not: the ledger does.
    Passing,
}

impl Inner {
    async fn mount(self: Arc<Self>, job: Mounting, deliver: oneshot::Sender<Delivery>) {
        let name = job.name.as_str();
        let prepared = async {
            let turn = self.ledger.turn(name, self.budgets.mount).await?;
            let (record, driver) = self.mountable(&turn, name).await?;
            if !self.ledger.get(name).holds.contains_key(&job.id) {
                self.pay(&turn, name, &driver, &job.id).await.map_err(|error| mounting(name, error))?;
            }
            Ok((turn, record, driver))
        };
        let (turn, record, driver) = match prepared.await {
            Ok(prepared) if !deliver.is_closed() => prepared,
            Ok(_) => return self.pay_later(name, &job.id),
            Err(error) => {
                let _ = deliver.send(Err(error));
                return self.pay_later(name, &job.id);
            }
        };
        let owed = self.ledger.debt(name, &job.id);
        if matches!(job.sort, Sort::Passing)
            && let Err(error) = self.ledger.write_debt(name, &job.id, owed + 1)
        {
            let _ = deliver.send(Err(error));
            return;
        }
        let mounted = within(self.budgets.late, "Mount", driver.driver.mount(name, &job.id)).await;
        failpoint!("engine.volume.mounted");
        let path = match mounted {
            Ok(path) if path.is_absolute() => path,
            Ok(path) => {
                self.ledger.set_debt(name, &job.id, owed + 1);
                let message = format!("VolumeDriver.Mount: \"{}\" is not an absolute path", path.display());
                let _ = deliver.send(Err(mounting(name, DriverError::internal(message))));
                return self.undo(&turn, name, &driver, &job.id, owed).await;
            }
            Err(error) if error.kind == DriverKind::Timeout => {
                self.ledger.set_debt(name, &job.id, owed + 1);
                let _ = deliver.send(Err(mounting(name, error)));
                return self.undo(&turn, name, &driver, &job.id, owed).await;
            }
            Err(error) => {
                let _ = deliver.send(Err(mounting(name, error)));
                return self.ledger.set_debt(name, &job.id, owed);
            }
        };
        self.ledger.mounted(name, &job.id, &job.holder, path.clone());
        let (took, taken) = oneshot::channel();
        if deliver.send(Ok((path, took))).is_ok() && taken.await.is_ok() {
            let mut attributes = vec![("driver", record.driver.as_str()), ("container", job.holder.as_str())];
            let read_write = matches!(&job.sort, Sort::Seen(seen) if seen.read_write).to_string();
            if let Sort::Seen(seen) = &job.sort {
                attributes.push(("destination", &seen.destination));
                attributes.push(("read/write", &read_write));
                attributes.push(("propagation", &seen.propagation));
            }
            self.publish("mount", name, &attributes);
            return;
        }
        tracing::warn!(volume = name, id = %job.id, "a mount succeeded after its caller gave up; undoing it");
        self.ledger.unmounted(name, &job.id);
        self.undo(&turn, name, &driver, &job.id, owed).await;
    }

    /// The record and driver of a volume that can be mounted, which may be one that only its driver knows yet.
    async fn mountable(self: &Arc<Self>, turn: &Turn, name: &str) -> Result<(Record, Driver), EngineError> {
        let record = match self.ledger.record(name) {
            Some(record) if record.state == State::Ready => record,
            Some(_) => return Err(no_such_volume(name)),
            None => {
                let (driver, said) = self.probe(name).await.ok_or_else(|| no_such_volume(name))?;
                self.adopt(turn, name, &driver, said, Default::default(), Default::default()).await?;
                self.ledger.record(name).ok_or_else(|| no_such_volume(name))?
            }
        };
        let driver = self.driver(&record.driver).await;
        let driver =
            driver.map_err(|error| error.context(format!("error while mounting volume '{name}'")))?;
        Ok((record, driver))
    }

    /// Sends the unmount for a mount that nobody wants. The caller has the turn. `owed` is what was owed for
    /// the id before that mount.
    async fn undo(self: &Arc<Self>, _turn: &Turn, name: &str, driver: &Driver, id: &MountId, owed: u32) {
        self.ledger.set_debt(name, id, owed + 1);
        match within(self.budgets.unmount, "Unmount", driver.driver.unmount(name, id)).await {
            Err(error) if undecided(&error) => return self.pay_later(name, id),
            Err(error) => tracing::warn!(volume = name, %id, %error, "could not undo a mount"),
            Ok(()) => {}
        }
        self.ledger.set_debt(name, id, owed);
    }

    async fn unmount(
        self: Arc<Self>,
        name: String,
        id: MountId,
        deliver: oneshot::Sender<Result<(), EngineError>>,
    ) {
        let done = self.unmount_now(&name, &id).await;
        if let Err(error) = &done {
            tracing::warn!(volume = name, %id, %error, "could not unmount a volume");
        }
        // Nobody listening: the log has it.
        let _ = deliver.send(done);
    }

    async fn unmount_now(self: &Arc<Self>, name: &str, id: &MountId) -> Result<(), EngineError> {
        // However long the mount before it takes, this comes after it.
        let turn = self.ledger.turn(name, self.budgets.late).await;
        let container = self.ledger.unmounted(name, id).unwrap_or_default();
        let record = self.ledger.record(name).ok_or_else(|| no_such_volume(name))?;
        let sent = async {
            let turn = turn?;
            let driver = self.driver(&record.driver).await?;
            match within(self.budgets.late, "Unmount", driver.driver.unmount(name, id)).await {
                Err(error) if undecided(&error) => return Err(error.into()),
                // The driver knows of no such mount, or keeps it: its own affair.
                Err(error) if error.kind != DriverKind::NotFound => return Ok(Err(error)),
                _ => {}
            }
            failpoint!("engine.volume.unmounted");
            if !self.ledger.get(name).holds.contains_key(id) {
                self.pay(&turn, name, &driver, id).await?;
            }
            Ok::<_, EngineError>(Ok(()))
        };
        let failed = |error: EngineError| error.context(format!("error while unmounting volume '{name}'"));
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(refused)) => return Err(failed(refused.into())),
            Err(error) => {
                self.ledger.set_debt(name, id, self.ledger.debt(name, id) + 1);
                self.pay_later(name, id);
                return Err(failed(error));
            }
        }
        self.publish("unmount", name, &[("driver", &record.driver), ("container", &container)]);
        Ok(())
    }
}

fn mounting(name: &str, error: DriverError) -> EngineError {
    EngineError::from(error).context(format!("error while mounting volume '{name}'"))
}
