//! An endpoint's life as one value and one pure function.
//!
//! An endpoint is made of things that drivers hold for it, each taken by one call and given back by its inverse:
//!
//! ```text
//!   Address4, Address6 ──▶ Endpoint ──▶ Sandbox ──▶ Outside        taken in this order
//!   RequestAddress         CreateEndpoint  Join     ProgramExternalConnectivity
//!
//!   ReleaseAddress         DeleteEndpoint  Leave    RevokeExternalConnectivity
//!   Address4, Address6 ◀── Endpoint ◀── Sandbox ◀── Outside        given back in this order
//! ```
//!
//! A call that was refused took nothing, so it is not undone. One that was not answered may have, so it is. What is
//! on disk before the first call says that everything may be held ([`Life::planned`]), which is the truth whenever
//! the engine dies in between.

use serde::{Deserialize, Serialize};

/// What drivers hold for an endpoint, in the order in which it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Thing {
    /// The IPv4 address.
    Address4,
    /// The IPv6 address.
    Address6,
    /// The endpoint itself.
    Endpoint,
    /// Its place in the sandbox.
    Sandbox,
    /// Its way to the outside: it is the sandbox's gateway, its ports are published.
    Outside,
}

impl Thing {
    /// All of them, in the order in which they are taken.
    pub(super) const ALL: [Self; 5] =
        [Self::Address4, Self::Address6, Self::Endpoint, Self::Sandbox, Self::Outside];
}

/// Whether a thing is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    /// It is not.
    #[default]
    No,
    /// A call was not answered, or the engine died meanwhile.
    Maybe,
    /// It is.
    Yes,
}

/// What an endpoint holds, and whether that is on its way back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Life {
    address4: Mark,
    address6: Mark,
    endpoint: Mark,
    sandbox: Mark,
    outside: Mark,
    /// Its container left it: it only gives back from now on.
    pub(super) leaving: bool,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did what it was asked.
    Done,
    /// It answered that it did not.
    Refused,
    /// It may or may not have.
    Unanswered,
}

/// What happened, or what somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The call that takes a thing came to this.
    Took(Thing, Outcome),
    /// The call that gives a thing back came to this. A driver that refuses to take a thing back has no more of it, as
    /// far as this engine is concerned: its own affair.
    Gave(Thing, Outcome),
    /// Its container leaves it.
    Leave,
}

/// Why an event is refused: it cannot happen in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfPlace;

impl Life {
    /// What is written before the first call: all of it may be held from now on.
    pub(super) fn planned(address4: bool, address6: bool) -> Self {
        let maybe = |wanted: bool| if wanted { Mark::Maybe } else { Mark::No };
        Self {
            address4: maybe(address4),
            address6: maybe(address6),
            endpoint: Mark::Maybe,
            sandbox: Mark::Maybe,
            outside: Mark::Maybe,
            leaving: false,
        }
    }

    /// Of an endpoint for which no driver holds anything, and which works all the same.
    pub(super) fn of_nothing() -> Self {
        Self { endpoint: Mark::Yes, sandbox: Mark::Yes, ..Self::default() }
    }

    /// Of an endpoint of which nothing is left to give back.
    pub(super) fn gone() -> Self {
        Self { leaving: true, ..Self::default() }
    }

    /// This, as it must be on disk before more is taken: what is not held yet may be.
    pub(super) fn on_the_way(self) -> Self {
        let maybe = |mark: Mark| if mark == Mark::No { Mark::Maybe } else { mark };
        Self {
            endpoint: maybe(self.endpoint),
            sandbox: maybe(self.sandbox),
            outside: maybe(self.outside),
            ..self
        }
    }

    /// This, if a call may be going on of which nothing will be heard.
    pub(super) fn in_doubt(self) -> Self {
        let maybe = |mark: Mark| if mark == Mark::No { Mark::Maybe } else { mark };
        Self { address4: maybe(self.address4), address6: maybe(self.address6), ..self.on_the_way() }
    }

    /// Whether a thing is held.
    pub(super) fn mark(&self, thing: Thing) -> Mark {
        match thing {
            Thing::Address4 => self.address4,
            Thing::Address6 => self.address6,
            Thing::Endpoint => self.endpoint,
            Thing::Sandbox => self.sandbox,
            Thing::Outside => self.outside,
        }
    }

    fn set(mut self, thing: Thing, mark: Mark) -> Self {
        *match thing {
            Thing::Address4 => &mut self.address4,
            Thing::Address6 => &mut self.address6,
            Thing::Endpoint => &mut self.endpoint,
            Thing::Sandbox => &mut self.sandbox,
            Thing::Outside => &mut self.outside,
        } = mark;
        self
    }

    /// The next thing to give back; `None` if nothing is held.
    pub(super) fn next_back(&self) -> Option<Thing> {
        Thing::ALL.into_iter().rev().find(|thing| self.mark(*thing) != Mark::No)
    }

    /// Whether it works: it is in its sandbox. Whether it leads to the outside is another matter.
    pub(super) fn works(&self) -> bool {
        !self.leaving
            && self.endpoint == Mark::Yes
            && self.sandbox == Mark::Yes
            && self.address4 != Mark::Maybe
            && self.address6 != Mark::Maybe
    }
}

