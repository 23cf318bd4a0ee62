//! The router sends packets to other first hops than before.

use std::time::Duration;

use anyhow::Result;

use crate::chaos::stage::{Played, Stage, pass};

/// Every connection with requests or streams sends something within it.
const USED: Duration = Duration::from_secs(2);

/// A member added to the ECMP group, then another hash seed.
///
/// # Errors
/// Those of netlink.
pub fn rehash(stage: &mut Stage) -> Result<Played> {
    let played = Played::now();
    let all: Vec<usize> = (0..stage.lab.edges.len()).collect();
    stage.spread(&all)?;
    pass(USED);
    stage.lab.router.set_sysctl("ipv4/fib_multipath_hash_seed", "4711")?;
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
