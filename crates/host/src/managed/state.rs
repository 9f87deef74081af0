//! A managed plugin's observed state, and every way it may change.
//!
//! ```text
//!            enable                 started
//!   Down ------------> Starting ---------------> Ready <----> Degraded
//!    ^  ^                | ^   \ failed            |  probe      |
//!    |  | stopped        | |    v        exited    v             | given up
//!    |  Stopping <-------|-|-- BackingOff <--------+-------------+----> Replacing
//!    |   ^   (again) ----|-+ timer |  ^                                   | |
//!    |   +-- disable ----+---------|--|-- (Ready, Degraded, Replacing) ---+ |
//!    +------- disable -------------+  +------------- stopped ---------------+
//! ```
//! [`step`] decides, [`Effect`]s are carried out by the plugin's owner task. At any time at most one of these
//! is under way: a start, a stop, a pause.

use std::time::Duration;

/// A plugin that ran this long has earned a fresh start: its next pause is the shortest again.
const HEALTHY: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What a plugin is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing runs, nothing is planned.
    Down,
    /// A start is under way, after this many failures in a row.
    Starting { failures: u32 },
    /// It listens.
    Ready { failures: u32 },
    /// It runs, but a probe failed.
    Degraded { failures: u32, why: String },
    /// It waits for the next attempt.
    BackingOff { failures: u32, why: String },
    /// A start is being called off; `again` if it is wanted again already.
    Cancelling { again: bool },
    /// A stop is under way; `again` if it is to be started afterwards.
    Stopping { again: bool },
    /// It did not answer and is being stopped, to be started again after a pause.
    Replacing { failures: u32, why: String },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// It is wanted.
    Enable,
    /// It is not wanted any more.
    Disable,
    /// It was found running when the engine came up.
    Attached,
    /// The start under way succeeded.
    Started,
    /// The start under way failed, and nothing of it is left.
    StartFailed { why: String },
    /// The process ended by itself after running for so long.
    Exited { why: String, ran: Duration },
    /// The socket accepted a connection.
    ProbeOk,
    /// The socket did not.
    ProbeFailed { why: String },
    /// It is not waited for any longer, having run for so long: the operator wants one that does not answer restarted.
    GivenUp { why: String, ran: Duration },
    /// The pause is over.
    Resume,
    /// The stop under way is done.
    Stopped,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Begin a start.
    Start,
    /// Call off the start under way. It ends with `Started` or `StartFailed` all the same.
    CancelStart,
    /// Begin a stop.
    Stop,
    /// Clear away what a process that ended by itself has left.
    Clear,
    /// Send `Resume` after this long.
    Pause(Duration),
    /// Do not send it.
    EndPause,
    /// Count a restart that nobody asked for, and tell of it.
    CountRestart { why: String, unanswered: bool },
    /// Tell who waits for it that it is up.
    TellUp,
    /// Tell who waits for it to come up why it did not.
    TellFailed(String),
    /// Tell who waits for it to go down that it is down.
    TellDown,
}

/// How long to wait after so many failures in a row.
pub(crate) fn pause(failures: u32, longest: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_PAUSE * 2u32.pow(doublings)).min(longest)
}

