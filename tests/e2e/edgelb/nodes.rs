//! Nodes that are drained, taken out, lost, and come back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_tests::lab::calls::Failure;

use super::site::{DEMO, SYSTEM, Site};
use super::{ALL, soon, traffic};

/// A lost node is noticed when its Lease is over (12 s); connections meanwhile wait for it as long as a call may.
const LOST: Duration = Duration::from_secs(30);

/// If the leader is lost, its own Lease must be over first (15 s, looked at every 2 s), and the next one gives each node
/// a whole period from when it began to listen.
const LEADER_LOST: Duration = Duration::from_secs(45);

/// `kubectl drain` leaves what DaemonSets put there, so an edge node stays one; the app's pod that ran there goes, and
/// requests to it go elsewhere.
pub(super) fn drained(site: &mut Site<'_>) -> Result<()> {
    let before = site.app()?;
    let (pod, node) = before.first_key_value().context("a pod of the app")?;
    let calls = site.calls();
    calls.some_more()?;
    let refused = site.kubectl(&["drain", node]);
    let said = refused.err().context("kubectl takes no DaemonSet's pods away")?.to_string();
    ensure!(said.contains("--ignore-daemonsets"), "{said}");
    site.kubectl(&["drain", node, "--ignore-daemonsets", "--timeout=60s"])?;
    site.rolled_out(DEMO, "deployment/shop")?;
    let after = site.app()?;
    ensure!(after.len() == before.len() && !after.contains_key(pod), "{pod} was to move: {after:?}");
    ensure!(after.values().all(|at| at != node), "the app is still on {node}: {after:?}");
    ensure!(site.agents()?.contains_key(node), "its agent is gone");
    site.await_members(&ALL)?;
    calls.some_more()?;
    await_drain(site, node, Some("cordoned"))?;
    site.kubectl(&["uncordon", node])?;
    await_drain(site, node, None)?;
    println!("  {pod} left {node}; {} calls, none failed", calls.none_failed()?);
    Ok(())
}

/// Several may drain at once: the others have all new connections. When all do, somebody has to serve, and each goes on
/// as before; what that comes of is told at each.
pub(super) fn all_drained(site: &mut Site<'_>) -> Result<()> {
    let target = site.targets().swap_remove(0);
    let calls = site.calls();
    site.kubectl(&["cordon", "node-1", "node-2"])?;
    soon("new connections open elsewhere", || traffic::opens_at(site, &target, &["node-3"]))?;
    site.kubectl(&["cordon", "node-3"])?;
    soon("they open everywhere again", || traffic::opens_at(site, &target, &ALL))?;
    await_words(site, "(all members drain, and somebody has to serve)")?;
    for node in ALL {
        soon("an Event of it", || {
            let events = site.events("AllNodesDrain")?;
            let about = format!("Node {node}");
            let is_it =
                |(object, note): &(String, String)| *object == about && note.contains("spec.unschedulable");
            ensure!(events.iter().any(is_it), "{events:?}");
            Ok(())
        })?;
    }
    calls.some_more()?;
    site.kubectl(&[&["uncordon"], &ALL[..]].concat())?;
    await_end_of_drains(site)?;
    traffic::opens_at(site, &target, &ALL)?;
    println!("  {} calls, none failed", calls.none_failed()?);
    Ok(())
}

/// A taint of our own drains a node of the edge alone: pods still come to it.
pub(super) fn tainted(site: &mut Site<'_>) -> Result<()> {
    let target = site.targets().swap_remove(0);
    let calls = site.calls();
    site.kubectl(&["taint", "node", "node-2", "edgelb.dev/drain=:NoSchedule"])?;
    await_drain(site, "node-2", Some("tainted edgelb.dev/drain"))?;
    soon("new connections open elsewhere", || traffic::opens_at(site, &target, &["node-1", "node-3"]))?;
    calls.some_more()?;
    site.kubectl(&["taint", "node", "node-2", "edgelb.dev/drain-"])?;
    await_end_of_drains(site)?;
    println!("  {} calls, none failed", calls.none_failed()?);
    Ok(())
}

/// Its connections end in order, as after `lb-agent drain`; and its pod stays ready, for no rolling update would get past it.
fn await_drain(site: &Site<'_>, node: &str, by: Option<&str>) -> Result<()> {
    let pod = &site.agents()?[node];
    let ask = ["exec", "--namespace", SYSTEM, pod, "--", "/lb-agent", "health", "--exclude-drain"];
    soon("the agent knows whether its node is to drain", || {
        let said = site.kubectl(&ask)?;
        let is_it = by.map_or(!said.contains("drain"), |by| said.contains(&format!("({by})")));
        ensure!(said.starts_with("ready:") && is_it, "{said}");
        Ok(())
    })
}

