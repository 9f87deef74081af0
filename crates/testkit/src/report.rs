//! What a suite found.

use std::{fmt, time::Duration};

/// How one check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The promise is kept.
    Passed,
    /// It is not; what was expected and what came.
    Failed(String),
    /// It could not be asked; why.
    Skipped(String),
}

/// One promise of the contract, put to the test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// A short stable name.
    pub name: &'static str,
    /// What the driver promises.
    pub promise: &'static str,
    /// Whether it keeps it.
    pub outcome: Outcome,
    /// How long the check took.
    pub took: Duration,
}

/// What a suite found. Printed, it is a line for each check and a sum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// In the order in which they ran.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether no check failed.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.outcome, Outcome::Failed(_)))
    }

    /// The outcome of the check of that name.
    pub fn outcome(&self, name: &str) -> Option<&Outcome> {
        self.checks.iter().find(|check| check.name == name).map(|check| &check.outcome)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for check in &self.checks {
            let time = format!("{} ms", check.took.as_millis());
            match &check.outcome {
                Outcome::Passed => {
                    passed += 1;
                    writeln!(f, "ok       {:26} {} ({time})", check.name, check.promise)?;
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    writeln!(f, "FAILED   {:26} {} ({time})", check.name, check.promise)?;
                    writeln!(f, "         {:26} {why}", "")?;
                }
                Outcome::Skipped(why) => {
                    skipped += 1;
                    writeln!(f, "skipped  {:26} {} ({why})", check.name, check.promise)?;
                }
            }
        }
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}
