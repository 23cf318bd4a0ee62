//! What every benchmark prints and writes: rows of a case, a subject and a value, as a table and as JSON.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// A benchmark's result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name, as given to `cargo xtask bench`.
    pub bench: &'static str,
    /// What it ran on: processor and kernel.
    pub machine: String,
    /// The figures.
    pub rows: Vec<Row>,
    /// What has no figure, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The same in short, printed last.
    #[serde(skip)]
    pub summary: String,
    /// Why this is no result to go by, though it is to be seen.
    #[serde(skip)]
    pub failure: Option<String>,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was done.
    pub case: String,
    /// Who did it.
    pub subject: String,
    /// How much it took.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// The subject or case that the ratio is to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_to: Option<String>,
    /// This value over that one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What the ratio, or the value where there is none, was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
}

/// What a figure was to be.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Goal {
    /// No greater.
    pub at_most: f64,
    /// Whether it is.
    pub held: bool,
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.at_most, if self.held { "held" } else { "not held" })
    }
}

impl Row {
    /// A figure without a ratio.
    pub fn new(case: impl Into<String>, subject: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            case: case.into(),
            subject: subject.into(),
            value,
            unit,
            ratio_to: None,
            ratio: None,
            goal: None,
        }
    }

    /// With its ratio to another value.
    #[must_use]
    pub fn over(mut self, name: impl Into<String>, value: f64) -> Self {
        self.ratio_to = Some(name.into());
        self.ratio = (value != 0.0).then(|| self.value / value);
        self
    }

    /// With what the value itself was to be.
    #[must_use]
    pub fn at_most(mut self, at_most: f64) -> Self {
        self.goal = Some(Goal { at_most, held: self.value <= at_most });
        self
    }
}

impl Report {
    /// An empty report of this machine.
    #[must_use]
    pub fn new(bench: &'static str) -> Self {
        Self {
            bench,
            machine: machine(),
            rows: Vec::new(),
            notes: Vec::new(),
            summary: String::new(),
            failure: None,
        }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let width = |cells: &dyn Fn(&Row) -> usize, least: usize| {
            self.rows.iter().map(cells).max().unwrap_or(0).max(least)
        };
        let case = width(&|row| row.case.len(), 4);
        let subject = width(&|row| row.subject.len(), 7);
        let mut table = format!("{} on {}\n", self.bench, self.machine);
        let _ = writeln!(table, "{:case$}  {:subject$}  {:>10}  unit      ratio", "case", "subject", "value");
        for row in &self.rows {
            let ratio = match (&row.ratio, &row.ratio_to) {
                (Some(ratio), Some(to)) => Some(format!("{ratio:.2} of {to}")),
                _ => None,
            };
            let goal = row.goal.map(|goal| format!("goal {goal}"));
            let ratio = [ratio, goal].into_iter().flatten().collect::<Vec<_>>().join(", ");
            let _ = writeln!(
                table,
                "{:case$}  {:subject$}  {:>10.2}  {:8}  {ratio}",
                row.case, row.subject, row.value, row.unit
            );
        }
        for note in &self.notes {
            let _ = writeln!(table, "{note}");
        }
        table
    }

    /// Prints the table and writes `target/bench/<name>.json` below `target`.
    ///
    /// # Errors
    /// If the file cannot be written, or the benchmark has failed.
    pub fn publish(&self, target: &Path) -> Result<PathBuf> {
        print!("{}", self.table());
        let folder = target.join("bench");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{}.json", self.bench));
        let json = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
        print!("{}", self.summary);
        println!("written to {}", path.display());
        match &self.failure {
            Some(failure) => bail!("{failure}"),
            None => Ok(path),
        }
    }
}

/// A time in milliseconds, as reports have it.
#[must_use]
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The middle value; the mean of the two in the middle of an even number, not a number of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => (values[even / 2 - 1] + values[even / 2]) / 2.0,
    }
}

fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name).to_owned();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}
