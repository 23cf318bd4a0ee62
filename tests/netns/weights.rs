//! Nodes with another weight than before: new flows follow it, and those that there are stay where they are.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_common::row::Row;
use lb_tests::lab::Node;
use lb_tests::lab::site::SHOP;
use lb_tests::lab::spread::measure;

use crate::liveness::{await_all_up, dump};
use crate::membership::{await_rows, is_alone, openers, rows};
use crate::spread::{ask, deviation, hold_some};
use crate::{edges, with_site};

/// Of each family: some of each pair of an owner before and an opener after.
const HELD: usize = 40;

const CONNECTIONS: usize = 1_500;

/// So long a change may take, with as many connections as are asked meanwhile.
const IN_FORCE: Duration = Duration::from_secs(20);

/// Share of the buckets that may move beside those that have to.
const MOST_BESIDE: f64 = 0.002;

/// Weights in the order of the nodes, one of them another than before.
const CHANGES: [[u32; 3]; 3] = [[300, 100, 100], [300, 100, 10], [100, 100, 10]];

#[test]
fn a_weight_changes_while_connections_live() -> Result<()> {
    with_site("a_weight_changes_while_connections_live", &edges(3), |lab, _| {
        await_all_up(lab)?;
        await_rows(lab, "nobody needs what may have been before", is_alone)?;
        let mut weights = [100; 3];
        for change in CHANGES {
            let before = rows(&lab.edges[0])?;
            let [v4, v6] = lab.vip().both().map(|vip| SocketAddr::new(vip, 80));
            let mut held = hold_some(lab, v4, HELD)?;
            held.extend(hold_some(lab, v6, HELD)?);
            let names: Vec<_> = lab.edges.iter().map(|node| node.name.as_str()).collect();
            lab.weigh(&names.iter().copied().zip(change).collect::<Vec<_>>())?;
            let start = Instant::now();
            while let Err(error) = lab.edges.iter().try_for_each(|node| expect_in_force(node, &change)) {
                ask(lab, &mut held).with_context(|| format!("{:?} after {change:?}", start.elapsed()))?;
                ensure!(start.elapsed() < IN_FORCE, "{error:#}");
            }
            ask(lab, &mut held)?;
            expect_little_moved(&before, &rows(&lab.edges[0])?, (weights, change))?;
            for vip in lab.vip().both() {
                let spread = measure(lab, SocketAddr::new(vip, 80), SHOP, CONNECTIONS, || {})?;
                println!("{change:?}, {vip}: {spread:?}");
                for (name, share) in names.iter().zip(shares(change)) {
                    let off = (spread[*name] as f64 - CONNECTIONS as f64 * share).abs();
                    ensure!(off < deviation(CONNECTIONS, share), "{name} is to have {share}: {spread:?}");
                }
            }
            ask(lab, &mut held)?;
            drop(held);
            await_rows(lab, "nobody needs what was before", is_alone)?;
            weights = change;
        }
        Ok(())
    })
}

/// Whether flows open on a node by these weights.
fn expect_in_force(node: &Node, weights: &[u32; 3]) -> Result<()> {
    let dump = dump(node)?;
    let newest = dump["memberships"]["agreed"].as_array().and_then(|all| all.last()).context("one")?;
    let found = newest["members"].as_object().context("it has members")?;
    let found: Vec<_> = found.values().filter_map(serde_json::Value::as_u64).collect();
    let is_so = found.iter().copied().eq(weights.iter().copied().map(u64::from));
    ensure!(is_so && newest["step"] != "learn", "{}: {newest}", node.name);
    Ok(())
}

/// Buckets moved only as far as shares have it, but for a few.
fn expect_little_moved(before: &[Row], after: &[Row], (old, new): ([u32; 3], [u32; 3])) -> Result<()> {
    let moved = openers(before).iter().zip(openers(after)).filter(|(one, other)| *one != other).count();
    let moved = moved as f64 / before.len() as f64;
    let gains = shares(old).zip(shares(new)).map(|(old, new)| (new - old).max(0.0));
    let least: f64 = gains.sum();
    println!("{old:?} to {new:?}: {moved:.4} of all buckets moved, where {least:.4} have to");
    ensure!(moved >= least - MOST_BESIDE && moved < least + MOST_BESIDE, "{moved}, not {least}");
    Ok(())
}

fn shares(weights: [u32; 3]) -> impl Iterator<Item = f64> {
    let all: u32 = weights.iter().sum();
    weights.into_iter().map(move |weight| f64::from(weight) / f64::from(all))
}
