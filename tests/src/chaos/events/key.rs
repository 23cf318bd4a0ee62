//! Nodes are given another flow key.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_agent::l4::keys;

use crate::chaos::picture::key_in_force;
use crate::chaos::scene::Scene;
use crate::chaos::stage::{Played, Stage, pass};
use crate::lab::wait::eventually;

const OTHER: &[u8] = b"another key than that by which all connections of the run have opened";

/// Between two nodes: nobody copies a file to all of them at once.
const BETWEEN: Duration = Duration::from_millis(700);

/// How long it may take then.
const SOON: Duration = Duration::from_secs(30);

/// All nodes, one after the other.
///
/// # Errors
/// If new flows do not open by it.
pub fn rolled(stage: &mut Stage) -> Result<Played> {
    let mut played = Played::now();
    for node in &stage.lab.edges {
        node.give_key(OTHER)?;
        pass(BETWEEN);
    }
    stage.key = keys::derive(OTHER);
    let print = keys::fingerprint(&stage.key);
    for node in stage.watched() {
        eventually("the other flow key", SOON, || {
            let now = key_in_force(&node)?;
            ensure!(now == Some(print), "{} goes by {now:08x?}", node.name);
            Ok(())
        })?;
    }
    let took = played.began.elapsed().as_secs_f64();
    played.notes.push(format!("flows open by the other key at all nodes after {took:.1} s"));
    stage.note_openers()?;
    Ok(played)
}
