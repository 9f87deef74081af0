//! What the suites found, for people and for programs.

use pintle_testkit::report::{Outcome, Report};

use super::Suite;
use crate::render::{
    self,
    format::{Columns, Row, row},
};

/// The columns of `--format`.
pub const COLUMNS: Columns = Columns {
    shown: &[("Outcome", "OUTCOME"), ("Check", "CHECK"), ("Promise", "PROMISE"), ("Why", "WHY")],
    hidden: &[("Milliseconds", "MILLISECONDS"), ("Suite", "SUITE")],
    quiet: "Check",
};

/// A row for each check.
pub fn rows(suite: Suite, report: &Report) -> Vec<Row> {
    let rows = report.checks.iter().map(|check| {
        let (outcome, why) = match &check.outcome {
            Outcome::Passed => ("ok", ""),
            Outcome::Failed(why) => ("failed", why.as_str()),
            Outcome::Skipped(why) => ("skipped", why.as_str()),
        };
        let millis = u64::try_from(check.took.as_millis()).unwrap_or(u64::MAX);
        row([
            ("Check", check.name.into()),
            ("Milliseconds", millis.into()),
            ("Outcome", outcome.into()),
            ("Promise", check.promise.into()),
            ("Suite", suite.interface().name().into()),
            ("Why", why.into()),
        ])
    });
    rows.collect()
}

/// The first word of each line in its colour, on a terminal that wants colours.
pub fn coloured(report: &Report) -> String {
    let report = report.to_string();
    if !render::coloured() {
        return report;
    }
    let paint = |line: &str| {
        [("ok ", "32"), ("FAILED", "1;31"), ("skipped", "33")]
            .iter()
            .find_map(|(word, colour)| {
                Some(format!("\x1b[{colour}m{word}\x1b[0m{}", line.strip_prefix(word)?))
            })
            .unwrap_or_else(|| line.to_owned())
    };
    report.lines().map(paint).collect::<Vec<_>>().join("\n")
}
