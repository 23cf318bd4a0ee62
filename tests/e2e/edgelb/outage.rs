//! The cluster is away, and edgelb goes on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::site::Site;
use super::soon;

/// For longer than any Lease lasts: to whoever looks then, all members have been silent for too long. But it is the
/// observer who was away, and nobody is thrown out.
pub(super) fn outlasts_every_lease(site: &mut Site<'_>) -> Result<()> {
    let before = site.members()?;
    let leases = site.leases()?;
    ensure!(leases.len() == 4, "three agents and a leader: {leases:?}");
    let longest = leases.values().map(|(_, lasts)| *lasts).max().context("a Lease")?;

    let calls = site.calls();
    calls.some_more()?;
    site.cluster.control_plane.power_cut()?;
    let away = Instant::now();
    while away.elapsed() <= longest {
        calls.some_more()?;
    }
    site.cluster.control_plane.switch_on()?;
    println!("  away for {:.1} s, Leases last {longest:?} at most", away.elapsed().as_secs_f64());

    each_is_heard_for(site, longest)?;
    calls.some_more()?;
    println!("  {} calls, none failed", calls.none_failed()?);
    let after = site.members()?;
    // Who is thrown out and comes back makes two generations.
    ensure!(after == before, "{before:?} became {after:?}");
    Ok(())
}

/// Long enough for a leader to decide that somebody is dead: each Lease has been renewed so much later than now.
fn each_is_heard_for(site: &Site<'_>, period: Duration) -> Result<()> {
    let then = Timestamp::now() + SignedDuration::try_from(period)?;
    soon("renewed Leases", || {
        let leases = site.leases()?;
        ensure!(leases.values().all(|(renewal, _)| *renewal > then), "by {then}: {leases:?}");
        Ok(())
    })
}
