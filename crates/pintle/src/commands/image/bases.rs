//! The registries that a Dockerfile names: whose passwords its build may need, and no other.

use std::collections::{BTreeMap, BTreeSet};

use pintle_image::dockerfile::{self, Dockerfile, Expander, Instruction};

use crate::credentials::registry_of;

/// The registries of every base and of every image that files are copied from, with `given` as `--build-arg`s. A text
/// that cannot be read names none; the engine says what is wrong with it.
pub(super) fn registries(text: &str, given: &BTreeMap<String, String>) -> BTreeSet<String> {
    let Ok(file) = dockerfile::parse(text) else { return BTreeSet::new() };
    let arguments = arguments(&file, given);
    let lookup = |name: &str| arguments.get(name).cloned();
    let expander = Expander { escape: file.escape, lookup: &lookup };
    let mut images = Vec::new();
    for stage in &file.stages {
        images.extend(expander.word(&stage.base).ok());
        images.extend(stage.steps.iter().filter_map(|step| match &step.instruction {
            Instruction::Copy(transfer) => transfer.from.clone(),
            _ => None,
        }));
    }
    let stage = |name: &str| {
        name.parse::<usize>().is_ok()
            || file
                .stages
                .iter()
                .any(|stage| stage.name.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(name)))
    };
    let image = |name: &&String| !name.is_empty() && !name.eq_ignore_ascii_case("scratch") && !stage(name);
    images.iter().filter(image).map(|name| registry_of(name)).collect()
}

/// The `ARG`s before the first stage, which alone may stand in a `FROM`.
fn arguments(file: &Dockerfile, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for step in &file.arguments {
        let Instruction::Arg(pairs) = &step.instruction else { continue };
        for (name, default) in pairs {
            let lookup = |name: &str| known.get(name).cloned();
            let expander = Expander { escape: file.escape, lookup: &lookup };
            let default = default.as_ref().and_then(|text| expander.word(text).ok());
            if let Some(value) = given.get(name).cloned().or(default) {
                known.insert(name.clone(), value);
            }
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str, given: &[(&str, &str)]) -> Vec<String> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        registries(text, &given).into_iter().collect()
    }

    #[test]
    fn bases_and_sources_name_registries() {
        let text = "ARG HOST=a.example\nARG BASE=${HOST}/base\nFROM ${BASE}:1 AS One\nFROM b.example:5/x\nFROM one\n\
                    COPY --from=ONE / /\nCOPY --from=0 / /\nCOPY --from=c.example/y / /\nADD d.example/z /\nFROM scratch";
        assert_eq!(named(text, &[]), ["a.example", "b.example:5", "c.example"]);
        assert_eq!(named(text, &[("HOST", "e.example")]), ["b.example:5", "c.example", "e.example"]);
        assert_eq!(named("FROM alpine", &[]), ["docker.io"]);
        assert_eq!(named("FROM $NOBODY", &[("NOBODY", "a.example/x")]), [""; 0]);
        assert_eq!(named("FORM x", &[]), [""; 0]);
    }
}
