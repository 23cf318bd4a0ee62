//! Other nodes are members than before.

use std::time::Duration;

use anyhow::Result;

use crate::chaos::stage::{Played, Stage, pass};

/// Between two of the many changes: five of them in 30 s.
const BETWEEN: Duration = Duration::from_secs(6);

/// All nodes become members, then next hops.
///
/// # Errors
/// If an agent does not follow.
pub fn node_added(stage: &mut Stage) -> Result<Played> {
    let played = Played::now();
    stage.set_members(&[])?;
    let all: Vec<usize> = (0..stage.lab.edges.len()).collect();
    stage.spread(&all)?;
    Ok(played)
}

/// One node comes back and another leaves, five times. Two are out at any time: so flows that left the first of them
/// for the second leave it, too, and have had three openers.
///
/// # Errors
/// If an agent does not follow.
pub fn many_changes(stage: &mut Stage) -> Result<Played> {
    let mut played = Played::now();
    let mut waited = 0;
    for (change, out) in [[7, 0], [0, 1], [1, 2], [2, 3], [3, 4]].into_iter().enumerate() {
        waited += u8::from(stage.set_members(&out)?);
        let due = BETWEEN * (change as u32 + 1);
        pass(due.saturating_sub(played.began.elapsed()));
    }
    played.notes.push(format!("{waited} of the changes had to wait, for flows needed all former members"));
    Ok(played)
}
