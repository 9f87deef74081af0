use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn run(seconds: i64) -> Run {
    Run { pid: 7, started_at: at(seconds) }
}

fn ended(code: i64, seconds: i64) -> Event {
    Event::Ended { code, oom_killed: false, at: at(seconds) }
}

fn policy(mode: RestartMode, max_retries: u32) -> Policy {
    Policy { restart: RestartPolicy { mode, max_retries }, auto_remove: false }
}

/// Takes all steps, of which none may be refused.
fn live(policy: Policy, events: &[Event]) -> (Lifecycle, Vec<Effect>) {
    let mut now = (Lifecycle::new(), Vec::new());
    for event in events {
        now = step(&now.0, event.clone(), policy).unwrap();
    }
    now
}

fn started() -> Vec<Event> {
    vec![Event::Made, Event::Start, Event::Launched(run(10))]
}

#[test]
fn a_plain_life() {
    let mut events = started();
    events.push(ended(3, 12));
    let (life, effects) = live(Policy::default(), &events);
    assert_eq!(life.status(), "exited");
    assert_eq!(effects, [Effect::Commit, Effect::Release]);
    let exit = life.exit().unwrap();
    assert_eq!((exit.code, exit.started_at, exit.finished_at), (3, Some(at(10)), Some(at(12))));
    events.extend([Event::Start, Event::Launched(run(20)), ended(0, 21), Event::Remove { volumes: false }]);
    assert_eq!(live(Policy::default(), &events).1, [Effect::Commit, Effect::Delete]);
}

#[test]
fn auto_remove_follows_the_end() {
    let policy = Policy { auto_remove: true, ..Policy::default() };
    let mut events = started();
    events.push(ended(0, 11));
    assert!(live(policy, &events).1.contains(&Effect::AutoRemove));
    let failed = Event::LaunchFailed { code: 127, error: "no".into(), at: at(1) };
    assert!(live(policy, &[Event::Made, Event::Start, failed]).1.contains(&Effect::AutoRemove));
}

#[test]
fn a_first_start_that_fails_leaves_it_created() {
    let failed = Event::LaunchFailed { code: 127, error: "not found".into(), at: at(1) };
    let (life, _) = live(policy(RestartMode::Always, 0), &[Event::Made, Event::Start, failed]);
    assert_eq!((life.status(), life.exit().unwrap().code), ("created", 127));
}

#[test]
fn delays_double_and_start_over_after_a_proven_run() {
    let always = policy(RestartMode::Always, 0);
    let mut events = started();
    let mut delays = Vec::new();
    let mut clock = 10;
    for lasts in [1, 1, 1, 60, 1] {
        clock += lasts;
        events.push(ended(1, clock));
        let (life, effects) = live(always, &events);
        assert_eq!(life.status(), "restarting");
        assert!(life.is_running(), "Docker says so");
        delays.push(effects.iter().find_map(|effect| match effect {
            Effect::RestartAfter(delay) => Some(delay.as_millis()),
            _ => None,
        }));
        events.push(Event::RestartDue);
        let (life, _) = live(always, &events);
        assert_eq!((life.status(), life.is_running()), ("restarting", true), "until it runs");
        events.push(Event::Launched(run(clock)));
    }
    assert_eq!(delays, [Some(100), Some(200), Some(400), Some(100), Some(200)]);
}

#[test]
fn who_stops_it_wins_over_its_policy() {
    let always = policy(RestartMode::Always, 0);
    let mut events = started();
    events.push(Event::Stop);
    assert_eq!(live(always, &events).1, [Effect::Commit], "the wish must survive a crash");
    events.push(ended(143, 11));
    assert_eq!(live(always, &events).0.status(), "exited");
    let mut waiting = started();
    waiting.extend([ended(1, 11), Event::Stop]);
    assert_eq!(live(always, &waiting).0.status(), "exited");
    // A later start wants it again.
    events.extend([Event::Start, Event::Launched(run(12)), ended(1, 13)]);
    assert_eq!(live(always, &events).0.status(), "restarting");
}

#[test]
fn on_failure_counts() {
    let twice = policy(RestartMode::OnFailure, 2);
    let mut events = started();
    for n in 0..3 {
        events.push(ended(1, 11));
        let restarting = live(twice, &events).0.status() == "restarting";
        assert_eq!(restarting, n < 2);
        if restarting {
            events.extend([Event::RestartDue, Event::Launched(run(11))]);
        }
    }
    let mut fine = started();
    fine.push(ended(0, 11));
    assert_eq!(live(twice, &fine).0.status(), "exited");
}

