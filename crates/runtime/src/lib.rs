//! OCI processes: bundles, the shim, the embedded runtime, cgroups and stdio.
