//! What happens to a cluster.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::scene::Scene;
use super::super::stage::{Played, pass};
use super::stage::{SOON, SYSTEM, Stage};
use crate::cluster::program;
use crate::lab::wait::eventually;

/// The image under another tag, as a next version has it.
const NEXT: &str = "edgelb.dev/edgelb:next";

/// So long the API server is away at least.
const AWAY: Duration = Duration::from_secs(3);

/// A new image, one node after the other, and after each the router rehashes. The agents before finish what they have: for as long as their grace lasts, which
/// `kubectl rollout status` would wait for.
pub(super) fn rolled(stage: &mut Stage) -> Result<Played> {
    let nodes = stage.cluster.nodes.len();
    let mut played = Played { touched: (0..nodes).collect(), ..Played::now() };
    let set = stage.read(&["daemonset", "edgelb", "--namespace", SYSTEM])?;
    let image = set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let ctr = program("ctr")?.display().to_string();
    for node in &stage.cluster.nodes {
        let (tagged, said) = node.output(&[&ctr, "-n", "k8s.io", "images", "tag", "--force", image, NEXT])?;
        ensure!(tagged, "{said}");
    }
    played.began = Instant::now();
    let image = format!("agent={NEXT}");
    stage.kubectl(&["set", "image", "daemonset/edgelb", "--namespace", SYSTEM, &image])?;
    for wanted in 1..=nodes {
        eventually("a new agent on node after node", SOON, || {
            let ready = stage.ready_with(NEXT)?;
            ensure!(ready >= wanted, "{ready} of {nodes}");
            Ok(())
        })?;
        stage.rehash()?;
    }
    played.notes.push(format!("new agents on all nodes after {:.1} s", played.began.elapsed().as_secs_f64()));
    Ok(played)
}

/// Nobody hears of it but by its silence: others open its flows, and it drains to the end. Then the API server is back, and
/// it is called back.
pub(super) fn drained(stage: &mut Stage) -> Result<Played> {
    const NODE: usize = 0;
    let mut played = Played { touched: vec![NODE], ..Played::now() };
    stage.cluster.control_plane.power_cut()?;
    stage.agent(NODE, "POST", "/drain?deadline=12")?;
    let deadline = eventually("new flows open elsewhere", SOON, || {
        let report = stage.agent(NODE, "GET", "/drain")?;
        ensure!(report["opens_here"] == false, "{report}");
        Ok(Instant::now() + Duration::from_secs(report["deadline"].as_u64().unwrap_or_default()))
    })?;
    played.deadlines.push((NODE, deadline));
    stage.rehash()?;
    eventually("the end of the drain", SOON, || {
        let report = stage.agent(NODE, "GET", "/drain")?;
        ensure!(report["complete"] == true, "{report}");
        Ok(())
    })?;
    played.notes.push(format!("drained after {:.1} s", played.began.elapsed().as_secs_f64()));
    stage.cluster.control_plane.switch_on()?;
    played.notes.push(format!("the API server was away for {:.1} s", played.began.elapsed().as_secs_f64()));
    pass(AWAY);
    stage.agent(NODE, "DELETE", "/drain")?;
    Ok(played)
}

/// Its peers notice by themselves.
pub(super) fn killed(stage: &mut Stage) -> Result<Played> {
    let last = stage.cluster.nodes.len() - 1;
    let name = stage.cluster.nodes[last].name.clone();
    stage.cluster.control_plane.power_cut()?;
    pass(AWAY);
    let mut played = Played { dead: vec![last], ..Played::now() };
    stage.cluster.power_cut(&name)?;
    stage.route_to_the_living()?;
    pass(AWAY);
    stage.cluster.control_plane.switch_on()?;
    played.notes.push("the API server was away from 3 s before".to_owned());
    Ok(played)
}