/// The next state, and what to do on the way. Events that do not fit the state change nothing.
pub(crate) fn step(state: State, event: Event, longest: Duration) -> (State, Vec<Effect>) {
    use Effect as Do;
    match (state, event) {
        (State::Down, Event::Enable) => (State::Starting { failures: 0 }, vec![Do::Start]),
        (State::Down, Event::Attached) => (State::Ready { failures: 0 }, vec![Do::TellUp]),
        (State::Down, Event::Disable) => (State::Down, vec![Do::TellDown]),

        (State::Starting { failures }, Event::Started) => (State::Ready { failures }, vec![Do::TellUp]),
        (State::Starting { failures }, Event::StartFailed { why }) => {
            let failures = failures.saturating_add(1);
            let effects = vec![Do::TellFailed(why.clone()), Do::Pause(pause(failures, longest))];
            (State::BackingOff { failures, why }, effects)
        }
        (State::Starting { .. }, Event::Disable) => {
            (State::Cancelling { again: false }, vec![Do::CancelStart])
        }

        (State::Cancelling { .. }, Event::Disable) => (State::Cancelling { again: false }, vec![]),
        (State::Cancelling { .. }, Event::Enable) => (State::Cancelling { again: true }, vec![]),
        (State::Cancelling { again }, Event::Started) => (State::Stopping { again }, vec![Do::Stop]),
        (State::Cancelling { again }, Event::StartFailed { .. }) => ended(again),

        (State::Ready { failures } | State::Degraded { failures, .. }, Event::Exited { why, ran }) => {
            let failures = after(ran, failures);
            let effects = vec![Do::Clear, count(&why, false), Do::Pause(pause(failures, longest))];
            (State::BackingOff { failures, why }, effects)
        }
        (State::Ready { failures } | State::Degraded { failures, .. }, Event::GivenUp { why, ran }) => {
            (State::Replacing { failures: after(ran, failures), why }, vec![Do::Stop])
        }
        (State::Ready { .. } | State::Degraded { .. }, Event::Disable) => {
            (State::Stopping { again: false }, vec![Do::Stop])
        }
        (state @ (State::Ready { .. } | State::Degraded { .. }), Event::Enable) => (state, vec![Do::TellUp]),
        (State::Ready { failures } | State::Degraded { failures, .. }, Event::ProbeFailed { why }) => {
            (State::Degraded { failures, why }, vec![])
        }
        (State::Degraded { failures, .. }, Event::ProbeOk) => (State::Ready { failures }, vec![]),

        (State::BackingOff { failures, .. }, Event::Resume) => {
            (State::Starting { failures }, vec![Do::Start])
        }
        (State::BackingOff { failures, .. }, Event::Enable) => {
            (State::Starting { failures }, vec![Do::EndPause, Do::Start])
        }
        (State::BackingOff { .. }, Event::Disable) => (State::Down, vec![Do::EndPause, Do::TellDown]),

        (State::Replacing { failures, why }, Event::Stopped) => {
            let effects = vec![count(&why, true), Do::Pause(pause(failures, longest))];
            (State::BackingOff { failures, why }, effects)
        }
        (State::Replacing { .. }, Event::Disable) => (State::Stopping { again: false }, vec![]),
        (State::Replacing { .. }, Event::Enable) => (State::Stopping { again: true }, vec![]),

        (State::Stopping { .. }, Event::Disable) => (State::Stopping { again: false }, vec![]),
        (State::Stopping { .. }, Event::Enable) => (State::Stopping { again: true }, vec![]),
        (State::Stopping { again }, Event::Stopped) => ended(again),

        (state, _) => (state, vec![]),
    }
}

fn count(why: &str, unanswered: bool) -> Effect {
    Effect::CountRestart { why: why.to_owned(), unanswered }
}

/// The failures in a row, after one more that came when it had run for so long.
fn after(ran: Duration, failures: u32) -> u32 {
    if ran >= HEALTHY { 1 } else { failures.saturating_add(1) }
}