/// Waits until nobody drains any more, by what all have in their kernels, and each says so.
fn await_end_of_drains(site: &Site<'_>) -> Result<()> {
    soon("no member drains", || {
        let (_, members) = site.members()?;
        let status = &site.read(&["edgemembership", "edgelb"])?["status"];
        ensure!(members == ALL && status["draining"] == "", "{status}");
        Ok(())
    })?;
    await_words(site, "not draining")
}

/// Waits until each agent says this of its drain.
fn await_words(site: &Site<'_>, words: &str) -> Result<()> {
    soon(&format!("each agent says {words:?}"), || {
        for dump in site.dumps()? {
            let said = dump["drain"]["words"].as_str().context("no words")?;
            ensure!(said.contains(words), "{said}");
        }
        Ok(())
    })
}

/// As a careful operator does: the router first, then the label. The node's flows live on there, and no call fails.
pub(super) fn unlabelled(site: &mut Site<'_>) -> Result<()> {
    let calls = site.calls();
    site.route_to(&["node-1", "node-3"])?;
    calls.some_more()?;
    let at = Instant::now();
    site.kubectl(&["label", "node", "node-2", "edgelb.dev/edge-"])?;
    site.await_members(&["node-1", "node-3"])?;
    println!("  members after {:.1} s", at.elapsed().as_secs_f64());
    calls.some_more()?;
    println!("  {} calls, none failed", calls.none_failed()?);
    soon("its pod is gone", || {
        let agents = site.agents()?;
        ensure!(!agents.contains_key("node-2"), "{agents:?}");
        Ok(())
    })?;
    site.kubectl(&["label", "node", "node-2", "edgelb.dev/edge=true"])?;
    site.await_members(&ALL)?;
    site.rolled_out(SYSTEM, "daemonset/edgelb")?;
    site.route_to(&ALL)
}

/// Nobody says anything: the leader hears that nothing is heard.
pub(super) fn power_cut(site: &mut Site<'_>) -> Result<()> {
    let leader = site.leader()?;
    let lost = if leader == "node-3" { "node-2" } else { "node-3" };
    lose(site, lost, LOST)
}

/// The one that would notice is the one that is lost: another takes the lead, and then it.
pub(super) fn power_cut_of_the_leader(site: &mut Site<'_>) -> Result<()> {
    let lost = site.leader()?;
    lose(site, &lost, LEADER_LOST)?;
    let leader = site.leader()?;
    ensure!(leader != lost, "{leader} still leads");
    println!("  {leader} leads after {lost}");
    Ok(())
}

/// A power cut: the node is taken out, and then nothing fails.
fn lose(site: &mut Site<'_>, lost: &str, bound: Duration) -> Result<()> {
    let left: Vec<_> = ALL.into_iter().filter(|name| *name != lost).collect();
    let calls = site.calls();
    calls.some_more()?;
    let at = Instant::now();
    site.cluster.power_cut(lost)?;
    // As routing protocols would; the static routes over its link are gone with it.
    site.route_to(&left)?;
    site.await_members(&left)?;
    println!("  {lost} is out after {:.1} s", at.elapsed().as_secs_f64());
    // A call that began before may still wait.
    calls.some_more()?;
    let (answered, failures) = calls.end()?;
    ended_within(at, bound, answered, &failures)?;
    let calls = site.calls();
    calls.some_more()?;
    calls.none_failed().map(drop)
}

/// A new member takes new flows over from the others, who keep those that they have: no call fails.
pub(super) fn comes_back(site: &mut Site<'_>) -> Result<()> {
    let off = site.cluster.nodes.iter().find(|node| !node.is_on()).map(|node| node.name.clone());
    let calls = site.calls();
    site.cluster.switch_on(&off.context("a node that is switched off")?)?;
    site.await_members(&ALL)?;
    site.rolled_out(SYSTEM, "daemonset/edgelb")?;
    site.route_to(&ALL)?;
    calls.some_more()?;
    println!("  {} calls, none failed", calls.none_failed()?);
    Ok(())
}

/// Calls may have failed, but no later than this after `at`.
fn ended_within(at: Instant, bound: Duration, answered: usize, failures: &[Failure]) -> Result<()> {
    let last = failures.iter().map(|failure| failure.began.saturating_duration_since(at)).max();
    println!(
        "  {answered} calls answered, {} failed, the last of them begun {:.1} s after",
        failures.len(),
        last.unwrap_or_default().as_secs_f64()
    );
    ensure!(last.unwrap_or_default() < bound, "later than {bound:?}: {failures:?}");
    ensure!(
        failures.iter().all(|failure| failure.began + Duration::from_secs(5) > at),
        "before: {failures:?}"
    );
    Ok(())
}
