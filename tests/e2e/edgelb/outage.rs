//! The cluster is away, and edgelb goes on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use lb_tests::lab::calls::Calls;
use lb_tests::lab::program;

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
    starts_from_what_is_stored(site, &calls)?;
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

/// What the agent that is started by hand says, on its node.
const LOG: &str = "/run/by-hand.log";

/// An agent that starts meanwhile has what its node stored: it takes over from the pod's, which takes back at its end.
fn starts_from_what_is_stored(site: &Site<'_>, calls: &Calls) -> Result<()> {
    let node = site.cluster.node("node-1")?;
    let (agent, kubeconfig) = (program("lb-agent", "LB_AGENT")?, site.cluster.control_plane.kubeconfig());
    let command = format!(
        "{} run --take-over --node {} --admin '' --admin-socket /run/by-hand.sock --kubeconfig {} >{LOG} 2>&1 & echo $!",
        agent.display(),
        node.name,
        kubeconfig.display()
    );
    let (_, process) = node.output(&["sh", "-c", &command])?;
    soon("it starts from the stored snapshot, and takes over", || {
        let (_, log) = node.output(&["cat", LOG])?;
        let said = ["starting from the stored snapshot", "the agent before has handed over"];
        ensure!(said.iter().all(|words| log.contains(words)), "{log}");
        Ok(())
    })?;
    calls.some_more()?;
    node.output(&["kill", process.trim()])?;
    soon("it ends", || {
        let (runs, _) = node.output(&["kill", "-0", process.trim()])?;
        ensure!(!runs, "it runs");
        Ok(())
    })?;
    calls.some_more()
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
