//! From turns to rows: medians, and edgelb's ratios to the others from turns next to each other.

use super::load::Measured;
use crate::bench::report::{Report, Row, median};

const CASE: &str = "h1 keep-alive, 128 B";
const OWN: &str = "edgelb";

type Pick = fn(&Measured) -> f64;
const UNITS: [(&str, Pick); 4] = [
    ("µs CPU", |turn| turn.cpu),
    ("µs p50", |turn| turn.p50),
    ("µs p99", |turn| turn.p99),
    ("req/s", |turn| turn.rate),
];

/// Adds the rows of each subject's turns.
pub(super) fn add(report: &mut Report, subjects: impl Iterator<Item = (&'static str, Vec<Measured>)>) {
    let subjects: Vec<_> = subjects.collect();
    let own = subjects.iter().find(|(name, _)| *name == OWN).map_or(&[][..], |(_, turns)| turns);
    for (unit, pick) in UNITS {
        for (name, turns) in &subjects {
            let mut row = Row::new(CASE, *name, median(turns.iter().map(pick)), unit);
            if *name != OWN {
                row.ratio_to = Some(OWN.to_owned());
                row.ratio = Some(median(turns.iter().zip(own).map(|(turn, own)| pick(turn) / pick(own))));
            }
            report.rows.push(row);
        }
    }
}
