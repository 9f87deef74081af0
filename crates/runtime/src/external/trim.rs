//! Fitting a spec to a runtime: what is only there by default and the runtime lacks is left out, what somebody demanded
//! is refused with the field that demands it.

use libcontainer::oci_spec::runtime::{Capability, LinuxNamespaceType, Spec};
use serde_json::Value;

use super::Features;
use crate::cgroup::Setup;
use crate::error::RuntimeError;

/// Something that a runtime may lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A namespace, by its OCI name.
    Namespace(LinuxNamespaceType),
    /// A capability.
    Capability(Capability),
    /// A system call filter.
    Seccomp,
    /// An AppArmor profile.
    AppArmor,
    /// Intel's resource director.
    IntelRdt,
    /// A mount option.
    MountOption(String),
}

/// What the user asked for by a field, as opposed to what is there by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The field, as the API calls it: `HostConfig.CapAdd`.
    pub field: String,
    /// What it needs.
    pub need: Need,
}

/// Mount options that came late; a runtime that does not list its own has none of them.
const LATE_OPTIONS: [&str; 20] = [
    "rro",
    "rrw",
    "rnosuid",
    "rsuid",
    "rnodev",
    "rdev",
    "rnoexec",
    "rexec",
    "rnodiratime",
    "rdiratime",
    "rrelatime",
    "rnorelatime",
    "rnoatime",
    "ratime",
    "rstrictatime",
    "rnostrictatime",
    "rnosymfollow",
    "rsymfollow",
    "idmap",
    "ridmap",
];
/// Namespaces without which nothing is a container, or not an isolated one: never left out in silence.
const SPARED: [LinuxNamespaceType; 2] = [LinuxNamespaceType::Cgroup, LinuxNamespaceType::Time];
/// The version of a runtime that does not say its own.
const OLD: &str = "1.0.2";

struct Fit<'a> {
    runtime: &'a str,
    features: &'a Features,
    demands: &'a [Demand],
}

/// Fits `spec` to a runtime. `None` for features: it does not say, and is taken for one of 2017.
///
/// # Errors
/// `InvalidArgument` naming the field and the runtime.
pub(crate) fn trim(
    spec: &mut Spec,
    runtime: &str,
    features: Option<&Features>,
    demands: &[Demand],
    setup: Setup,
) -> Result<(), RuntimeError> {
    let nothing = Features::default();
    let fit = Fit { runtime, features: features.unwrap_or(&nothing), demands };
    fit.control_groups(setup)?;
    fit.version(spec);
    fit.hooks(spec)?;
    fit.mounts(spec)?;
    fit.capabilities(spec)?;
    fit.namespaces(spec)?;
    fit.security(spec)
}

