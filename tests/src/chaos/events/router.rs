//! The router sends packets to other first hops than before.

use anyhow::Result;

use super::USED;
use crate::chaos::scene::Scene;
use crate::chaos::stage::{Played, Stage, pass};

/// A member added to the ECMP group, then another hash seed, then another hash policy: by addresses alone, so that all flows
/// of a client to a VIP come in at one first hop.
///
/// # Errors
/// Those of netlink.
pub fn rehash(stage: &mut Stage) -> Result<Played> {
    let played = Played::now();
    let all: Vec<usize> = (0..stage.lab.edges.len()).collect();
    stage.spread(&all)?;
    stage.note_hops()?;
    pass(USED);
    stage.rehash()?;
    pass(USED);
    for family in ["ipv4", "ipv6"] {
        stage.lab.router.set_sysctl(&format!("{family}/fib_multipath_hash_policy"), "0")?;
    }
    stage.note_hops()?;
    pass(USED);
    Ok(played)
}

/// From the first node to the second.
///
/// # Errors
/// Those of netlink.
pub fn announcements_moved(stage: &mut Stage) -> Result<Played> {
    let played = Played::now();
    stage.elect(1)?;
    pass(USED);
    Ok(played)
}
