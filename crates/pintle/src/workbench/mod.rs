//! What a plugin's author needs: scaffold, compile, validate, package.

pub mod compile;
pub mod elf;
pub mod package;
pub mod place;
pub mod rootfs;
pub mod scaffold;
pub mod sdk;
pub mod starter;
pub mod subject;
pub mod validate;
