//! The report: a table for people, JSON for programs.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::load::Measured;

const CASE: &str = "h1-keepalive-128B";
const FIRST: &str = "edgelb";

/// Results of a benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The benchmark's name.
    pub bench: &'static str,
    /// What it ran on.
    pub machine: String,
    /// The results.
    pub rows: Vec<Row>,
}

/// One value.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was done.
    pub case: String,
    /// By whom.
    pub subject: String,
    /// The median of all turns.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// The subject that `ratio` compares with.
    pub ratio_to: Option<String>,
    /// This value in terms of that subject's: the median of the ratios of turns in the same round.
    pub ratio: Option<f64>,
}

impl Report {
    /// Writes the JSON.
    ///
    /// # Errors
    /// If the folder or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let json = serde_json::to_string_pretty(self)?;
        std::fs::write(path, json + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {}", self.bench, self.machine)?;
        writeln!(f, "{:20} {:10} {:>10} {:18} {:>8} to", "case", "subject", "value", "unit", "ratio")?;
        for Row { case, subject, value, unit, ratio_to, ratio } in &self.rows {
            let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.3}"));
            let to = ratio_to.as_deref().unwrap_or_default();
            writeln!(f, "{case:20} {subject:10} {value:10.2} {unit:18} {ratio:>8} {to}")?;
        }
        Ok(())
    }
}

type Pick = fn(&Measured) -> f64;
const UNITS: [(&str, Pick); 4] = [
    ("cpu µs/request", |one| one.cpu),
    ("p50 µs", |one| one.p50),
    ("p99 µs", |one| one.p99),
    ("requests/s", |one| one.rate),
];

/// Of the turns of each subject.
pub(super) fn report(subjects: impl Iterator<Item = (&'static str, Vec<Measured>)>) -> Report {
    let subjects: Vec<_> = subjects.collect();
    let own =
        subjects.iter().find(|(name, _)| *name == FIRST).map(|(_, turns)| turns.clone()).unwrap_or_default();
    let mut rows = Vec::new();
    for (unit, pick) in UNITS {
        for (name, turns) in &subjects {
            rows.push(Row {
                case: CASE.to_owned(),
                subject: (*name).to_owned(),
                value: median(turns.iter().map(pick)),
                unit,
                ratio_to: None,
                ratio: None,
            });
        }
        // edgelb's value in terms of the others', from turns next to each other.
        for (name, turns) in subjects.iter().filter(|(name, _)| *name != FIRST) {
            let ratios = own.iter().zip(turns).map(|(own, other)| pick(own) / pick(other));
            rows.push(Row {
                case: CASE.to_owned(),
                subject: FIRST.to_owned(),
                value: median(own.iter().map(pick)),
                unit,
                ratio_to: Some((*name).to_owned()),
                ratio: Some(median(ratios)),
            });
        }
    }
    Report { bench: "l7", machine: machine(), rows }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => (values[even / 2 - 1] + values[even / 2]) / 2.0,
    }
}

fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} core(s) visible, Linux {}",
        model.map_or("unknown CPU", |(_, model)| model),
        kernel.trim()
    )
}
