use pintle_runtime::Seccomp;

use crate::{EngineError, containers::ContainerSpec};

/// What `--security-opt` comes to.
#[derive(Debug)]
pub(super) struct Security {
    /// `None`: it does not say.
    pub seccomp: Option<Seccomp>,
    pub no_new_privileges: bool,
    pub apparmor: Option<String>,
    pub system_paths_unconfined: bool,
    /// `None`: it does not say.
    pub writable_cgroups: Option<bool>,
}

/// A profile bigger than this is not one.
const LARGEST_PROFILE: usize = 4 << 20;

pub(super) fn parse(spec: &ContainerSpec) -> Result<Security, EngineError> {
    let mut security = Security {
        seccomp: None,
        no_new_privileges: false,
        apparmor: None,
        system_paths_unconfined: false,
        writable_cgroups: None,
    };
    for option in &spec.security_opt {
        if option == "no-new-privileges" {
            security.no_new_privileges = true;
            continue;
        }
        if option == "writable-cgroups" {
            security.writable_cgroups = Some(true);
            continue;
        }
        if option == "disable" {
            continue; // SELinux labels, as old clients write it; there are none here
        }
        // `key:value` is the old form; JSON holds colons, so `=` is looked for first.
        let Some((key, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
            return Err(EngineError::invalid(format!("invalid --security-opt 1: {option:?}")));
        };
        let flag = || {
            truth(value).ok_or_else(|| EngineError::invalid(format!("invalid --security-opt 2: {option:?}")))
        };
        match key {
            "seccomp" => security.seccomp = Some(seccomp(value)?),
            "apparmor" => security.apparmor = (value != "unconfined").then(|| value.to_owned()),
            "label" => {}
            "systempaths" if value == "unconfined" => security.system_paths_unconfined = true,
            "no-new-privileges" => security.no_new_privileges = flag()?,
            "writable-cgroups" => security.writable_cgroups = Some(flag()?),
            _ => return Err(EngineError::invalid(format!("invalid --security-opt 2: {option:?}"))),
        }
    }
    Ok(security)
}

/// As Go reads it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn seccomp(value: &str) -> Result<Seccomp, EngineError> {
    match value {
        "unconfined" => Ok(Seccomp::Unconfined),
        "builtin" => Ok(Seccomp::Default),
        profile if profile.len() > LARGEST_PROFILE => {
            Err(EngineError::invalid("the seccomp profile is too large"))
        }
        profile => serde_json::from_str(profile)
            .map(Seccomp::Profile)
            .map_err(|error| EngineError::invalid(format!("Decoding seccomp profile failed: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(options: &[&str]) -> Result<Security, EngineError> {
        parse(&ContainerSpec {
            security_opt: options.iter().map(|option| (*option).to_owned()).collect(),
            ..ContainerSpec::default()
        })
    }

    #[test]
    fn forms() {
        assert!(with(&["no-new-privileges"]).unwrap().no_new_privileges);
        assert!(with(&["no-new-privileges:true"]).unwrap().no_new_privileges);
        assert!(!with(&["no-new-privileges=false"]).unwrap().no_new_privileges);
        assert_eq!(with(&[]).unwrap().seccomp, None);
        assert_eq!(with(&["seccomp=unconfined"]).unwrap().seccomp, Some(Seccomp::Unconfined));
        assert_eq!(with(&["seccomp:unconfined"]).unwrap().seccomp, Some(Seccomp::Unconfined));
        let profile = r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#;
        assert!(matches!(with(&[profile]).unwrap().seccomp, Some(Seccomp::Profile(_))));
        assert!(with(&["systempaths=unconfined"]).unwrap().system_paths_unconfined);
        assert_eq!(with(&[]).unwrap().writable_cgroups, None);
        assert_eq!(with(&["writable-cgroups"]).unwrap().writable_cgroups, Some(true));
        assert_eq!(with(&["writable-cgroups=1"]).unwrap().writable_cgroups, Some(true));
        assert_eq!(with(&["writable-cgroups=false"]).unwrap().writable_cgroups, Some(false));
        for bad in ["bogus", "bogus=1", "seccomp={", "no-new-privileges=perhaps"] {
            with(&[bad]).unwrap_err();
        }
        for bad in ["writable-cgroups=potato", "writeable-cgroups=true"] {
            assert_eq!(with(&[bad]).unwrap_err().message, format!("invalid --security-opt 2: {bad:?}"));
        }
    }
}
