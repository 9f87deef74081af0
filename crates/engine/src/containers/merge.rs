//! What an image says and what a client says, merged as Docker merges them.

use pintle_image::ContainerConfig;

use super::ContainerSpec;
use crate::EngineError;

/// Fills in what the client left to the image. Returns the program and its arguments.
pub(super) fn merge(
    spec: &mut ContainerSpec,
    image: Option<&ContainerConfig>,
) -> Result<(String, Vec<String>), EngineError> {
    if let Some(image) = image {
        if spec.user.is_empty() {
            spec.user.clone_from(&image.user);
        }
        if spec.working_dir.is_empty() {
            spec.working_dir.clone_from(&image.working_dir);
        }
        spec.healthcheck = super::health::settle(spec.healthcheck.take(), image.healthcheck.as_ref());
        if spec.stop_signal.is_none() && !image.stop_signal.is_empty() {
            spec.stop_signal = Some(image.stop_signal.clone());
        }
        for (key, value) in &image.labels {
            spec.labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
        add_missing(&mut spec.exposed_ports, image.exposed_ports.keys());
        add_missing(&mut spec.volumes, image.volumes.keys());
        for variable in &image.env {
            let key = variable.split('=').next().unwrap_or_default();
            if !spec.env.iter().any(|own| own.split('=').next() == Some(key)) {
                spec.env.push(variable.clone());
            }
        }
        if spec.entrypoint.as_ref().is_none_or(Vec::is_empty) {
            if spec.cmd.as_ref().is_none_or(Vec::is_empty) {
                spec.cmd.clone_from(&image.cmd);
            }
            if spec.entrypoint.is_none() {
                spec.entrypoint.clone_from(&image.entrypoint);
            }
        }
    }
    // `--entrypoint ""` resets the image's.
    if spec.entrypoint.as_deref() == Some(&[String::new()][..]) {
        spec.entrypoint = None;
    }
    let mut words = spec.entrypoint.iter().chain(&spec.cmd).flatten().cloned();
    let Some(program) = words.next() else {
        return Err(EngineError::invalid("no command specified"));
    };
    Ok((program, words.collect()))
}

fn add_missing<'a>(own: &mut Vec<String>, others: impl Iterator<Item = &'a String>) {
    for other in others {
        if !own.contains(other) {
            own.push(other.clone());
        }
    }
}

/// The environment of the container's process: Docker's defaults, then the container's own; of two values
/// for one name the later wins, a bare name removes one.
pub(super) fn environment(defaults: Vec<String>, own: &[String]) -> Vec<String> {
    let mut all = defaults;
    for variable in own {
        let key = variable.split('=').next().unwrap_or_default();
        let at = all.iter().position(|known| known.split('=').next() == Some(key));
        match (variable.contains('='), at) {
            (true, Some(at)) => {
                if let Some(slot) = all.get_mut(at) {
                    slot.clone_from(variable);
                }
            }
            (true, None) => all.push(variable.clone()),
            (false, Some(at)) => {
                all.remove(at);
            }
            (false, None) => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|word| (*word).to_owned()).collect())
    }

    fn image() -> ContainerConfig {
        ContainerConfig {
            entrypoint: words(&["/entry"]),
            cmd: words(&["default"]),
            env: vec!["A=image".into(), "B=image".into()],
            working_dir: "/srv".into(),
            ..ContainerConfig::default()
        }
    }

    fn run(entrypoint: Option<Vec<String>>, cmd: Option<Vec<String>>) -> Vec<String> {
        let mut spec = ContainerSpec { entrypoint, cmd, ..ContainerSpec::default() };
        let (program, mut rest) = merge(&mut spec, Some(&image())).unwrap();
        rest.insert(0, program);
        rest
    }

    #[test]
    fn command_and_entrypoint() {
        assert_eq!(run(None, None), ["/entry", "default"]);
        assert_eq!(run(None, words(&["x"])), ["/entry", "x"]);
        assert_eq!(run(words(&["/mine"]), None), ["/mine"]);
        assert_eq!(run(words(&["/mine"]), words(&["x"])), ["/mine", "x"]);
        assert_eq!(run(words(&[""]), words(&["x"])), ["x"]);
        let mut nothing = ContainerSpec { entrypoint: words(&[""]), ..ContainerSpec::default() };
        assert_eq!(merge(&mut nothing, Some(&image())).unwrap_err().message, "no command specified");
    }

    #[test]
    fn the_clients_values_win() {
        let mut spec = ContainerSpec { env: vec!["A=mine".into(), "C=1".into()], ..ContainerSpec::default() };
        merge(&mut spec, Some(&image())).unwrap();
        assert_eq!(spec.env, ["A=mine", "C=1", "B=image"]);
        assert_eq!(spec.working_dir, "/srv");
    }

    #[test]
    fn environment_replaces_and_removes() {
        let defaults = vec!["PATH=/bin".to_owned(), "HOSTNAME=h".to_owned()];
        let own: Vec<String> = ["PATH=/x", "HOSTNAME", "D=a=b", "E"].map(str::to_owned).to_vec();
        assert_eq!(environment(defaults, &own), ["PATH=/x", "D=a=b"]);
    }
}