#[test]
fn what_is_refused() {
    let running = live(Policy::default(), &started()).0;
    let refused = |life: &Lifecycle, event| step(life, event, Policy::default()).unwrap_err();
    assert_eq!(refused(&running, Event::Start), Refusal::NotModified);
    assert_eq!(refused(&running, Event::Remove { volumes: false }), Refusal::Running);
    assert_eq!(refused(&running, Event::Unpause), Refusal::NotPaused);
    let paused = step(&running, Event::Pause, Policy::default()).unwrap().0;
    assert_eq!(refused(&paused, Event::Pause), Refusal::Paused);
    assert_eq!(refused(&paused, Event::Start), Refusal::Paused);
    let created = live(Policy::default(), &[Event::Made]).0;
    assert_eq!(refused(&created, Event::Stop), Refusal::NotModified);
    assert_eq!(refused(&created, Event::Pause), Refusal::NotRunning);
    assert_eq!(refused(&created, ended(0, 1)), Refusal::OutOfPlace);
    let removing = step(&created, Event::Remove { volumes: false }, Policy::default()).unwrap().0;
    assert_eq!(refused(&removing, Event::Start), Refusal::BeingRemoved);
    assert_eq!(refused(&removing, Event::Remove { volumes: false }), Refusal::BeingRemoved);
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Made),
        Just(Event::Start),
        (1u32..99, 0i64..1000).prop_map(|(pid, s)| Event::Launched(Run { pid, started_at: at(s) })),
        (0i64..1000).prop_map(|s| Event::LaunchFailed { code: 128, error: "x".into(), at: at(s) }),
        (0i64..3, any::<bool>(), 0i64..1000).prop_map(|(code, oom_killed, s)| Event::Ended {
            code,
            oom_killed,
            at: at(s)
        }),
        Just(Event::Stop),
        Just(Event::RestartDue),
        Just(Event::Pause),
        Just(Event::Unpause),
        any::<bool>().prop_map(|volumes| Event::Remove { volumes }),
        Just(Event::RemoveFailed),
    ]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let mode = prop_oneof![
        Just(RestartMode::No),
        Just(RestartMode::Always),
        Just(RestartMode::UnlessStopped),
        Just(RestartMode::OnFailure)
    ];
    (mode, 0u32..4, any::<bool>()).prop_map(|(mode, max_retries, auto_remove)| Policy {
        restart: RestartPolicy { mode, max_retries },
        auto_remove: auto_remove && mode == RestartMode::No,
    })
}

proptest! {
    #[test]
    fn invariants_of_every_life(policy in any_policy(), events in proptest::collection::vec(any_event(), 0..60)) {
        let mut life = Lifecycle::new();
        for event in events {
            let Ok((next, effects)) = step(&life, event.clone(), policy) else { continue };

            // What may hold something of the world is given back before it is called ended.
            if life.may_hold() && !next.may_hold() {
                prop_assert!(effects.contains(&Effect::Release), "{event:?} {life:?}");
            }
            // The world is only touched once the record says so.
            if let Some(launch) = effects.iter().position(|effect| *effect == Effect::Launch) {
                prop_assert!(effects[..launch].contains(&Effect::Commit));
                prop_assert!(matches!(next.state, State::Starting(_)));
            }
            if let Some(delete) = effects.iter().position(|effect| *effect == Effect::Delete) {
                prop_assert!(effects[..delete].contains(&Effect::Commit));
                prop_assert_eq!(&next.state, &State::Removing);
            }
            // A recorded exit never gets lost but by another run or removal.
            if matches!(life.state, State::Exited(_)) && matches!(next.state, State::Created(_)) {
                prop_assert!(false, "an exit was forgotten");
            }
            // Who stopped it is obeyed.
            if next.stopped_by_user {
                prop_assert!(!effects.iter().any(|effect| matches!(effect, Effect::RestartAfter(_))));
            }
            // Delays are bounded.
            for effect in &effects {
                if let Effect::RestartAfter(delay) = effect {
                    prop_assert!(*delay >= FIRST_BACKOFF && *delay <= LONGEST_BACKOFF);
                    prop_assert!(matches!(next.state, State::Restarting(_)));
                }
            }
            // Nothing but its end leads out of removal.
            if matches!(life.state, State::Removing | State::Dead) {
                prop_assert!(matches!(next.state, State::Removing | State::Dead));
            }
            // The projection is total and the record survives being written down.
            prop_assert!(!next.status().is_empty());
            let text = serde_json::to_string(&next).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Lifecycle>(&text).unwrap(), &next);
            life = next;
        }
    }
}
