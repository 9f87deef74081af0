//! Docker Engine API request and response types.
