//! The composition root: config, Docker HTTP routes, kinds to statuses.
