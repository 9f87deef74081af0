//! Which devices a request means, in Docker's words for those that it means none.

use std::collections::BTreeSet;

use libcontainer::oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::registry::Registry;

/// A wish for devices: `--device vendor.com/class=name` or `--gpus`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// `cdi`, a vendor, or empty for whoever has the capabilities.
    pub driver: String,
    /// How many; -1: all.
    pub count: i64,
    /// Which.
    pub ids: Vec<String>,
    /// Alternatives of what the devices can do.
    pub capabilities: Vec<Vec<String>>,
    /// Whether there are options, which CDI has no place for.
    pub options: bool,
}

/// Why a wish cannot be granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CdiError {
    /// It contradicts itself.
    #[error("{0}")]
    Invalid(String),
    /// No such device.
    #[error("{0}")]
    NotFound(String),
    /// The device is described but cannot be given.
    #[error("CDI device injection failed: {0}")]
    Failed(String),
}

impl DeviceRequest {
    /// Refuses what can never be granted.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> Result<(), CdiError> {
        let invalid = |why: &str| Err(CdiError::Invalid(why.to_owned()));
        if self.driver == "cdi" {
            if self.count != 0 {
                return invalid("count parameter is not supported for CDI");
            }
            if self.options {
                return invalid("options parameter is not supported for CDI");
            }
            return Ok(());
        }
        if self.count != 0 && !self.ids.is_empty() {
            return invalid("cannot set both Count and DeviceIDs on device request");
        }
        Ok(())
    }

    /// The devices that it means.
    ///
    /// # Errors
    /// `Invalid` and `NotFound`.
    pub fn resolve(&self, registry: &Registry) -> Result<Vec<String>, CdiError> {
        self.check()?;
        if self.driver == "cdi" {
            return Ok(self.ids.clone());
        }
        let none = || {
            let all: Vec<String> =
                self.capabilities.iter().map(|all| format!("[{}]", all.join(" "))).collect();
            CdiError::NotFound(format!(
                "could not select device driver {:?} with capabilities: [{}]",
                self.driver,
                all.join(" ")
            ))
        };
        if !self.capabilities.iter().any(|all| all.iter().any(|one| one == "gpu")) {
            return Err(none());
        }
        // One vendor's devices, and no other's: names may mean different things.
        let is_of = |kind: &str| match self.driver.as_str() {
            "" => true,
            driver => kind
                .split('/')
                .next()
                .is_some_and(|vendor| vendor == driver || vendor.strip_suffix(".com") == Some(driver)),
        };
        let kinds: BTreeSet<&str> = registry
            .names()
            .filter_map(|name| name.split_once('=').map(|(kind, _)| kind))
            .filter(|kind| kind.ends_with("/gpu") && is_of(kind))
            .collect();
        let kind = *kinds.first().ok_or_else(none)?;
        let of_kind = |name: &str| format!("{kind}={name}");
        if !self.ids.is_empty() {
            return Ok(self
                .ids
                .iter()
                .map(|id| if id.contains('=') { id.clone() } else { of_kind(id) })
                .collect());
        }
        let single: Vec<String> = registry
            .names()
            .filter(|name| {
                name.strip_prefix(kind).is_some_and(|rest| rest.starts_with('=') && rest != "=all")
            })
            .map(str::to_owned)
            .collect();
        match usize::try_from(self.count) {
            // Negative: all of them, by the name that vendors have for that.
            Err(_) if registry.devices.contains_key(&of_kind("all")) => Ok(vec![of_kind("all")]),
            Err(_) => Ok(single),
            Ok(count) => {
                let plain: Vec<String> = single.iter().filter(|name| is_number(name)).cloned().collect();
                let from = if plain.len() >= count { plain } else { single };
                if from.len() < count {
                    return Err(none());
                }
                Ok(from.into_iter().take(count).collect())
            }
        }
    }
}

