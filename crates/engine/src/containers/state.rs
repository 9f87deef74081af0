//! A container's life as one value and one pure function.
//!
//! ```text
//!              Start                 Launched                 Pause
//!   Created ──────────▶ Starting ───────────────▶ Running ◀─────────▶ Paused
//!      ▲                 ▲ │ ▲ │                     │      Unpause     │
//!      │   LaunchFailed  │ │ │ │ LaunchFailed        │ Ended            │ Ended
//!      └─────────────────┼─┘ │ └──(policy)──┐        ▼                  ▼
//!                        │   │              └──▶ (policy wants more, nobody stopped it?)
//!                  Start │   │ RestartDue            │ no          │ yes
//!                        │   └─────────── Restarting ◀─────────────┤
//!                        │                   │ Stop                │
//!                      Exited ◀──────────────┴─────────────────────┘
//!
//!   Created, Exited, Restarting, Dead ── Remove ──▶ Removing ── RemoveFailed ──▶ Dead
//! ```
//!
//! [`step`] accepts or refuses an event and names what must be done, in order; it does nothing itself.
//! Docker's booleans are the projection [`Lifecycle::status`] and [`Lifecycle::is_running`].

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{RestartMode, RestartPolicy};

/// The first delay before a restart by policy.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest one.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// A run this long shows that the container works: the delays start over.
const PROVEN_RUN: TimeDelta = TimeDelta::seconds(10);

/// A process that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// PID 1 of the container, as the host sees it.
    pub pid: u32,
    /// Since when.
    pub started_at: DateTime<Utc>,
}

/// How a run ended, or why there was none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, 128 + signal if one killed it.
    pub code: i64,
    /// The kernel killed it for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// Why it could not be started.
    #[serde(default)]
    pub error: Option<String>,
    /// When the run began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its record is there, its files and volumes may not all be. Gone after a crash.
    Creating,
    /// Made, and never yet running. Holds why its last start failed, if one did.
    Created(Option<Exit>),
    /// Being started: its mounts and its process may exist. Holds the last exit.
    Starting(Option<Exit>),
    /// Running.
    Running(Run),
    /// Frozen.
    Paused(Run),
    /// Ended, to be started again after a delay.
    Restarting(Exit),
    /// Ended.
    Exited(Exit),
    /// Being removed.
    Removing,
    /// Could not be removed completely.
    Dead,
}

/// A container's state and what its policy must remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Where it is.
    pub state: State,
    /// How often its policy started it again.
    #[serde(default)]
    pub restart_count: u32,
    /// Somebody asked for its end; its policy must not undo that.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// The delay before the last restart by policy, in milliseconds.
    #[serde(default)]
    pub backoff_ms: u64,
    /// Its removal takes its anonymous volumes along.
    #[serde(default)]
    pub volumes_go: bool,
}

/// What happened, or what somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its files are all there.
    Made,
    /// Somebody wants it to run.
    Start,
    /// It runs.
    Launched(Run),
    /// It could not be started.
    LaunchFailed {
        /// 126, 127 or 128, as Docker's.
        code: i64,
        /// Why.
        error: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// Its process ended.
    Ended {
        /// Its exit code.
        code: i64,
        /// The kernel killed it for want of memory.
        oom_killed: bool,
        /// When.
        at: DateTime<Utc>,
    },
    /// Somebody wants it to end.
    Stop,
    /// The delay is over.
    RestartDue,
    /// Somebody wants it frozen.
    Pause,
    /// Somebody wants it to go on.
    Unpause,
    /// Somebody wants it gone.
    Remove {
        /// Its anonymous volumes, too.
        volumes: bool,
    },
    /// Something of it could not be removed.
    RemoveFailed,
}

/// What must be done after a step, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make the new state durable.
    Commit,
    /// Mount, start; then report `Launched` or `LaunchFailed`.
    Launch,
    /// Give back what the run held: task, mounts, leases.
    Release,
    /// Report `RestartDue` after this long.
    RestartAfter(Duration),
    /// Remove it: its owner wanted no trace of it.
    AutoRemove,
    /// Delete all that there is of it.
    Delete,
}

