//! From turns to rows: medians, and edgelb's ratio to the best peer from turns next to each other.

use std::fmt::Write as _;

use super::figure::{Figure, Figures};
use super::peer::OWN;
use super::scenario::Scenario;
use crate::bench::report::{Goal, Report, Row, median};

/// A peer's turns in a scenario, or why it has none.
pub(super) struct Outcome {
    pub(super) peer: &'static str,
    pub(super) turns: Result<Vec<Figures>, String>,
}

/// Adds a scenario's rows: for each figure one of each peer.
pub(super) fn add(report: &mut Report, scenario: &Scenario, outcomes: &[Outcome]) {
    for outcome in outcomes {
        if let Err(why) = &outcome.turns {
            report.notes.push(format!("{}: {} is left out: {why}", scenario.name, outcome.peer));
        }
    }
    let all: Vec<_> = outcomes.iter().filter_map(|one| Some((one.peer, one.turns.as_ref().ok()?))).collect();
    let Some(first) = all.first().and_then(|(_, turns)| turns.first()) else { return };
    for (index, (figure, _)) in first.iter().enumerate() {
        let of = |turns: &[Figures]| -> Vec<f64> { turns.iter().map(|turn| turn[index].1).collect() };
        let goal = scenario.goal.filter(|_| index == 0);
        report.rows.extend(rows(scenario, *figure, all.iter().map(|(peer, turns)| (*peer, of(turns))), goal));
    }
}

fn rows(
    scenario: &Scenario,
    figure: Figure,
    values: impl Iterator<Item = (&'static str, Vec<f64>)>,
    goal: Option<f64>,
) -> Vec<Row> {
    let values: Vec<_> = values.collect();
    let middle = |values: &[f64]| median(values.iter().copied());
    let others = values.iter().filter(|(name, _)| *name != OWN);
    let best = others.reduce(
        |one, other| {
            if figure.is_better(middle(&other.1), middle(&one.1)) { other } else { one }
        },
    );
    let case = format!("{}: {}", scenario.name, scenario.words);
    let row = |(name, own): &(&'static str, Vec<f64>)| {
        let mut row = Row::new(&case, *name, middle(own), figure.unit);
        if let (true, Some((best, others))) = (*name == OWN, best) {
            let ratio = median(own.iter().zip(others).map(|(own, other)| own / other));
            row.ratio_to = Some((*best).to_owned());
            row.ratio = ratio.is_finite().then_some(ratio);
            row.goal = goal.map(|at_most| Goal { at_most, held: ratio <= at_most });
        }
        row
    };
    values.iter().map(row).collect()
}

/// Each scenario's first figure in one line, as Markdown.
pub(super) fn summary(report: &Report, peers: &[&str]) -> String {
    let mut text = format!("| scenario | unit | {} | to the best peer | goal |\n", peers.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(peers.len() + 4));
    let mut last = "";
    for first in &report.rows {
        if first.case == last {
            continue;
        }
        last = &first.case;
        let of = |peer| {
            report.rows.iter().find(|row| row.case == *last && row.unit == first.unit && row.subject == peer)
        };
        let _ = write!(text, "| {last} | {}", first.unit);
        for peer in peers {
            let value = of(*peer).map_or_else(|| "-".to_owned(), |row| format!("{:.1}", row.value));
            let _ = write!(text, " | {value}");
        }
        let own = of(OWN);
        let ratio = own.and_then(|row| Some(format!("{:.2} of {}", row.ratio?, row.ratio_to.as_ref()?)));
        let goal = own.and_then(|row| row.goal).map(|goal| goal.to_string());
        let _ = writeln!(text, " | {} | {} |", ratio.unwrap_or_default(), goal.unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::scenario::ALL;
    use super::*;

    #[test]
    fn the_ratio_is_to_the_best_peer_and_the_goal_to_the_first_figure() {
        let turn = |cpu, rate| vec![(Figure::CPU, cpu), (Figure::RATE, rate)];
        let outcome = |peer, turns| Outcome { peer, turns };
        let outcomes = [
            outcome(OWN, Ok(vec![turn(8.0, 128.0), turn(16.0, 64.0)])),
            outcome("one", Ok(vec![turn(16.0, 50.0), turn(16.0, 50.0)])),
            outcome("two", Ok(vec![turn(32.0, 128.0), turn(32.0, 128.0)])),
            outcome("three", Err("it has no such thing".to_owned())),
        ];
        let mut report = Report::new("l7");
        add(&mut report, &ALL[0], &outcomes);
        assert_eq!(report.notes, ["h1: three is left out: it has no such thing"]);
        let own: Vec<_> = report.rows.iter().filter(|row| row.subject == OWN).collect();
        let ratios: Vec<_> = own.iter().map(|row| (row.ratio_to.as_deref(), row.ratio)).collect();
        assert_eq!(ratios, [(Some("one"), Some(0.75)), (Some("two"), Some(0.75))]);
        assert_eq!(own[0].goal, Some(Goal { at_most: 0.9, held: true }));
        assert_eq!(own[1].goal, None);
        let summary = summary(&report, &[OWN, "one", "two", "three"]);
        assert!(
            summary.ends_with("| µs CPU | 12.0 | 16.0 | 32.0 | - | 0.75 of one | 0.9: held |\n"),
            "{summary}"
        );
    }
}