fn is_number(name: &str) -> bool {
    name.rsplit_once('=').is_some_and(|(_, name)| name.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Registry {
    /// Puts devices into a spec; what every device of a file needs, once.
    ///
    /// # Errors
    /// `Failed`, naming all devices that are not described, or what of one is not there.
    pub fn inject(&self, spec: &mut Spec, names: &[String]) -> Result<(), CdiError> {
        let unknown: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| !self.devices.contains_key(*name)).collect();
        if !unknown.is_empty() {
            return Err(CdiError::Failed(format!("unresolvable CDI devices {}", unknown.join(", "))));
        }
        let mut files = BTreeSet::new();
        for device in names.iter().filter_map(|name| self.devices.get(name)) {
            if files.insert(&device.file) {
                device.common.apply(spec).map_err(CdiError::Failed)?;
            }
            device.own.apply(spec).map_err(CdiError::Failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Setup;
    use crate::spec::default_spec;

    fn registry() -> (tempfile::TempDir, Registry) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("a.json"),
            r#"{"cdiVersion":"0.6.0","kind":"nvidia.com/gpu","containerEdits":{"env":["COMMON=1"],
                "mounts":[{"hostPath":"/etc","containerPath":"/opt/etc","options":["ro"]}]},
                "devices":[
                {"name":"0","containerEdits":{"deviceNodes":[{"path":"/dev/gpu0","hostPath":"/dev/null","permissions":"rw"}],
                    "hooks":[{"hookName":"createContainer","path":"/bin/true","args":["true","x"]}]}},
                {"name":"1","containerEdits":{"deviceNodes":[{"path":"/dev/nope-1"}]}},
                {"name":"all","containerEdits":{"env":["ALL=1"],"additionalGids":[44,0]}}]}"#,
        )
        .unwrap();
        let registry = Registry::read(&[dir.path().to_owned()]);
        assert_eq!(registry.errors, []);
        (dir, registry)
    }

    fn gpus(count: i64, ids: &[&str]) -> DeviceRequest {
        DeviceRequest {
            count,
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            capabilities: vec![vec!["gpu".into()]],
            ..DeviceRequest::default()
        }
    }

    #[test]
    fn gpus_are_cdi_devices() {
        let (_dir, registry) = registry();
        assert_eq!(gpus(-1, &[]).resolve(&registry).unwrap(), ["nvidia.com/gpu=all"]);
        assert_eq!(gpus(1, &[]).resolve(&registry).unwrap(), ["nvidia.com/gpu=0"]);
        assert_eq!(gpus(0, &["1"]).resolve(&registry).unwrap(), ["nvidia.com/gpu=1"]);
        assert_eq!(
            gpus(9, &[]).resolve(&registry).unwrap_err().to_string(),
            "could not select device driver \"\" with capabilities: [[gpu]]"
        );
        let amd = DeviceRequest { driver: "amd".into(), ..gpus(1, &[]) };
        amd.resolve(&registry).unwrap_err();
        let nvidia = DeviceRequest { driver: "nvidia".into(), ..gpus(1, &[]) };
        nvidia.resolve(&registry).unwrap();
        assert_eq!(
            gpus(1, &["0"]).check().unwrap_err().to_string(),
            "cannot set both Count and DeviceIDs on device request"
        );
        DeviceRequest { driver: "cdi".into(), count: 1, ..DeviceRequest::default() }.check().unwrap_err();
    }

    #[test]
    fn what_a_device_needs_is_in_the_spec() {
        let (_dir, registry) = registry();
        let mut spec = default_spec(Setup::Hybrid);
        let names = ["nvidia.com/gpu=0", "nvidia.com/gpu=all"].map(str::to_owned);
        registry.inject(&mut spec, &names).unwrap();
        let process = spec.process().as_ref().unwrap();
        let env = process.env().as_ref().unwrap();
        assert_eq!(env.iter().filter(|entry| *entry == "COMMON=1").count(), 1);
        assert!(env.contains(&"ALL=1".to_owned()));
        assert_eq!(process.user().additional_gids(), &Some(vec![44]));
        let linux = spec.linux().as_ref().unwrap();
        let device = &linux.devices().as_ref().unwrap()[0];
        assert_eq!((device.path().to_str(), device.major(), device.minor()), (Some("/dev/gpu0"), 1, 3));
        let rule = linux.resources().as_ref().unwrap().devices().as_ref().unwrap().last().unwrap().clone();
        assert_eq!((rule.major(), rule.access().as_deref()), (Some(1), Some("rw")));
        assert!(
            spec.mounts()
                .as_ref()
                .unwrap()
                .iter()
                .any(|mount| mount.destination().to_str() == Some("/opt/etc"))
        );
        assert_eq!(spec.hooks().as_ref().unwrap().create_container().as_ref().unwrap().len(), 1);

        let missing =
            registry.inject(&mut spec, &["v.com/x=1".to_owned(), "v.com/x=2".to_owned()]).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "CDI device injection failed: unresolvable CDI devices v.com/x=1, v.com/x=2"
        );
        let gone = registry.inject(&mut spec, &["nvidia.com/gpu=1".to_owned()]).unwrap_err();
        assert!(gone.to_string().contains("/dev/nope-1: no such file or directory"), "{gone}");
    }
}
