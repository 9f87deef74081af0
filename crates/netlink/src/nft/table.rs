//! A table that is kept as its owner wants it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::Hasher,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Family, Ident, Nft, Script,
    elements::{Element, Shape, transaction},
    listing,
};
use crate::Error;

/// What changes of a table. Rules, keys and values are text in nft's language; see [`Script::line`] for what may be
/// formatted into them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The chain exists and has these rules and no others. Chains of the layout may be filled this way too.
    Chain(Ident, Vec<String>),
    /// The chain does not exist, or, if it is one of the layout, is empty.
    NoChain(Ident),
    /// The element is in the set, or the key in the map with that value. Values stand as nft prints them with `-n`:
    /// protocols as numbers, the parts of a concatenation with ` . ` between them.
    Element(Ident, String, Option<String>),
    /// The element, or the key, is not there.
    NoElement(Ident, String),
}

/// A table with chains and elements that come and go. What it holds is known, so that a change is one small
/// transaction; what was found in it at the start, left by an earlier process, is kept until [`settle`](Self::settle).
///
/// If somebody else empties or removes the table, the next change, or [`restore`](Self::restore), brings it back.
#[derive(Debug)]
pub struct Table {
    nft: Nft,
    name: Ident,
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Layout {
    lines: Vec<String>,
    chains: BTreeSet<Ident>,
    /// The sets whose elements can be put and taken without a program.
    shapes: BTreeMap<String, Shape>,
    /// A chain without rules whose name says which layout the table has.
    mark: Ident,
}

#[derive(Debug, Default)]
struct State {
    wanted: Content,
    /// What the kernel has; `None` if nobody looked yet.
    live: Option<Content>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Rules are `None` where they were found and not written by us.
    pub(super) chains: BTreeMap<Ident, Option<Vec<String>>>,
    pub(super) elements: BTreeMap<(Ident, String), Option<String>>,
}

impl Table {
    /// The table `name` of the family `inet`. `layout` are its sets, maps and base chains as they stand inside the
    /// table's braces, such as `set bridges { type ifname; }`; their names never change between braces and brackets.
    /// A table with another layout is replaced at the first change. Nothing is done yet.
    pub fn new(nft: Nft, name: Ident, layout: &[&str]) -> Result<Self, Error> {
        let mut hash = Fnv::default();
        let (mut chains, mut shapes) = (BTreeSet::new(), BTreeMap::new());
        for line in layout {
            if let Some((set, shape)) = Shape::read(line) {
                shapes.insert(set.to_owned(), shape);
            }
            hash.write(line.as_bytes());
            hash.write(b"\n");
            if let Some(chain) = line.strip_prefix("chain ") {
                chains.insert(chain.split(' ').next().unwrap_or_default().parse()?);
            }
        }
        let mark: Ident = format!("layout_{:08x}", hash.finish() & 0xffff_ffff).parse()?;
        let lines = layout.iter().map(|line| (*line).to_owned()).collect();
        Ok(Self { nft, name, layout: Layout { lines, chains, shapes, mark }, state: Mutex::default() })
    }

    /// Carries out all changes, or none.
    pub fn commit(&self, changes: &[Change]) -> Result<(), Error> {
        let mut state = self.state();
        let wanted = |content: &Content| {
            let mut content = content.clone();
            changes.iter().for_each(|change| content.take_in(change));
            content
        };
        if state.live.is_some() {
            let live = state.live.get_or_insert_default();
            let done = match self.commit_elements(live, changes) {
                Some(done) => done,
                None => self.nft.apply(&self.script(live, changes)),
            };
            if done.is_ok() {
                changes.iter().for_each(|change| {
                    live.take_in(change);
                });
                changes.iter().for_each(|change| state.wanted.take_in(change));
                return Ok(());
            }
            // Either the change is wrong, or somebody else was here. The second try tells.
        }
        let wanted = wanted(&state.wanted);
        let found = self.look()?;
        let live = self.bring_about(found, &wanted, false)?;
        (state.wanted, state.live) = (wanted, Some(live));
        Ok(())
    }

