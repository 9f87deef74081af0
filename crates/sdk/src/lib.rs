//! Serve a driver contract as a Docker plugin.
