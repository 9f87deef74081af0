//! Discover, activate and call plugins; the managed-plugin life cycle.
