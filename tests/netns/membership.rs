//! Nodes that come and go in a folder: every node learns a change before it is in force, and keeps the owners of
//! before in its rows.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use lb_agent::l4::pins::Pins;
use lb_common::map::{Rows, TableHead, name};
use lb_common::row::{MemberId, Row};
use lb_tests::lab::wait::eventually;
use lb_tests::lab::{Lab, Node};

use crate::{edges, with_site};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_change_of_the_folder_is_learned_then_in_force_and_outlives_an_agent() -> Result<()> {
    let test = "a_change_of_the_folder_is_learned_then_in_force_and_outlives_an_agent";
    with_site(test, &edges(3), |lab, _| {
        let all = agreed(lab)?;
        ensure!(all.iter().all(|row| owners(row).len() == 1), "a first membership has no one before it");
        let openers = |rows: &[Row]| rows.iter().map(|row| row.opener()).collect::<Vec<_>>();

        lab.write_nodes(&["edge-3"])?;
        await_rows(lab, "edge-3 is about to go", |rows| rows != all && openers(rows) == openers(&all))?;
        await_rows(lab, "edge-3 is gone", |rows| openers(rows) != openers(&all))?;
        let without = agreed(lab)?;
        for (before, row) in all.iter().zip(&without) {
            ensure!(owners(row).contains(&before.opener()), "{before:?} is lost in {row:?}");
        }

        lab.edges[0].kill_agent()?;
        lab.edges[0].run_agent(&[])?;
        ensure!(rows(&lab.edges[0])? == without, "the next agent knows no more who was a member before");

        lab.write_nodes(&[])?;
        // What opened elsewhere while the first agent was away, the others alone keep in mind.
        eventually("edge-3 is back", SOON, || {
            for node in &lab.edges {
                let rows = rows(node)?;
                ensure!(openers(&rows) == openers(&all), "{} has other openers", node.name);
                for (before, row) in without.iter().zip(&rows) {
                    ensure!(owners(row).contains(&before.opener()), "{before:?} is lost in {row:?}");
                }
            }
            Ok(())
        })
    })
}

/// Waits until all nodes have such rows, each the same.
fn await_rows(lab: &Lab, what: &str, is_it: impl Fn(&[Row]) -> bool) -> Result<()> {
    eventually(what, SOON, || {
        ensure!(is_it(&agreed(lab)?), "other rows");
        Ok(())
    })
}

/// The rows that are in force on all nodes.
fn agreed(lab: &Lab) -> Result<Vec<Row>> {
    let first = rows(&lab.edges[0])?;
    for node in &lab.edges[1..] {
        ensure!(rows(node)? == first, "{} has other rows", node.name);
    }
    Ok(first)
}

/// In a thread that has room: a table is read as a value of half a megabyte.
fn rows(node: &Node) -> Result<Vec<Row>> {
    thread::scope(|scope| {
        let reader = thread::Builder::new().stack_size(16 << 20);
        let read = reader.spawn_scoped(scope, || read(node))?.join();
        read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn read(node: &Node) -> Result<Vec<Row>> {
    let pins = Pins::new(node.bpffs().join("edgelb"));
    let open = |name| MapData::from_pin(pins.map(name)).with_context(|| format!("{name} of {}", node.name));
    let heads: Array<_, TableHead> = Array::try_from(Map::Array(open(name::TABLES)?))?;
    let slots: Array<_, Rows> = Array::try_from(Map::Array(open(name::ROWS)?))?;
    let rows = slots.get(&heads.get(&0, 0)?.slot, 0)?;
    Ok(rows.iter().map(|&row| Row::from_bits(row)).collect())
}

fn owners(row: &Row) -> Vec<MemberId> {
    row.members().into_iter().filter(|&member| member != 0).collect()
}