    /// Brings the table back if somebody removed it. Takes microseconds if nobody did.
    pub fn look_after(&self) -> Result<(), Error> {
        if self.state().live.is_none()
            || self.nft.look_up(Family::Inet, &self.name, &self.layout.mark)?.is_some()
        {
            return Ok(());
        }
        self.restore()
    }

    /// Carries out changes of elements alone, without a program. `None` if there are others.
    fn commit_elements(&self, live: &Content, changes: &[Change]) -> Option<Result<(), Error>> {
        let mut elements = Vec::new();
        for change in changes {
            let (set, key, value, comes) = match change {
                Change::Element(set, key, value) => (set, key, value.as_deref(), true),
                Change::NoElement(set, key) => (set, key, None, false),
                Change::Chain(..) | Change::NoChain(_) => return None,
            };
            let shape = self.layout.shapes.get(set.as_str())?;
            let held = live.elements.get(&(set.clone(), key.clone()));
            if comes && held.is_some_and(|held| held.as_deref() == value) {
                continue;
            }
            let set = set.as_str();
            if held.is_some() {
                elements.push(Element { shape, set, key, value: None, comes: false });
            }
            if comes {
                elements.push(Element { shape, set, key, value, comes });
            }
        }
        if elements.is_empty() {
            return Some(Ok(()));
        }
        let handle = match self.nft.handle() {
            Ok(handle) => handle,
            Err(error) => return Some(Err(error)),
        };
        let told = handle.tell_all(|first| transaction(self.name.as_str(), &elements, first))?;
        Some(told.map_err(|refusal| refusal.of("change elements of table", self)))
    }

    /// Looks what the kernel has and brings back what is missing.
    pub fn restore(&self) -> Result<(), Error> {
        let mut state = self.state();
        let found = self.look()?;
        let live = self.bring_about(found, &state.wanted, false)?;
        state.live = Some(live);
        Ok(())
    }

    /// Removes what an earlier process left behind and nobody wanted again.
    pub fn settle(&self) -> Result<(), Error> {
        let mut state = self.state();
        let found = self.look()?;
        // A table for nothing need not be made.
        if found.is_none() && state.wanted == Content::default() {
            return Ok(());
        }
        let live = self.bring_about(found, &state.wanted, true)?;
        state.live = Some(live);
        Ok(())
    }

    /// Removes the table with all that is in it.
    pub fn remove(&self) -> Result<(), Error> {
        let mut state = self.state();
        if self.nft.look_up(Family::Inet, &self.name, &self.layout.mark)?.is_some() {
            self.nft.delete_table(Family::Inet, &self.name)?;
        }
        *state = State::default();
        Ok(())
    }

