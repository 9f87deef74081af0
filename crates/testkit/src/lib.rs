//! One conformance suite per contract, faulty plugins, and the means for end-to-end stories.
