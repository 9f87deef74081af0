//! Links, addresses, routes and packet filters in network namespaces: what the engine's sandboxes, the network
//! drivers and their conformance suite ask of the kernel.
