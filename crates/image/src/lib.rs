//! Content store, layers, snapshots and the registry client.
