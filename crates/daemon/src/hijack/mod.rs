//! Connections that stop being HTTP: attach and exec.
//!
//! | module | job |
//! |---|---|
//! | [`sniff`] | lets clients that never ask for an upgrade be upgraded all the same |
//! | [`offer`] | the chance to take a connection over, and the answer that does |
//! | [`detach`] | the keys that leave a terminal without ending what runs in it |
//! | [`splice`] | bytes between the client and the shim |

pub(crate) mod detach;
pub(crate) mod offer;
pub(crate) mod sniff;
pub(crate) mod splice;

pub(crate) use detach::DetachKeys;
pub(crate) use offer::Offer;
