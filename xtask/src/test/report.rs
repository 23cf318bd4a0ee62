//! The table at the end: each tier's result and time, and the line that machines read.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{tally::Tally, tier::Tier};

/// How a tier ended.
pub(super) enum Outcome {
    Ran(Tally),
    /// It could not run, and had to.
    Failed(String),
    /// It could not run, which is not a success.
    NotRun(String),
}

impl From<Result<Tally>> for Outcome {
    fn from(result: Result<Tally>) -> Self {
        result.map_or_else(|error| Self::Failed(format!("{error:#}")), Self::Ran)
    }
}

#[derive(Default)]
pub(super) struct Report {
    rows: Vec<(Tier, Outcome, Duration)>,
}

impl Report {
    pub(super) fn time(&mut self, tier: Tier, run: impl FnOnce() -> Outcome) {
        let start = Instant::now();
        let outcome = run();
        let row = (tier, outcome, start.elapsed());
        println!("--- {}", Line(&row));
        self.rows.push(row);
    }

    /// A run of nothing proves nothing.
    pub(super) fn is_success(&self) -> bool {
        let Tally { passed, failed } = self.tally();
        passed > 0 && failed == 0
    }

    fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for (_, outcome, _) in &self.rows {
            sum += match outcome {
                Outcome::Ran(tally) => *tally,
                Outcome::Failed(_) => Tally::FAILURE,
                Outcome::NotRun(_) => Tally::default(),
            };
        }
        sum
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out)?;
        for row in &self.rows {
            writeln!(out, "{}", Line(row))?;
        }
        let Tally { passed, failed } = self.tally();
        write!(out, "\n{passed} passed, {failed} failed")
    }
}

struct Line<'a>(&'a (Tier, Outcome, Duration));

impl fmt::Display for Line<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tier, outcome, time) = self.0;
        write!(out, "{tier:<9} {:>7.1} s  ", time.as_secs_f32())?;
        match outcome {
            Outcome::Ran(tally) => write!(out, "{:>5} passed {:>3} failed", tally.passed, tally.failed),
            Outcome::Failed(reason) => write!(out, "FAILED: {reason}"),
            Outcome::NotRun(reason) => write!(out, "NOT RUN: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_that_did_not_run_is_neither_passed_nor_hidden() {
        let mut report = Report::default();
        report.time(Tier::Unit, || Outcome::Ran(Tally { passed: 7, failed: 0 }));
        report.time(Tier::Netns, || Outcome::NotRun("needs CAP_BPF".into()));
        let text = report.to_string();
        assert!(text.contains("NOT RUN: needs CAP_BPF"));
        assert_eq!(text.lines().last(), Some("7 passed, 0 failed"));
    }

    #[test]
    fn a_tier_that_had_to_run_and_could_not_is_a_failure() {
        let mut report = Report::default();
        report.time(Tier::Netns, || Outcome::Failed("needs CAP_BPF".into()));
        assert_eq!(report.tally(), Tally::FAILURE);
        assert!(!report.is_success());
    }
}