impl Fit<'_> {
    fn lacks(&self, what: &str, field: &str) -> RuntimeError {
        RuntimeError::InvalidArgument(format!("{field}: runtime {:?} does not support {what}", self.runtime))
    }

    fn demanded(&self, need: &Need) -> Option<&str> {
        self.demands.iter().find(|demand| demand.need == *need).map(|demand| demand.field.as_str())
    }

    fn control_groups(&self, setup: Setup) -> Result<(), RuntimeError> {
        let group = &self.features.linux.cgroup;
        let (usable, which) =
            if setup == Setup::Unified { (group.v2, "version 2") } else { (group.v1, "version 1") };
        if usable == Some(false) {
            return Err(self
                .lacks(&format!("control groups of {which}, which this machine has"), "HostConfig.Runtime"));
        }
        Ok(())
    }

    fn version(&self, spec: &mut Spec) {
        let newest = self.features.oci_version_max.as_deref().unwrap_or(OLD);
        if order(newest) < order(spec.version()) {
            spec.set_version(newest.split('-').next().unwrap_or(OLD).to_owned());
        }
    }

    fn hooks(&self, spec: &Spec) -> Result<(), RuntimeError> {
        let (Some(known), Some(hooks)) = (&self.features.hooks, spec.hooks()) else { return Ok(()) };
        let Ok(Value::Object(wanted)) = serde_json::to_value(hooks) else { return Ok(()) };
        for (kind, list) in wanted {
            if list.as_array().is_some_and(|list| !list.is_empty()) && !known.contains(&kind) {
                return Err(self.lacks(&format!("{kind} hooks"), "HostConfig.DeviceRequests"));
            }
        }
        Ok(())
    }

    fn mounts(&self, spec: &mut Spec) -> Result<(), RuntimeError> {
        let known = self.features.mount_options.as_ref();
        let lacking = |option: &String| {
            LATE_OPTIONS.contains(&option.as_str()) && !known.is_some_and(|known| known.contains(option))
        };
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        for mount in &mut mounts {
            let Some(options) = mount.options() else { continue };
            if let Some(option) = options.iter().find(|option| lacking(option))
                && let Some(field) = self.demanded(&Need::MountOption(option.clone()))
            {
                return Err(self.lacks(&format!("the mount option {option:?}"), field));
            }
            let kept = options.iter().filter(|option| !lacking(option)).cloned().collect();
            mount.set_options(Some(kept));
        }
        spec.set_mounts(Some(mounts));
        Ok(())
    }

    fn capabilities(&self, spec: &mut Spec) -> Result<(), RuntimeError> {
        let Some(known) = &self.features.linux.capabilities else { return Ok(()) };
        let lacking = |capability: &Capability| !known.contains(&crate::spec::capability_name(*capability));
        for demand in self.demands {
            if let Need::Capability(capability) = &demand.need
                && lacking(capability)
            {
                let name = crate::spec::capability_name(*capability);
                return Err(self.lacks(&format!("the capability {name}"), &demand.field));
            }
        }
        let Some(mut sets) = spec.process().as_ref().and_then(|process| process.capabilities().clone())
        else {
            return Ok(());
        };
        let kept = |set: &Option<libcontainer::oci_spec::runtime::Capabilities>| {
            set.as_ref().map(|set| set.iter().filter(|one| !lacking(one)).copied().collect())
        };
        let (bounding, effective, permitted) =
            (kept(sets.bounding()), kept(sets.effective()), kept(sets.permitted()));
        let (inheritable, ambient) = (kept(sets.inheritable()), kept(sets.ambient()));
        sets.set_bounding(bounding)
            .set_effective(effective)
            .set_permitted(permitted)
            .set_inheritable(inheritable)
            .set_ambient(ambient);
        if let Some(process) = spec.process_mut() {
            process.set_capabilities(Some(sets));
        }
        Ok(())
    }

    fn namespaces(&self, spec: &mut Spec) -> Result<(), RuntimeError> {
        let Some(known) = &self.features.linux.namespaces else { return Ok(()) };
        let Some(linux) = spec.linux_mut() else { return Ok(()) };
        let mut kept = linux.namespaces().clone().unwrap_or_default();
        let name = |kind: LinuxNamespaceType| {
            serde_json::to_value(kind)
                .ok()
                .and_then(|name| name.as_str().map(str::to_owned))
                .unwrap_or_default()
        };
        for kind in kept.iter().map(|namespace| namespace.typ()).filter(|kind| !known.contains(&name(*kind)))
        {
            match self.demanded(&Need::Namespace(kind)) {
                Some(field) => return Err(self.lacks(&format!("{} namespaces", name(kind)), field)),
                None if SPARED.contains(&kind) => {}
                None => return Err(self.lacks(&format!("{} namespaces", name(kind)), "HostConfig.Runtime")),
            }
        }
        kept.retain(|namespace| known.contains(&name(namespace.typ())));
        linux.set_namespaces(Some(kept));
        Ok(())
    }

    fn security(&self, spec: &mut Spec) -> Result<(), RuntimeError> {
        let off = |switch: Option<bool>| switch == Some(false);
        if off(self.features.linux.apparmor.enabled)
            && let Some(process) = spec.process_mut()
            && process.apparmor_profile().is_some()
        {
            if let Some(field) = self.demanded(&Need::AppArmor) {
                return Err(self.lacks("AppArmor", field));
            }
            process.set_apparmor_profile(None);
        }
        let Some(linux) = spec.linux_mut() else { return Ok(()) };
        if off(self.features.linux.intel_rdt.enabled) && linux.intel_rdt().is_some() {
            let field = self.demanded(&Need::IntelRdt).unwrap_or("HostConfig.Annotations");
            return Err(self.lacks("Intel RDT", field));
        }
        let Some(filter) = linux.seccomp() else { return Ok(()) };
        let field = self.demanded(&Need::Seccomp);
        let known = &self.features.linux.seccomp;
        if off(known.enabled) {
            if let Some(field) = field {
                return Err(self.lacks("system call filters", field));
            }
            tracing::warn!(
                runtime = self.runtime,
                "this runtime has no system call filters: its container has none"
            );
            linux.set_seccomp(None);
            return Ok(());
        }
        let Ok(mut filter) = serde_json::to_value(filter) else { return Ok(()) };
        let said = |list: &Option<Vec<String>>, word: &Value| {
            list.as_ref()
                .is_none_or(|list| word.as_str().is_some_and(|word| list.iter().any(|one| one == word)))
        };
        for (key, list) in [("architectures", &known.archs), ("flags", &known.supported_flags)] {
            if let Some(words) = filter.get_mut(key).and_then(Value::as_array_mut) {
                words.retain(|word| said(list, word));
            }
        }
        let rules = filter.get("syscalls").and_then(Value::as_array);
        for rule in rules.into_iter().flatten() {
            let comparisons = rule.get("args").and_then(Value::as_array).into_iter().flatten();
            let words = comparisons.filter_map(|one| one.get("op")).map(|op| (op, &known.operators));
            for (word, list) in words.chain(rule.get("action").map(|action| (action, &known.actions))) {
                if !said(list, word) {
                    // A filter with holes is worse than none that is known to be missing.
                    let field = field.unwrap_or("HostConfig.SecurityOpt");
                    return Err(self.lacks(&format!("{word} in system call filters"), field));
                }
            }
        }
        linux.set_seccomp(serde_json::from_value(filter).ok());
        Ok(())
    }
}

/// A version in an order; what is no number counts nothing.
fn order(version: &str) -> Vec<u64> {
    let plain = version.split('-').next().unwrap_or("");
    plain.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}
