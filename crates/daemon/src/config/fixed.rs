use super::Config;

macro_rules! fixed {
    ($($field:ident = $key:literal,)*) => {
        /// What takes a restart.
        pub(super) const FIXED: &[&str] = &[$($key),*];

        impl Config {
            /// A configuration that was read again, with the old values of what cannot change while the engine
            /// runs, and the keys where that makes a difference.
            pub(crate) fn after_reload(mut self, old: &Self) -> (Self, Vec<&'static str>) {
                let mut kept = Vec::new();
                $(if self.$field != old.$field {
                    kept.push($key);
                    self.$field = old.$field.clone();
                })*
                (self, kept)
            }
        }
    };
}

fixed! {
    hosts = "hosts",
    data_root = "data-root",
    exec_root = "exec-root",
    pidfile = "pidfile",
    group = "group",
    tls = "tls",
    network = "bridge, bip, dns and the others of networks",
    plugin_sockets = "plugin-sockets",
    plugin_spec_dirs = "plugin-spec-dirs",
    plugin_runtimes = "plugins.runtimes",
    authorization_recovery_socket = "authorization-recovery-socket",
    metrics_addr = "metrics-addr",
    audit = "audit",
    identity = "identity",
    policy = "policy",
    cdi_spec_dirs = "cdi-spec-dirs",
    cgroup_parent = "cgroup-parent",
    log_driver = "log-driver",
    log_opts = "log-opts",
    seccomp = "seccomp-profile",
    storage_size = "storage-opts",
    oom_score_adjust = "oom-score-adjust",
}