/// Why an event is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is already so.
    NotModified,
    /// It does not run.
    NotRunning,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It is not frozen.
    NotPaused,
    /// It waits for its restart.
    Restarting,
    /// It is being removed, or could not be.
    BeingRemoved,
    /// It cannot happen in this state: a late or repeated report.
    OutOfPlace,
}

/// What of a container's configuration decides its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// When to start it again.
    pub restart: RestartPolicy,
    /// Remove it when it ends.
    pub auto_remove: bool,
}

impl Policy {
    fn wants_restart(self, life: &Lifecycle, code: i64) -> bool {
        if life.stopped_by_user {
            return false;
        }
        match self.restart.mode {
            RestartMode::No => false,
            RestartMode::Always | RestartMode::UnlessStopped => true,
            RestartMode::OnFailure => {
                code != 0 && (self.restart.max_retries == 0 || life.restart_count < self.restart.max_retries)
            }
        }
    }
}

impl Lifecycle {
    /// The life of a container that is being made.
    pub fn new() -> Self {
        Self {
            state: State::Creating,
            restart_count: 0,
            stopped_by_user: false,
            backoff_ms: 0,
            volumes_go: false,
        }
    }

    fn with(&self, state: State) -> Self {
        Self { state, ..self.clone() }
    }

    /// Docker's word: `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub fn status(&self) -> &'static str {
        match &self.state {
            State::Creating | State::Created(_) | State::Starting(None) => "created",
            State::Starting(Some(exit)) if exit.finished_at.is_none() => "created",
            State::Starting(Some(_)) if self.backoff_ms > 0 => "restarting",
            State::Starting(Some(_)) | State::Exited(_) => "exited",
            State::Running(_) => "running",
            State::Paused(_) => "paused",
            State::Restarting(_) => "restarting",
            State::Removing => "removing",
            State::Dead => "dead",
        }
    }

    /// Docker's `Running`: true for a frozen container and for one that is restarted by its policy, too.
    pub fn is_running(&self) -> bool {
        matches!(self.status(), "running" | "paused" | "restarting")
    }

    /// The run, if there is a process.
    pub fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Running(run) | State::Paused(run) => Some(run),
            _ => None,
        }
    }

    /// How the last run ended, or why the last start failed.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Created(exit) | State::Starting(exit) => exit.as_ref(),
            State::Restarting(exit) | State::Exited(exit) => Some(exit),
            _ => None,
        }
    }

    /// Whether it may hold mounts, a task and leases.
    pub fn may_hold(&self) -> bool {
        matches!(self.state, State::Starting(_) | State::Running(_) | State::Paused(_))
    }

    /// Whether it was ever started, as far as its policy at boot is concerned.
    pub fn was_started(&self) -> bool {
        !matches!(self.state, State::Creating | State::Created(_) | State::Removing | State::Dead)
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

/// The next state and what must be done, or why not.
pub fn step(life: &Lifecycle, event: Event, policy: Policy) -> Result<(Lifecycle, Vec<Effect>), Refusal> {
    use Effect::{AutoRemove, Commit, Delete, Launch, Release};
    match (&life.state, event) {
        (State::Creating, Event::Made) => Ok((life.with(State::Created(None)), vec![Commit])),

        (State::Created(exit), Event::Start) => {
            let mut next = life.with(State::Starting(exit.clone()));
            next.stopped_by_user = false;
            Ok((next, vec![Commit, Launch]))
        }
        (State::Exited(exit), Event::Start) => {
            let mut next = life.with(State::Starting(Some(exit.clone())));
            next.stopped_by_user = false;
            next.backoff_ms = 0;
            Ok((next, vec![Commit, Launch]))
        }
        (State::Paused(_), Event::Start) => Err(Refusal::Paused),
        (State::Starting(_) | State::Running(_) | State::Restarting(_), Event::Start) => {
            Err(Refusal::NotModified)
        }
        (State::Restarting(exit), Event::RestartDue) => {
            Ok((life.with(State::Starting(Some(exit.clone()))), vec![Commit, Launch]))
        }

        (State::Starting(_), Event::Launched(run)) => Ok((life.with(State::Running(run)), vec![Commit])),
        (State::Starting(last), Event::LaunchFailed { code, error, at }) => {
            let exit = Exit {
                code,
                oom_killed: false,
                error: Some(error),
                started_at: last.as_ref().and_then(|exit| exit.started_at),
                finished_at: last.as_ref().and_then(|exit| exit.finished_at),
            };
            // A first start that fails is the caller's to repeat; a restart is the policy's.
            if exit.finished_at.is_some() && life.backoff_ms > 0 && policy.wants_restart(life, code) {
                return Ok(again(life, exit, at));
            }
            let ran_before = exit.finished_at.is_some();
            let next = if ran_before { State::Exited(exit) } else { State::Created(Some(exit)) };
            let mut effects = vec![Release, Commit];
            if policy.auto_remove {
                effects.push(AutoRemove);
            }
            Ok((life.with(next), effects))
        }

        (State::Running(run) | State::Paused(run), Event::Ended { code, oom_killed, at }) => {
            let exit = Exit {
                code,
                oom_killed,
                error: None,
                started_at: Some(run.started_at),
                finished_at: Some(at),
            };
            if policy.wants_restart(life, code) {
                return Ok(again(life, exit, at));
            }
            let mut effects = vec![Commit, Release];
            if policy.auto_remove {
                effects.push(AutoRemove);
            }
            Ok((life.with(State::Exited(exit)), effects))
        }

        (State::Running(_) | State::Paused(_), Event::Stop) => {
            let mut next = life.clone();
            next.stopped_by_user = true;
            // Only a policy would act on it after a crash.
            let remembers = policy.restart.mode != RestartMode::No;
            Ok((next, if remembers { vec![Commit] } else { vec![] }))
        }
        (State::Restarting(exit), Event::Stop) => {
            let mut next = life.with(State::Exited(exit.clone()));
            next.stopped_by_user = true;
            let mut effects = vec![Commit];
            if policy.auto_remove {
                effects.push(AutoRemove);
            }
            Ok((next, effects))
        }
        (State::Created(_) | State::Exited(_) | State::Starting(_), Event::Stop) => Err(Refusal::NotModified),

        (State::Running(run), Event::Pause) => Ok((life.with(State::Paused(run.clone())), vec![])),
        (State::Paused(_), Event::Pause) => Err(Refusal::Paused),
        (State::Restarting(_), Event::Pause) => Err(Refusal::Restarting),
        (State::Paused(run), Event::Unpause) => Ok((life.with(State::Running(run.clone())), vec![])),
        (State::Running(_) | State::Restarting(_), Event::Unpause) => Err(Refusal::NotPaused),

        (
            State::Creating | State::Created(_) | State::Exited(_) | State::Restarting(_) | State::Dead,
            Event::Remove { volumes },
        ) => {
            let mut next = life.with(State::Removing);
            next.volumes_go |= volumes;
            Ok((next, vec![Commit, Delete]))
        }
        (State::Starting(_) | State::Running(_), Event::Remove { .. }) => Err(Refusal::Running),
        (State::Paused(_), Event::Remove { .. }) => Err(Refusal::Paused),
        (State::Removing, Event::RemoveFailed) => Ok((life.with(State::Dead), vec![Commit])),

        (State::Removing | State::Dead, Event::Start | Event::Stop | Event::Remove { .. }) => {
            Err(Refusal::BeingRemoved)
        }
        (_, Event::Stop | Event::Pause | Event::Unpause) => Err(Refusal::NotRunning),
        _ => Err(Refusal::OutOfPlace),
    }
}

fn again(life: &Lifecycle, exit: Exit, at: DateTime<Utc>) -> (Lifecycle, Vec<Effect>) {
    let proven = exit.error.is_none() && exit.started_at.is_some_and(|since| at - since >= PROVEN_RUN);
    let delay = if proven || life.backoff_ms == 0 {
        FIRST_BACKOFF
    } else {
        Duration::from_millis(life.backoff_ms.saturating_mul(2)).min(LONGEST_BACKOFF)
    };
    let mut next = life.with(State::Restarting(exit));
    next.restart_count = life.restart_count.saturating_add(1);
    next.backoff_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    (next, vec![Effect::Commit, Effect::Release, Effect::RestartAfter(delay)])
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
