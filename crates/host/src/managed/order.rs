//! Which plugin stands on which: a plugin in a network needs the plugins that make it.

use std::collections::{BTreeMap, BTreeSet};

/// That a plugin is in a network, which another plugin makes. Plugins by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) network: String,
    pub(crate) plugin: String,
}

/// The needs of every plugin.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    of: BTreeMap<String, Vec<Need>>,
}

impl Needs {
    /// Notes what a plugin needs, in the place of what was known of it.
    pub(crate) fn note(&mut self, plugin: &str, needs: Vec<Need>) {
        self.of.insert(plugin.to_owned(), needs);
    }

    /// The plugins that this one needs itself.
    pub(crate) fn of(&self, plugin: &str) -> impl Iterator<Item = &Need> {
        self.of.get(plugin).into_iter().flatten()
    }

    /// The way from a plugin back to itself, if there is one: what it needs, what that needs, and so on to itself.
    pub(crate) fn cycle(&self, plugin: &str) -> Option<Vec<Need>> {
        let (mut seen, mut way) = (BTreeSet::new(), Vec::new());
        self.search(plugin, plugin, &mut seen, &mut way).then_some(way)
    }

    fn search<'a>(
        &'a self,
        from: &'a str,
        goal: &str,
        seen: &mut BTreeSet<&'a str>,
        way: &mut Vec<Need>,
    ) -> bool {
        for need in self.of(from) {
            way.push(need.clone());
            let found = need.plugin == goal
                || (seen.insert(&need.plugin) && self.search(&need.plugin, goal, seen, way));
            if found {
                return true;
            }
            way.pop();
        }
        false
    }
}

/// A cycle in words, with the names of its members.
pub(crate) fn describe(plugin: &str, way: &[Need], name: impl Fn(&str) -> String) -> String {
    let steps: Vec<String> = way
        .iter()
        .map(|need| format!("is on network {}, which is made by plugin {}", need.network, name(&need.plugin)))
        .collect();
    format!("plugin {} would wait for itself: it {}", name(plugin), steps.join(", which "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn needs(all: &[(&str, &str, &str)]) -> Needs {
        let mut needs = Needs::default();
        for (plugin, network, maker) in all {
            let need = Need { network: (*network).to_owned(), plugin: (*maker).to_owned() };
            needs.of.entry((*plugin).to_owned()).or_default().push(need);
        }
        needs
    }

    #[test]
    fn a_cycle_names_its_members() {
        let chain = needs(&[("a", "n1", "b"), ("b", "n2", "c")]);
        assert_eq!(chain.cycle("a"), None);
        let ring = needs(&[
            ("a", "n0", "d"),
            ("a", "n1", "b"),
            ("b", "n2", "c"),
            ("c", "n3", "a"),
            ("e", "n4", "a"),
        ]);
        let way = ring.cycle("a").unwrap();
        assert_eq!(
            describe("a", &way, str::to_uppercase),
            "plugin A would wait for itself: it is on network n1, which is made by plugin B, which is on network n2, \
             which is made by plugin C, which is on network n3, which is made by plugin A"
        );
        assert_eq!((ring.cycle("e"), ring.cycle("d")), (None, None));
        let own = needs(&[("a", "n", "a")]);
        assert!(describe("a", &own.cycle("a").unwrap(), str::to_owned).ends_with("made by plugin a"));
    }

    proptest! {
        #[test]
        fn who_reaches_itself_is_found(edges in prop::collection::vec((0u8..8, 0u8..8), 0..20)) {
            let mut all = Needs::default();
            let mut reach: BTreeSet<(u8, u8)> = edges.iter().copied().collect();
            for (from, to) in &edges {
                let need = Need { network: format!("n{to}"), plugin: to.to_string() };
                all.of.entry(from.to_string()).or_default().push(need);
            }
            for middle in 0..8 {
                for (from, to) in (0..8).flat_map(|from| (0..8).map(move |to| (from, to))) {
                    if reach.contains(&(from, middle)) && reach.contains(&(middle, to)) {
                        reach.insert((from, to));
                    }
                }
            }
            for one in 0..8u8 {
                let found = all.cycle(&one.to_string());
                prop_assert_eq!(found.is_some(), reach.contains(&(one, one)));
                let mut at = one.to_string();
                for need in found.into_iter().flatten() {
                    prop_assert!(all.of(&at).any(|own| *own == need));
                    at = need.plugin;
                }
                prop_assert_eq!(at, one.to_string());
            }
        }
    }
}
