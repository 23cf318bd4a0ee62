//! Nodes give up their flows: one, two at once, or all in turn.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{USED, node};
use crate::chaos::picture::opens_at;
use crate::chaos::scene::Scene;
use crate::chaos::stage::{Mode, Played, Stage, pass};
use crate::lab::wait::eventually;

/// How long connections get, in seconds.
const DEADLINE: &str = "8";

/// The same where they are to outlive the event.
const LONG_DEADLINE: &str = "600";

/// How long a step may take beyond what is asked for.
const SOON: Duration = Duration::from_secs(30);

/// The first node.
///
/// # Errors
/// If it does not come to the end.
pub fn one(stage: &mut Stage) -> Result<Played> {
    drained(stage, &[0])
}

/// The first two.
///
/// # Errors
/// If they do not come to the end.
pub fn two(stage: &mut Stage) -> Result<Played> {
    drained(stage, &[0, 1])
}

/// The first one, then the second one, while connections at both last; then a power cut of the last one. Flows of a row may be
/// at both and at the last one, and new ones open at a fourth.
///
/// # Errors
/// If new flows go on opening at one that drains.
pub fn then_killed(stage: &mut Stage) -> Result<Played> {
    let mut played = Played::now();
    for node in [0, 1] {
        begin(stage, &[node], LONG_DEADLINE, &mut played)?;
        let name = stage.lab.edges[node].name.clone();
        for asked in stage.watched() {
            eventually("flows open elsewhere at all nodes", SOON, || {
                ensure!(!opens_at(&asked, &name)?, "not at {}", asked.name);
                Ok(())
            })?;
        }
        stage.note_openers()?;
    }
    node::cut(stage, &mut played)?;
    Ok(played)
}

/// Each drains; then another machine is in its place, which knows nothing of the one before.
///
/// # Errors
/// If one does not come to the end, or is no member again.
pub fn replaced(stage: &mut Stage) -> Result<Played> {
    let mut played = Played::now();
    for node in 0..stage.lab.edges.len() {
        drain(stage, &[node], &mut played)?;
        stage.count_packets();
        let edge = &mut stage.lab.edges[node];
        edge.agent().context("no agent")?.stop()?;
        let (status, said) = edge.lb_agent(&["uninstall"])?;
        ensure!(status.success(), "{said}");
        stage.replace_machine(node)?;
        let edge = &mut stage.lab.edges[node];
        edge.run_agent(&[])?;
        let name = edge.name.clone();
        for asked in stage.watched() {
            eventually("flows open at the new node", SOON, || {
                ensure!(opens_at(&asked, &name)?, "not by {}", asked.name);
                Ok(())
            })?;
        }
        stage.note_openers()?;
    }
    Ok(played)
}

fn drained(stage: &mut Stage, nodes: &[usize]) -> Result<Played> {
    let mut played = Played::now();
    if stage.mode == Mode::RandomEcmp {
        // Without edgelb, all that can be done is to take the node away from the router.
        let left: Vec<usize> = (0..stage.lab.edges.len()).filter(|node| !nodes.contains(node)).collect();
        stage.spread(&left)?;
        pass(USED);
        return Ok(played);
    }
    drain(stage, nodes, &mut played)?;
    Ok(played)
}

/// To the end: no connection is left at these nodes.
fn drain(stage: &mut Stage, nodes: &[usize], played: &mut Played) -> Result<()> {
    begin(stage, nodes, DEADLINE, played)?;
    for &node in nodes {
        eventually("the end of the drain", SOON, || {
            let report = report(stage, node)?;
            ensure!(report["complete"] == true, "{report}");
            Ok(())
        })?;
    }
    // By now, all nodes open by what these ones say of themselves.
    stage.note_openers()
}

/// Until no new flow opens there, as these nodes see it.
fn begin(stage: &mut Stage, nodes: &[usize], deadline: &str, played: &mut Played) -> Result<()> {
    played.touched.extend(nodes);
    for &node in nodes {
        let (status, said) = stage.lab.edges[node].lb_agent(&["drain", "--deadline", deadline])?;
        ensure!(status.success(), "{said}");
    }
    for &node in nodes {
        let deadline = eventually("new flows open elsewhere", SOON, || {
            let report = report(stage, node)?;
            ensure!(report["opens_here"] == false, "{report}");
            Ok(Instant::now() + Duration::from_secs(report["deadline"].as_u64().unwrap_or_default()))
        })?;
        played.deadlines.push((node, deadline));
    }
    Ok(())
}

fn report(stage: &Stage, node: usize) -> Result<Value> {
    Ok(serde_json::from_slice(&stage.lab.edges[node].admin("/drain")?.body)?)
}
