//! First-party drivers, each a contract implementation.
