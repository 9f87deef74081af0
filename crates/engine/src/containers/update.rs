//! Changing what a container is called and what it may use.

use std::sync::Arc;

use pintle_runtime::Task;

use super::{
    Container, ContainerSpec, Containers, Resources, State, Update, cell::Cell, check, failpoint, limits,
    names, oci, service::Shared,
};
use crate::EngineError;

impl Containers {
    /// Gives it another name.
    pub async fn rename(&self, name: &str, new_name: &str) -> Result<(), EngineError> {
        let (shared, cell) = (Arc::clone(&self.shared), self.shared.find(name)?);
        let new_name = new_name.to_owned();
        self.run(async move { shared.rename(&cell, &new_name).await }).await
    }

    /// Changes limits and the restart policy; answers warnings.
    pub async fn update(&self, name: &str, update: Update) -> Result<Vec<String>, EngineError> {
        let (shared, cell) = (Arc::clone(&self.shared), self.shared.find(name)?);
        self.run(async move { shared.update(&cell, &update).await }).await
    }

    /// What it uses now; `None` if it does not run.
    pub async fn stats(&self, name: &str) -> Result<Option<pintle_runtime::Stats>, EngineError> {
        let cell = self.shared.find(name)?;
        let Some(task) = cell.task().filter(|_| cell.snapshot().has_process()) else { return Ok(None) };
        match task.stats().await {
            Ok(stats) => Ok(Some(stats)),
            Err(error) if error.kind() == pintle_runtime::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Shared {
    async fn rename(&self, cell: &Cell, new_name: &str) -> Result<(), EngineError> {
        if new_name.trim_start_matches('/').is_empty() {
            return Err(EngineError::invalid("Neither old nor new names may be empty"));
        }
        let unusable = |error: EngineError| error.context("Error when allocating new name");
        let new_name = names::parse(new_name).map_err(unusable)?;
        let _turn = cell.turn.lock().await;
        let container = cell.container();
        if matches!(container.life.state, State::Removing | State::Dead) || cell.snapshot().gone {
            return Err(EngineError::conflict(format!("container {} is marked for removal", cell.id)));
        }
        if container.name == new_name {
            return Err(EngineError::invalid("Renaming a container with the same name as its current name"));
        }
        self.index().reserve(new_name, &cell.id).map_err(unusable)?;
        let renamed = Arc::new(Container { name: new_name.to_owned(), ..(*container).clone() });
        if let Err(error) = self.records.put(Arc::clone(&renamed)).await {
            self.index().release(new_name, &cell.id);
            return Err(error);
        }
        failpoint!("engine.rename.after_record");
        self.index().release(&container.name, &cell.id);
        cell.show(Arc::clone(&renamed));
        self.networks.rename(&renamed).await?;
        self.announce(&renamed, "rename", &[("oldName", format!("/{}", container.name))]);
        Ok(())
    }

    async fn update(&self, cell: &Cell, update: &Update) -> Result<Vec<String>, EngineError> {
        let _turn = cell.turn.lock().await;
        let container = cell.container();
        if matches!(container.life.state, State::Removing | State::Dead) || cell.snapshot().gone {
            return Err(EngineError::conflict(format!(
                "Cannot update container {}: container is marked for removal and cannot be \"update\"",
                cell.id
            )));
        }
        let failed = |error: EngineError| error.context(format!("Cannot update container {}", cell.id));
        let mut wanted = update.resources.clone();
        let warnings = limits::settle(&mut wanted, false)?;
        let mut merged = merge(&container.spec.resources, &wanted);
        // What was settled before has nothing left to warn about.
        limits::settle(&mut merged, true).map_err(failed)?;
        if let Some(restart) = update.restart {
            check::check_restart(restart)?;
            if container.spec.auto_remove && restart.mode != super::RestartMode::No {
                return Err(failed(EngineError::conflict(
                    "Restart policy cannot be updated because AutoRemove is enabled for the container",
                )));
            }
        }
        let changes = merged != container.spec.resources && container.life.run().is_some();
        let spec = ContainerSpec {
            resources: merged,
            restart: update.restart.unwrap_or(container.spec.restart),
            ..(*container.spec).clone()
        };
        let mut updated = Container { spec: Arc::new(spec), updating: None, ..(*container).clone() };
        if let Some(task) = cell.task().filter(|_| changes) {
            // The record first: an engine that dies here is followed by one that knows what was wanted.
            updated.updating = Some(Arc::new(container.spec.resources.clone()));
            self.records.put(Arc::new(updated.clone())).await?;
            failpoint!("engine.update.after_intent");
            let (settled, refused) = self.finish_update(&task, updated).await.map_err(failed)?;
            if let Some(error) = refused {
                return Err(failed(error));
            }
            updated = settled;
        } else {
            self.records.put(Arc::new(updated.clone())).await?;
        }
        let updated = Arc::new(updated);
        cell.show(Arc::clone(&updated));
        self.announce(&updated, "update", &[]);
        Ok(warnings)
    }

    /// Gives a running container the limits that its record says it shall have. If the kernel does not take them, it is
    /// said why, and those of before hold, in the record too.
    async fn finish_update(
        &self,
        task: &Task,
        container: Container,
    ) -> Result<(Container, Option<EngineError>), EngineError> {
        let Some(before) = &container.updating else { return Ok((container, None)) };
        let wanted = &container.spec.resources;
        let taken = match oci::resources(wanted) {
            Ok(limits) => task.update(limits).await.map_err(EngineError::from),
            Err(error) => Err(error),
        };
        if taken.is_err()
            && let Err(error) = task.update(oci::resources(&back(before, wanted))?).await
        {
            tracing::warn!(container = %container.id, %error, "may have some of the limits that were refused");
        }
        failpoint!("engine.update.after_apply");
        let settled = match &taken {
            Ok(()) => Container { updating: None, ..container.clone() },
            Err(_) => {
                let spec = ContainerSpec { resources: (**before).clone(), ..(*container.spec).clone() };
                Container { spec: Arc::new(spec), updating: None, ..container.clone() }
            }
        };
        self.records.put(Arc::new(settled.clone())).await?;
        Ok((settled, taken.err()))
    }

    /// Ends an update that the engine before this one began.
    pub async fn settle_update(&self, cell: &Cell) -> Result<(), EngineError> {
        let container = cell.container();
        if container.updating.is_none() {
            return Ok(());
        }
        let mut settled = (*container).clone();
        match cell.task().filter(|_| container.life.run().is_some()) {
            Some(task) => {
                let (now, refused) = self.finish_update(&task, settled).await?;
                settled = now;
                if let Some(error) = refused {
                    tracing::warn!(container = %cell.id, %error, "an update that was begun is taken back");
                }
            }
            // Its next run has the new limits from its start.
            None => {
                settled.updating = None;
                self.records.put(Arc::new(settled.clone())).await?;
            }
        }
        cell.show(Arc::new(settled));
        Ok(())
    }
}

/// What takes a container back from `new` limits to `old` ones: none where there was none.
fn back(old: &Resources, new: &Resources) -> Resources {
    let lifted = |old: i64, new: i64, free: i64| if old == 0 && new != 0 { free } else { old };
    let memory = lifted(old.memory, new.memory, -1);
    let own_quota = old.nano_cpus > 0 || old.cpu_quota != 0;
    Resources {
        memory,
        memory_swap: if memory < 0 { -1 } else { lifted(old.memory_swap, new.memory_swap, -1) },
        memory_reservation: lifted(old.memory_reservation, new.memory_reservation, -1),
        cpu_shares: lifted(old.cpu_shares, new.cpu_shares, 1024),
        cpu_quota: if own_quota { old.cpu_quota } else { lifted(0, new.nano_cpus.max(new.cpu_quota), -1) },
        pids_limit: old.pids_limit.or(new.pids_limit.map(|_| -1)),
        ..old.clone()
    }
}

/// What is set in `new` replaces what was.
fn merge(old: &Resources, new: &Resources) -> Resources {
    let number = |old: i64, new: i64| if new == 0 { old } else { new };
    let text = |old: &String, new: &String| if new.is_empty() { old.clone() } else { new.clone() };
    let mut merged = Resources {
        memory: number(old.memory, new.memory),
        memory_swap: number(old.memory_swap, new.memory_swap),
        memory_reservation: number(old.memory_reservation, new.memory_reservation),
        memory_swappiness: new.memory_swappiness.or(old.memory_swappiness),
        cpu_shares: number(old.cpu_shares, new.cpu_shares),
        cpu_period: number(old.cpu_period, new.cpu_period),
        cpu_quota: number(old.cpu_quota, new.cpu_quota),
        nano_cpus: number(old.nano_cpus, new.nano_cpus),
        cpuset_cpus: text(&old.cpuset_cpus, &new.cpuset_cpus),
        cpuset_mems: text(&old.cpuset_mems, &new.cpuset_mems),
        pids_limit: new.pids_limit.filter(|limit| *limit != 0).or(old.pids_limit),
        cpu_realtime_runtime: number(old.cpu_realtime_runtime, new.cpu_realtime_runtime),
        cpu_realtime_period: number(old.cpu_realtime_period, new.cpu_realtime_period),
        blkio_devices: old.blkio_devices.clone(),
        blkio_weight: if new.blkio_weight == 0 { old.blkio_weight } else { new.blkio_weight },
        oom_kill_disable: new.oom_kill_disable || old.oom_kill_disable,
    };
    // The two ways to limit CPUs exclude each other: the new one wins.
    if new.nano_cpus > 0 && new.cpu_period == 0 && new.cpu_quota == 0 {
        (merged.cpu_period, merged.cpu_quota) = (0, 0);
    } else if new.nano_cpus == 0 && (new.cpu_period > 0 || new.cpu_quota != 0) {
        merged.nano_cpus = 0;
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_is_to_no_limit_where_there_was_none() {
        let new = Resources { memory: 9, nano_cpus: 5, pids_limit: Some(3), ..Resources::default() };
        let none = back(&Resources::default(), &new);
        assert_eq!((none.memory, none.memory_swap, none.cpu_quota, none.pids_limit), (-1, -1, -1, Some(-1)));
        let old = Resources { memory: 7, cpu_quota: 2, pids_limit: Some(1), ..Resources::default() };
        assert_eq!(back(&old, &new), old);
        assert_eq!(back(&Resources::default(), &Resources::default()), Resources::default());
    }

    #[test]
    fn only_what_is_set_changes() {
        let old = Resources { memory: 1, cpu_quota: 5, cpuset_cpus: "0".into(), ..Resources::default() };
        assert_eq!(merge(&old, &Resources::default()), old);
        let new = merge(&old, &Resources { memory: 2, nano_cpus: 7, ..Resources::default() });
        assert_eq!((new.memory, new.cpu_quota, new.nano_cpus), (2, 0, 7));
        assert_eq!(new.cpuset_cpus, "0");
    }
}
