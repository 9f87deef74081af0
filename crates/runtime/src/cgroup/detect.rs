//! Which hierarchies there are.
