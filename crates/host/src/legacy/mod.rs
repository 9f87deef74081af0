//! Plugins that somebody else started: found by their sockets and spec files, activated once, shared by all.

mod activate;
mod discovery;
#[cfg(test)]
mod tests;
mod trust;

pub(crate) use activate::Legacy;
