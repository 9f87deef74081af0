//! Runtimes that are programs of their own, driven through the OCI command line: runc's words, which crun, youki,
//! runsc, kata-runtime and NVIDIA's wrapper all know.
//!
//! | module | what it holds |
//! |---|---|
//! | [`known`] | the names that containers may ask for, and what is behind each |
//! | [`binary`] | one program: how it is called, and calls that have a time budget |
//! | [`features`] | what a program says that it can do, asked once for each file |
//! | [`trim`] | leaving out of a spec what a runtime lacks, and refusing what was demanded |
//! | [`words`] | what a runtime said when it failed, in Docker's words |
//! | [`sweep`] | what is done for a container whose shim is gone |

pub(crate) mod binary;
pub mod features;
pub mod known;
mod sweep;
pub(crate) mod trim;
pub(crate) mod words;

pub use binary::Binary;
pub use features::Features;
pub use known::{Chosen, Known};
pub(crate) use sweep::sweep;
pub use trim::{Demand, Need};
