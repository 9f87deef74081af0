//! Docker's seccomp profiles, compiled to classic BPF.
