//! `lb-lab demo`: raises a lab with agents and shows, by real requests, what edgelb does. One file per part
//! of the report; this one only puts them in order.

mod change;
mod curl;
mod keep;
mod membership;
mod report;
mod requests;
mod shares;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::interrupt;
use crate::lab::site::Site;
use crate::lab::{Lab, Topology};

use self::report::Report;

/// What the demo is asked to do.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Options {
    /// Leave the lab up, and print commands to play with it.
    #[arg(long)]
    keep: bool,

    /// Connections to spread over the nodes.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    connections: u32,
}

/// Runs it. Whatever ends it, Ctrl-C included, the lab is gone afterwards, unless it is to be kept.
///
/// # Errors
/// The first thing that does not work as it should, with the agent's own words where it has any.
pub fn run(options: Options) -> Result<()> {
    let watch = interrupt::watch()?;
    let report = Report::new();
    let result = show(options, &report);
    watch.wait_if_interrupted();
    result
}

fn show(options: Options, report: &Report) -> Result<()> {
    let start = Instant::now();
    report.title("edgelb: one agent per edge node, packets and requests");
    let mut lab = raise(report)?;
    requests::by_host_and_path(&lab, report)?;
    requests::certificates(&lab, report)?;
    shares::of_connections(&lab, report, options.connections as usize)?;
    shares::through_router_changes(&lab, report)?;
    change::of_a_route(&lab, report)?;
    membership::without_a_node(&mut lab, report, options.connections as usize)?;
    report.end(start.elapsed());
    if options.keep {
        return keep::hand_over(lab, report);
    }
    Ok(())
}

fn raise(report: &Report) -> Result<Lab> {
    let mut lab = report.step(
        "raising the lab: a client, a router with ECMP, 3 edge nodes, 4 pods; applying deploy/examples",
        || {
            let lab = Lab::start(&Topology::default())?;
            Site::publish(&lab)?;
            Ok(lab)
        },
    )?;
    report.step("starting the agents on edge-1, edge-2 and edge-3", || lab.run_agents())?;
    Ok(lab)
}

/// `1.23 s`, `4.5 ms`
fn brief(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// `10,000`
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
