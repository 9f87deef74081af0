//! The plugin protocol's bytes: JSON shapes, config.json, activation. Opens no socket.
