//! Docker's seccomp profiles, compiled to classic BPF.
//!
//! The engine compiles ([`Profile::docker_default`] or [`Profile::parse`], then [`compile`]) and writes the program
//! into the task's directory; the shim loads it into the container's init and into every exec alike. There is no
//! libseccomp: its rules for profiles with several conditions on one call are followed where Docker's users can see
//! them, and spelled out in [`compile`].

mod arch;
mod assemble;
mod default;
mod filter;
mod oci;
mod profile;

pub use arch::Arch;
pub(crate) use filter::Instruction;
pub use filter::{Program, compile};
pub use profile::{Action, Compare, Condition, Profile, ProfileError, Rule};

#[cfg(test)]
mod tests;