    /// Whether the element is wanted.
    pub fn wants(&self, set: &Ident, key: &str) -> bool {
        self.state().wanted.elements.contains_key(&(set.clone(), key.to_owned()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the kernel has of a table with our layout.
    fn look(&self) -> Result<Option<Content>, Error> {
        if self.nft.look_up(Family::Inet, &self.name, &self.layout.mark)?.is_none() {
            return Ok(None);
        }
        let Some(text) = self.nft.table_as_json(Family::Inet, &self.name)? else { return Ok(None) };
        let mut content = listing::read(&text);
        if content.chains.remove(&self.layout.mark).is_none() {
            return Ok(None);
        }
        content.chains.retain(|name, _| !self.layout.chains.contains(name));
        Ok(Some(content))
    }

    /// Makes the table hold what is wanted, and nothing else if `only`. Says what it then holds.
    fn bring_about(&self, found: Option<Content>, wanted: &Content, only: bool) -> Result<Content, Error> {
        let mut script = Script::new();
        let mut live = found.unwrap_or_else(|| {
            let (name, mark) = (&self.name, &self.layout.mark);
            script.line(format_args!("add table inet {name}"));
            script.line(format_args!("delete table inet {name}"));
            script.line(format_args!("table inet {name} {{"));
            for line in &self.layout.lines {
                script.line(format_args!("{line}"));
            }
            script.line(format_args!("chain {mark} {{ }}"));
            script.line(format_args!("}}"));
            Content::default()
        });
        let changes = live.towards(wanted, only);
        script.append(&self.script(&live, &changes));
        self.nft.apply(&script)?;
        changes.iter().for_each(|change| live.take_in(change));
        Ok(live)
    }

    /// The transaction for some changes to a table that holds `live`.
    fn script(&self, live: &Content, changes: &[Change]) -> Script {
        let table = &self.name;
        let mut script = Script::new();
        // Everything that is jumped to is there before, and goes after, what jumps to it.
        for change in changes {
            match change {
                Change::Chain(chain, _) => {
                    if !live.chains.contains_key(chain) && !self.layout.chains.contains(chain) {
                        script.line(format_args!("add chain inet {table} {chain}"));
                    }
                    script.line(format_args!("flush chain inet {table} {chain}"));
                }
                Change::NoChain(chain) if self.is_there(live, chain) => {
                    script.line(format_args!("flush chain inet {table} {chain}"));
                }
                Change::NoElement(set, key) => {
                    if live.elements.contains_key(&(set.clone(), key.clone())) {
                        script.line(format_args!("delete element inet {table} {set} {{ {key} }}"));
                    }
                }
                Change::Element(set, key, value) => {
                    let held = live.elements.get(&(set.clone(), key.clone()));
                    if held.is_some_and(|held| held != value) {
                        script.line(format_args!("delete element inet {table} {set} {{ {key} }}"));
                    }
                }
                Change::NoChain(_) => {}
            }
        }
        for change in changes {
            match change {
                Change::Chain(chain, rules) => {
                    for rule in rules {
                        script.line(format_args!("add rule inet {table} {chain} {rule}"));
                    }
                }
                Change::Element(set, key, value) => {
                    if live.elements.get(&(set.clone(), key.clone())) == Some(value) {
                        continue;
                    }
                    match value {
                        Some(value) => {
                            script.line(format_args!("add element inet {table} {set} {{ {key} : {value} }}"));
                        }
                        None => script.line(format_args!("add element inet {table} {set} {{ {key} }}")),
                    }
                }
                _ => {}
            }
        }
        for change in changes {
            if let Change::NoChain(chain) = change
                && live.chains.contains_key(chain)
            {
                script.line(format_args!("delete chain inet {table} {chain}"));
            }
        }
        script
    }

    fn is_there(&self, live: &Content, chain: &Ident) -> bool {
        live.chains.contains_key(chain) || self.layout.chains.contains(chain)
    }
}

impl Content {
    fn take_in(&mut self, change: &Change) {
        match change {
            Change::Chain(name, rules) => {
                self.chains.insert(name.clone(), Some(rules.clone()));
            }
            Change::NoChain(name) => {
                self.chains.remove(name);
            }
            Change::Element(set, key, value) => {
                self.elements.insert((set.clone(), key.clone()), value.clone());
            }
            Change::NoElement(set, key) => {
                self.elements.remove(&(set.clone(), key.clone()));
            }
        }
    }

    /// The changes from this to `wanted`. What is here beyond it goes only if `only`.
    fn towards(&self, wanted: &Self, only: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, rules) in &wanted.chains {
            let rules = rules.clone().unwrap_or_default();
            if self.chains.get(name) != Some(&Some(rules.clone())) {
                changes.push(Change::Chain(name.clone(), rules));
            }
        }
        for (key, value) in &wanted.elements {
            if self.elements.get(key) != Some(value) {
                changes.push(Change::Element(key.0.clone(), key.1.clone(), value.clone()));
            }
        }
        if only {
            for key in self.elements.keys().filter(|key| !wanted.elements.contains_key(*key)) {
                changes.push(Change::NoElement(key.0.clone(), key.1.clone()));
            }
            for name in self.chains.keys().filter(|name| !wanted.chains.contains_key(*name)) {
                changes.push(Change::NoChain(name.clone()));
            }
        }
        changes
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inet {}", self.name)
    }
}

/// FNV-1a: the same in every build, unlike the standard library's.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
