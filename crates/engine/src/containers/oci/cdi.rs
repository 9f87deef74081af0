//! Devices that files of the Container Device Interface describe.

use std::path::PathBuf;

use pintle_runtime::{
    cdi::{CdiError, DeviceRequest, Registry},
    oci_spec::runtime::Spec,
};

use crate::EngineError;

impl From<CdiError> for EngineError {
    fn from(error: CdiError) -> Self {
        match error {
            CdiError::Invalid(why) => Self::invalid(why),
            // Docker's status for these is that of its own mistakes.
            other => Self::internal(other.to_string()),
        }
    }
}

/// Puts what was asked for into a specification. Reads the files anew: devices come and go.
pub(in crate::containers) fn inject(
    spec: &mut Spec,
    requests: &[DeviceRequest],
    dirs: &[PathBuf],
) -> Result<(), EngineError> {
    if requests.is_empty() {
        return Ok(());
    }
    let registry = Registry::read(dirs);
    for (path, why) in &registry.errors {
        tracing::warn!(file = %path.display(), why, "a CDI file is passed over");
    }
    let mut names = Vec::new();
    for request in requests {
        names.extend(request.resolve(&registry)?);
    }
    Ok(registry.inject(spec, &names)?)
}