fn ended(again: bool) -> (State, Vec<Effect>) {
    if again {
        (State::Starting { failures: 0 }, vec![Effect::TellDown, Effect::Start])
    } else {
        (State::Down, vec![Effect::TellDown])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);

    /// The world as far as the owner task drives it: what is under way, what runs.
    #[derive(Debug, Default)]
    struct World {
        starting: bool,
        stopping: bool,
        paused: bool,
        running: bool,
        wanted: bool,
    }

    #[derive(Debug, Clone)]
    enum Nudge {
        Enable,
        Disable,
        StartEnds(bool),
        StopEnds,
        Exit(u64),
        Probe(bool),
        GiveUp(u64),
        PauseEnds,
    }

    fn nudge() -> impl Strategy<Value = Nudge> {
        prop_oneof![
            Just(Nudge::Enable),
            Just(Nudge::Disable),
            any::<bool>().prop_map(Nudge::StartEnds),
            Just(Nudge::StopEnds),
            (0u64..120).prop_map(Nudge::Exit),
            any::<bool>().prop_map(Nudge::Probe),
            (0u64..120).prop_map(Nudge::GiveUp),
            Just(Nudge::PauseEnds),
        ]
    }

    impl World {
        /// The event that the nudge makes, if it can happen in this world.
        fn event(&mut self, nudge: &Nudge) -> Option<Event> {
            Some(match nudge {
                Nudge::Enable => {
                    self.wanted = true;
                    Event::Enable
                }
                Nudge::Disable => {
                    self.wanted = false;
                    Event::Disable
                }
                Nudge::StartEnds(up) if self.starting => {
                    self.starting = false;
                    self.running = *up;
                    if *up { Event::Started } else { Event::StartFailed { why: "x".into() } }
                }
                Nudge::StopEnds if self.stopping => {
                    self.stopping = false;
                    self.running = false;
                    Event::Stopped
                }
                Nudge::Exit(secs) if self.running && !self.stopping => {
                    self.running = false;
                    Event::Exited { why: "x".into(), ran: Duration::from_secs(*secs) }
                }
                Nudge::Probe(true) => Event::ProbeOk,
                Nudge::Probe(false) => Event::ProbeFailed { why: "x".into() },
                Nudge::GiveUp(secs) => Event::GivenUp { why: "x".into(), ran: Duration::from_secs(*secs) },
                Nudge::PauseEnds if self.paused => {
                    self.paused = false;
                    Event::Resume
                }
                _ => return None,
            })
        }

        fn carry_out(&mut self, effect: &Effect) {
            match effect {
                Effect::Start => {
                    assert!(!self.starting && !self.stopping && !self.running && !self.paused, "{self:?}");
                    self.starting = true;
                }
                Effect::CancelStart => assert!(self.starting),
                Effect::Stop => {
                    assert!(self.running && !self.stopping && !self.starting, "{self:?}");
                    self.stopping = true;
                }
                Effect::Clear => assert!(!self.running),
                Effect::Pause(length) => {
                    assert!(!self.starting && !self.stopping && !self.running && !self.paused);
                    assert!(*length <= LONGEST && *length >= FIRST_PAUSE);
                    self.paused = true;
                }
                Effect::EndPause => {
                    assert!(self.paused);
                    self.paused = false;
                }
                Effect::TellUp => assert!(self.running),
                Effect::TellDown => assert!(!self.running && !self.stopping),
                Effect::CountRestart { .. } | Effect::TellFailed(_) => {}
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_the_plugin_tends_to_what_is_wanted(nudges in proptest::collection::vec(nudge(), 0..80)) {
            let mut world = World::default();
            let mut state = State::Down;
            for nudge in &nudges {
                let Some(event) = world.event(nudge) else { continue };
                let (next, effects) = step(state, event, LONGEST);
                for effect in &effects {
                    world.carry_out(effect);
                }
                state = next;
                // Never stuck: a wanted plugin runs, or something is under way that leads on.
                let pending = world.starting || world.stopping || world.paused;
                prop_assert!(!world.wanted || world.running || pending, "{state:?} {world:?}");
                prop_assert_eq!(state == State::Down, !world.running && !pending, "{:?} {:?}", state, world);
            }
            // Left alone, it settles where it is wanted.
            for _ in 0..8 {
                for nudge in [Nudge::StartEnds(true), Nudge::StopEnds, Nudge::PauseEnds] {
                    let Some(event) = world.event(&nudge) else { continue };
                    let (next, effects) = step(state, event, LONGEST);
                    for effect in &effects {
                        world.carry_out(effect);
                    }
                    state = next;
                }
            }
            prop_assert_eq!(world.running, world.wanted, "{:?}", state);
        }
    }

    #[test]
    fn pauses_grow_to_the_longest_and_start_afresh_after_a_healthy_run() {
        let mut state = State::Starting { failures: 0 };
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let (next, effects) = step(state, Event::StartFailed { why: "x".into() }, LONGEST);
            let Some(Effect::Pause(length)) = effects.last() else { panic!("{effects:?}") };
            assert!(*length >= last);
            last = *length;
            state = step(next, Event::Resume, LONGEST).0;
        }
        assert_eq!(last, LONGEST);
        let (ready, _) = step(state, Event::Started, LONGEST);
        let (_, effects) = step(ready, Event::Exited { why: "x".into(), ran: HEALTHY }, LONGEST);
        assert!(effects.contains(&Effect::Pause(FIRST_PAUSE)), "{effects:?}");
    }

    #[test]
    fn one_that_is_given_up_backs_off_as_one_that_crashes() {
        let mut state = State::Ready { failures: 0 };
        let why = || String::from("x");
        let mut last = Duration::ZERO;
        for round in 0..8 {
            // By turns.
            let effects = if round % 2 == 0 {
                let (replacing, effects) =
                    step(state, Event::GivenUp { why: why(), ran: Duration::ZERO }, LONGEST);
                assert_eq!(effects, [Effect::Stop]);
                let (next, effects) = step(replacing, Event::Stopped, LONGEST);
                state = next;
                effects
            } else {
                let (next, effects) = step(state, Event::Exited { why: why(), ran: Duration::ZERO }, LONGEST);
                state = next;
                effects
            };
            assert!(effects.contains(&count("x", round % 2 == 0)), "{effects:?}");
            let Some(Effect::Pause(length)) = effects.last() else { panic!("{effects:?}") };
            assert!(*length > last, "{length:?} after {last:?}");
            last = *length;
            state = step(step(state, Event::Resume, LONGEST).0, Event::Started, LONGEST).0;
        }
        // One that is disabled meanwhile stays down.
        let (replacing, _) = step(state, Event::GivenUp { why: why(), ran: HEALTHY }, LONGEST);
        let (stopping, _) = step(replacing, Event::Disable, LONGEST);
        assert_eq!(step(stopping, Event::Stopped, LONGEST), (State::Down, vec![Effect::TellDown]));
    }
}
