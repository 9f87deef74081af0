//! One conformance suite per contract, and plugins that misbehave on purpose.
//!
//! [`volume::conformance`] proves any [`VolumeDriver`](pintle_contract::VolumeDriver): in process, behind a
//! socket through [`client::PluginClient`], or anybody's plugin through `pintle plugin test`. [`faulty`] is
//! the other side: a plugin that hangs, lies, or dies where it is told to, to prove engines with; and
//! [`recorder`] writes down what drivers are asked.

pub mod authorization;
mod check;
pub mod client;
pub mod faulty;
pub mod ipam;
pub mod log;
pub mod network;
pub mod recorder;
pub mod report;
pub mod volume;

/// The guide's examples are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/plugin-authors.md")]
struct Guide;
