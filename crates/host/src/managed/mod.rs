//! Plugins that we install, start, watch, upgrade and remove.
//!
//! Each plugin has an [`owner`] task, the only one that changes its record and acts on its process; what it
//! does next is decided by the pure [`state::step`]. What the user wants is in the store before anything is
//! done about it, so a crash at any line is made good by the next [`Plugins::open`] and `boot`.

mod change;
mod command;
mod content;
mod context;
mod diagnose;
mod effects;
mod failure;
mod grants;
mod install;
mod launch;
mod mounts;
mod names;
mod networking;
mod order;
mod owner;
mod package;
mod paths;
mod plugins;
mod push;
mod record;
mod shared;
mod spec;
mod state;

pub(crate) use plugins::Plugins;
