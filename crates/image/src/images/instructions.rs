//! The Dockerfile instructions that `import --change` and `commit --change` take.

use crate::{
    ContainerConfig, ImageError,
    dockerfile::{self, Expander, Instruction},
};

/// Applies instructions such as `CMD ["/bin/sh"]` or `ENV A=b`, in order. All or nothing.
pub fn apply_instructions(config: &mut ContainerConfig, instructions: &[String]) -> Result<(), ImageError> {
    let mut changed = config.clone();
    let mut cmd_set = false;
    for step in dockerfile::parse_steps(&instructions.join("\n"))? {
        if !may_change(&step.instruction) {
            let name = step.text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
            return Err(ImageError::invalid(format!("{name:.50} is not a valid change command")));
        }
        let env = changed.env.clone();
        let lookup = |name: &str| dockerfile::variable(&env, name);
        let expander = Expander { escape: '\\', lookup: &lookup };
        dockerfile::apply(&mut changed, &step.instruction, &expander, &mut cmd_set)?;
    }
    *config = changed;
    Ok(())
}

/// Docker's list.
fn may_change(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::Cmd(_)
            | Instruction::Entrypoint(_)
            | Instruction::Env(_)
            | Instruction::Expose(_)
            | Instruction::Healthcheck(_)
            | Instruction::Label(_)
            | Instruction::Onbuild(_)
            | Instruction::StopSignal(_)
            | Instruction::User(_)
            | Instruction::Volume(_)
            | Instruction::Workdir(_)
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(lines: &[&str]) -> Result<ContainerConfig, ImageError> {
        let mut config = ContainerConfig::default();
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        apply_instructions(&mut config, &lines).map(|()| config)
    }

    #[test]
    fn dockers_own_examples_work() {
        let config = applied(&[
            r#"CMD ["/bin/sh", "-c"]"#,
            "env DEBUG=true PATH=/bin",
            r#"ENV GREETING="a b" OTHER=c\ d"#,
            "ENV DEBUG false",
            "EXPOSE 80 443/tcp 8000-8001/udp",
            "WORKDIR /a",
            "WORKDIR b/../c",
            r#"VOLUME ["/data"]"#,
            "VOLUME /x /y",
            "LABEL k=v",
            "USER app:app",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD true",
        ])
        .unwrap();
        assert_eq!(config.cmd.unwrap(), ["/bin/sh", "-c"]);
        assert_eq!(config.env, ["DEBUG=false", "PATH=/bin", "GREETING=a b", "OTHER=c d"]);
        assert_eq!(
            config.exposed_ports.into_keys().collect::<Vec<_>>(),
            ["443/tcp", "80/tcp", "8000/udp", "8001/udp"]
        );
        assert_eq!(config.working_dir, "/a/c");
        assert_eq!(config.volumes.into_keys().collect::<Vec<_>>(), ["/data", "/x", "/y"]);
        assert_eq!(config.healthcheck.unwrap()["Interval"], 90_000_000_000u64);
        assert_eq!(
            applied(&["ENTRYPOINT exec top"]).unwrap().entrypoint.unwrap(),
            ["/bin/sh", "-c", "exec top"]
        );
    }

    #[test]
    fn others_are_refused() {
        for line in ["RUN x", "ENV", "ENV =x", "ENV A=\"", "EXPOSE x", "EXPOSE 9-1", "HEALTHCHECK x"] {
            assert!(applied(&[line]).is_err(), "{line}");
        }
        assert_eq!(applied(&["FROM x"]).unwrap_err().to_string(), "from is not a valid change command");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(line in "(ENV|EXPOSE|HEALTHCHECK|LABEL|VOLUME) .{0,60}") {
            let _ = applied(&[&line]);
        }
    }
}
