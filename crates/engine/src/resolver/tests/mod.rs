//! The resolver in namespaces that are real, with clients and servers that are.

mod elsewhere;
mod hostile;
mod house;
mod ours;