/// What follows on an event.
pub(super) fn step(life: Life, event: Event) -> Result<Life, OutOfPlace> {
    match event {
        Event::Leave => Ok(Life { leaving: true, ..life }),
        Event::Took(thing, outcome) => {
            let free = life.mark(thing) == Mark::No && !life.leaving;
            let above = Thing::ALL.into_iter().any(|other| other > thing && life.mark(other) != Mark::No);
            let below = match thing {
                Thing::Address4 | Thing::Address6 => true,
                Thing::Endpoint => life.address4 != Mark::Maybe && life.address6 != Mark::Maybe,
                Thing::Sandbox => life.endpoint == Mark::Yes,
                Thing::Outside => life.sandbox == Mark::Yes,
            };
            if !free || above || !below {
                return Err(OutOfPlace);
            }
            Ok(life.set(
                thing,
                match outcome {
                    Outcome::Done => Mark::Yes,
                    Outcome::Refused => Mark::No,
                    Outcome::Unanswered => Mark::Maybe,
                },
            ))
        }
        Event::Gave(thing, outcome) => {
            if life.next_back() != Some(thing) && !is_address(thing, life) {
                return Err(OutOfPlace);
            }
            Ok(life.set(
                thing,
                match outcome {
                    Outcome::Done | Outcome::Refused => Mark::No,
                    Outcome::Unanswered => Mark::Maybe,
                },
            ))
        }
    }
}

/// Addresses go back in either order, once nothing else is held.
fn is_address(thing: Thing, life: Life) -> bool {
    matches!(thing, Thing::Address4 | Thing::Address6)
        && matches!(life.next_back(), Some(Thing::Address4 | Thing::Address6))
        && life.mark(thing) != Mark::No
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![Just(Outcome::Done), Just(Outcome::Refused), Just(Outcome::Unanswered)]
    }

    /// What drivers really hold; a call that is not answered may have been done.
    #[derive(Default)]
    struct World {
        held: BTreeSet<Thing>,
        undone: Vec<Thing>,
    }

    fn up(life: &mut Life, world: &mut World, outcomes: &mut impl Iterator<Item = (Outcome, bool)>) {
        for thing in Thing::ALL {
            let Some((outcome, secretly)) = outcomes.next() else { return };
            *life = step(*life, Event::Took(thing, outcome)).unwrap();
            if outcome == Outcome::Done || (outcome == Outcome::Unanswered && secretly) {
                world.held.insert(thing);
            }
            if outcome != Outcome::Done {
                return;
            }
        }
    }

    fn down(life: &mut Life, world: &mut World, outcomes: &mut impl Iterator<Item = (Outcome, bool)>) {
        *life = step(*life, Event::Leave).unwrap();
        while let Some(thing) = life.next_back() {
            let (outcome, secretly) = outcomes.next().unwrap_or((Outcome::Done, false));
            *life = step(*life, Event::Gave(thing, outcome)).unwrap();
            if outcome != Outcome::Unanswered || secretly {
                world.held.remove(&thing);
                world.undone.push(thing);
            }
            if outcome == Outcome::Unanswered {
                return;
            }
        }
    }

    proptest! {
        #[test]
        fn in_the_end_nothing_is_held(
            taking in prop::collection::vec((outcome(), any::<bool>()), 0..6),
            giving in prop::collection::vec((outcome(), any::<bool>()), 0..8),
        ) {
            let (mut life, mut world) = (Life::default(), World::default());
            up(&mut life, &mut world, &mut taking.iter().copied());
            let taken: Vec<_> = world.held.iter().copied().collect();
            // What is held is never thought free.
            for thing in &world.held {
                prop_assert_ne!(life.mark(*thing), Mark::No);
            }
            let mut giving = giving.into_iter();
            // As often as a plugin was away, and once more when it is back.
            for _ in 0..10 {
                down(&mut life, &mut world, &mut giving);
            }
            prop_assert_eq!(life.next_back(), None);
            prop_assert!(world.held.is_empty(), "held: {:?} of {:?}", world.held, taken);
            let mut order = world.undone.clone();
            order.dedup();
            prop_assert!(order.is_sorted_by(|a, b| a > b), "given back as {:?}", order);
        }

        #[test]
        fn a_refused_call_is_not_undone(refused in 0usize..5) {
            let mut outcomes =
                (0..5).map(|at| (if at == refused { Outcome::Refused } else { Outcome::Done }, false));
            let (mut life, mut world) = (Life::default(), World::default());
            up(&mut life, &mut world, &mut outcomes);
            down(&mut life, &mut world, &mut std::iter::empty());
            let mut expected = Thing::ALL[..refused].to_vec();
            expected.reverse();
            prop_assert_eq!(world.undone, expected);
        }

        #[test]
        fn a_crash_anywhere_is_covered_by_what_is_on_disk(dies_after in 0usize..6, addressed in any::<bool>()) {
            let mut on_disk = Life::planned(true, true);
            let (mut life, mut held) = (Life::default(), BTreeSet::new());
            for thing in Thing::ALL.into_iter().take(dies_after) {
                life = step(life, Event::Took(thing, Outcome::Done)).unwrap();
                held.insert(thing);
                if addressed && thing == Thing::Address6 {
                    on_disk = life.on_the_way();
                }
            }
            for thing in held {
                prop_assert_ne!(on_disk.mark(thing), Mark::No);
            }
            prop_assert!(!on_disk.works());
        }

        #[test]
        fn nothing_panics(events in prop::collection::vec((0usize..5, outcome(), 0u8..3), 0..30)) {
            let mut life = Life::default();
            for (thing, outcome, kind) in events {
                let thing = Thing::ALL[thing];
                let event = match kind {
                    0 => Event::Took(thing, outcome),
                    1 => Event::Gave(thing, outcome),
                    _ => Event::Leave,
                };
                if let Ok(next) = step(life, event) {
                    // Nothing higher is held over nothing.
                    prop_assert!(next.mark(Thing::Outside) == Mark::No || next.mark(Thing::Sandbox) != Mark::No);
                    prop_assert!(next.mark(Thing::Sandbox) == Mark::No || next.mark(Thing::Endpoint) != Mark::No);
                    life = next;
                }
            }
        }
    }
}
