//! What a refused request reads.

use serde::{Deserialize, Serialize};

/// The body of every answer whose status is 400 or more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What people read.
    pub message: String,
}
