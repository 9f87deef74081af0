//! Capability sets between spec and kernel, and the wider ones that loading a filter needs.

use libcontainer::oci_spec::runtime::{Capability, LinuxCapabilities, Process};

use super::capabilities::{from_mask, to_mask};
use crate::bundle::CapabilityMasks;

/// The sets that a spec asks for.
pub(crate) fn masks(sets: Option<&LinuxCapabilities>) -> Option<CapabilityMasks> {
    let sets = sets?;
    let mask = |set: &Option<_>| set.as_ref().map_or(0, to_mask);
    Some(CapabilityMasks {
        bounding: mask(sets.bounding()),
        effective: mask(sets.effective()),
        permitted: mask(sets.permitted()),
        inheritable: mask(sets.inheritable()),
        ambient: mask(sets.ambient()),
    })
}

/// Writes the sets that the embedded runtime shall leave the process with: the real ones, and, when a filter has to be
/// loaded without no-new-privileges, CAP_SYS_ADMIN and CAP_SETPCAP besides; CAP_CHOWN to hand a terminal to its user.
/// The launcher drops all of these again. `joins`: it has to
/// enter a user namespace first, which takes the same and chown.
/// Inheritable and ambient are left to the launcher altogether.
pub(crate) fn widen(process: &mut Process, real: CapabilityMasks, filtered: bool, joins: bool) {
    // Without an extra the embedded runtime has dropped the bounding set by itself; with one, the launcher needs
    // CAP_SETPCAP for it.
    let mut extra = 0;
    if filtered && process.no_new_privileges() != Some(true) {
        extra |= to_mask(&[Capability::SysAdmin, Capability::Setpcap].into());
    }
    if process.terminal() == Some(true) && process.user().uid() != 0 {
        extra |= to_mask(&[Capability::Chown, Capability::Setpcap].into());
    }
    if joins {
        extra |= to_mask(&[Capability::SysAdmin, Capability::Setpcap, Capability::Chown].into());
    }
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(from_mask(real.bounding | extra)))
        .set_effective(Some(from_mask(real.effective | extra)))
        .set_permitted(Some(from_mask(real.permitted | extra)))
        .set_inheritable(Some(from_mask(real.inheritable)))
        .set_ambient(Some(from_mask(real.ambient)));
    process.set_capabilities(Some(sets));
}
