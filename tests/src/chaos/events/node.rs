//! A node's link goes down.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::chaos::scene::Scene;
use crate::chaos::stage::{Played, Stage, pass};

/// How long a stalled node, or a stalled agent, stands still.
pub(super) const STALL: Duration = Duration::from_secs(2);

/// A power cut of the last node.
///
/// # Errors
/// Those of netlink.
pub fn killed(stage: &mut Stage) -> Result<Played> {
    let mut played = Played::now();
    cut(stage, &mut played)?;
    Ok(played)
}

/// The same in the midst of an event.
pub(super) fn cut(stage: &mut Stage, played: &mut Played) -> Result<()> {
    let last = stage.lab.edges.len() - 1;
    played.died = Some(Instant::now());
    stage.lab.edges[last].power_cut()?;
    played.dead = vec![last];
    Ok(())
}

/// The last node's link is down for a while.
///
/// # Errors
/// Those of netlink.
pub fn stalled(stage: &mut Stage) -> Result<Played> {
    let last = stage.lab.edges.len() - 1;
    let mut played = Played::now();
    stage.lab.edges[last].link_down()?;
    stage.note_hops()?;
    pass(STALL);
    stage.lab.edges[last].link_up()?;
    played.touched = vec![last];
    Ok(played)
}
