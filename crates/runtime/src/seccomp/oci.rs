//! A profile as the `linux.seccomp` of an OCI spec, for runtimes that load filters themselves.

use libcontainer::oci_spec::runtime::LinuxSeccomp;
use serde_json::{Map, Value, json};

use super::arch::Arch;
use super::profile::{Action, Compare, FLAG_LOG, FLAG_SPEC_ALLOW, Profile};

impl Profile {
    /// The same profile in the words of the OCI runtime specification.
    pub(crate) fn to_oci(&self) -> Option<LinuxSeccomp> {
        let rules: Vec<Value> = self
            .rules
            .iter()
            .map(|rule| {
                let conditions: Vec<Value> = rule
                    .conditions
                    .iter()
                    .map(|condition| {
                        json!({
                            "index": condition.index,
                            "value": condition.value,
                            "valueTwo": condition.masked,
                            "op": operator(condition.compare),
                        })
                    })
                    .collect();
                let mut rule = with_errno("action", "errnoRet", rule.action, json!({ "names": rule.names }));
                if !conditions.is_empty() {
                    rule.insert("args".to_owned(), conditions.into());
                }
                rule.into()
            })
            .collect();
        let arches: Vec<String> =
            self.arches.iter().map(|arch| format!("SCMP_ARCH_{}", scmp(*arch))).collect();
        let mut all = with_errno(
            "defaultAction",
            "defaultErrnoRet",
            self.default,
            json!({ "architectures": arches, "syscalls": rules }),
        );
        // Without any flag runtimes allow speculation by themselves.
        if self.flags & FLAG_LOG != 0 {
            let mut flags = vec!["SECCOMP_FILTER_FLAG_LOG"];
            if self.flags & FLAG_SPEC_ALLOW != 0 {
                flags.push("SECCOMP_FILTER_FLAG_SPEC_ALLOW");
            }
            all.insert("flags".to_owned(), json!(flags));
        }
        serde_json::from_value(all.into()).ok()
    }
}

fn with_errno(action_key: &str, errno_key: &str, action: Action, rest: Value) -> Map<String, Value> {
    let (word, number) = match action {
        Action::KillThread => ("SCMP_ACT_KILL_THREAD", None),
        Action::KillProcess => ("SCMP_ACT_KILL_PROCESS", None),
        Action::Trap => ("SCMP_ACT_TRAP", None),
        Action::Errno(number) => ("SCMP_ACT_ERRNO", Some(number)),
        Action::Trace(number) => ("SCMP_ACT_TRACE", Some(number)),
        Action::Log => ("SCMP_ACT_LOG", None),
        Action::Allow => ("SCMP_ACT_ALLOW", None),
    };
    let mut all = match rest {
        Value::Object(all) => all,
        _ => Map::new(),
    };
    all.insert(action_key.to_owned(), word.into());
    if let Some(number) = number {
        all.insert(errno_key.to_owned(), number.into());
    }
    all
}

fn operator(compare: Compare) -> &'static str {
    match compare {
        Compare::Ne => "SCMP_CMP_NE",
        Compare::Lt => "SCMP_CMP_LT",
        Compare::Le => "SCMP_CMP_LE",
        Compare::Eq => "SCMP_CMP_EQ",
        Compare::Ge => "SCMP_CMP_GE",
        Compare::Gt => "SCMP_CMP_GT",
        Compare::MaskedEq => "SCMP_CMP_MASKED_EQ",
    }
}

fn scmp(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "X86_64",
        Arch::X86 => "X86",
        Arch::X32 => "X32",
        Arch::Aarch64 => "AARCH64",
        Arch::Arm => "ARM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_comes_back_the_same() {
        let profile = Profile::docker_default(&["CAP_SYS_ADMIN".to_owned()]);
        let oci = serde_json::to_value(profile.to_oci().unwrap()).unwrap();
        assert_eq!((&oci["defaultAction"], &oci["defaultErrnoRet"]), (&json!("SCMP_ACT_ERRNO"), &json!(1)));
        // Docker's own format and the specification's share these keys.
        let mut back = Profile::parse(&oci, &[]).unwrap();
        for (rule, own) in back.rules.iter_mut().zip(&profile.rules) {
            // Whether conditions on one argument are alternatives was decided before.
            assert_eq!(rule, own);
        }
        back.rules.clone_from(&profile.rules);
        assert_eq!(back, profile);
    }
}
