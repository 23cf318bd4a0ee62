//! Roll-outs under load.

use anyhow::{Result, ensure};
use lb_tests::cluster::program;

use super::site::{DEMO, SYSTEM, Site};
use super::{ALL, soon};

/// The image under another tag, as a next version has it.
const NEXT: &str = "edgelb.dev/edgelb:next";

/// A new image, one node after the other, the new agent beside the old one.
pub(super) fn of_edgelb(site: &mut Site<'_>) -> Result<()> {
    let image = site.read(&["daemonset", "edgelb", "--namespace", SYSTEM])?;
    let image = &image["spec"]["template"]["spec"]["containers"][0]["image"];
    let image = image.as_str().unwrap_or_default();
    let ctr = program("ctr")?.display().to_string();
    for node in &site.cluster.nodes {
        let (tagged, said) = node.output(&[&ctr, "-n", "k8s.io", "images", "tag", image, NEXT])?;
        ensure!(tagged, "{said}");
    }
    let calls = site.calls();
    calls.some_more()?;
    let set = format!("agent={NEXT}");
    let system = ["daemonset/edgelb", "--namespace", SYSTEM];
    // And back again, as after an update that one regrets.
    for change in [
        &[&["set", "image"], &system[..], &[set.as_str()]].concat(),
        &[&["rollout", "undo"], &system[..]].concat(),
    ] {
        let before = site.agents()?;
        site.kubectl(change)?;
        site.rolled_out(SYSTEM, "daemonset/edgelb")?;
        soon("one new agent on each node", || {
            let now = site.agents()?;
            let changed = now.iter().all(|(node, pod)| before.get(node) != Some(pod));
            ensure!(changed && now.len() == before.len(), "{now:?}, before {before:?}");
            Ok(())
        })?;
        calls.some_more()?;
    }
    println!("  {} calls, none failed", calls.none_failed()?);
    site.await_members(&ALL)
}

/// Pods come and go behind the VIP.
pub(super) fn of_the_app(site: &mut Site<'_>) -> Result<()> {
    let calls = site.calls();
    for change in [
        &["scale", "deployment/shop", "--replicas=4"][..],
        &["rollout", "restart", "deployment/shop"],
        &["scale", "deployment/shop", "--replicas=2"],
    ] {
        site.kubectl(&[change, &["--namespace", DEMO]].concat())?;
        site.rolled_out(DEMO, "deployment/shop")?;
        calls.some_more()?;
    }
    soon("two pods are left", || {
        let pods = site.read(&["pods", "--namespace", DEMO])?;
        ensure!(pods["items"].as_array().map(Vec::len) == Some(2), "more");
        Ok(())
    })?;
    println!("  {} calls, none failed", calls.none_failed()?);
    Ok(())
}
