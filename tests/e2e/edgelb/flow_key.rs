//! A Secret with another flow key: refused and told, and no connection breaks, nor by the update that follows.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::site::{SYSTEM, Site};
use super::soon;

const KEYS: [&str; 4] = ["secret", "edgelb-keys", "--namespace", SYSTEM];

/// 32 bytes that are not those of before, in base64.
const OTHER: &str = "YW5vdGhlciBrZXkgdGhhbiB0aGUgb25lIG9mIGJlZm9yZQ==";

pub(super) fn is_not_changed(site: &mut Site<'_>) -> Result<()> {
    let before = site.read(&KEYS)?["data"]["flow"].as_str().context("a flow key")?.to_owned();
    let calls = site.calls();
    calls.some_more()?;
    put(site, OTHER)?;
    for node in ["node-1", "node-2", "node-3"] {
        soon("an Event", || {
            let said = site.kubectl(&["describe", "node", node])?;
            ensure!(said.contains("FlowKeyDiffers"), "{said}");
            Ok(())
        })?;
    }
    refuse(site)?;
    let agents = site.agents()?;
    site.kubectl(&["rollout", "restart", "daemonset/edgelb", "--namespace", SYSTEM])?;
    site.rolled_out(SYSTEM, "daemonset/edgelb")?;
    soon("one new agent on each node", || {
        let now = site.agents()?;
        ensure!(
            now.len() == agents.len() && now.iter().all(|(node, pod)| agents.get(node) != Some(pod)),
            "{now:?}"
        );
        Ok(())
    })?;
    refuse(site)?;
    calls.some_more()?;
    println!("  {} calls, none failed", calls.none_failed()?);
    site.await_members(&["node-1", "node-2", "node-3"])?;
    put(site, &before)?;
    told(site, |words| !words.contains("is refused"))
}

fn put(site: &Site<'_>, key: &str) -> Result<()> {
    let patch = json!({ "data": { "flow": key } }).to_string();
    site.kubectl(&[&["patch"], &KEYS[..], &["--patch", &patch]].concat()).map(drop)
}

fn refuse(site: &Site<'_>) -> Result<()> {
    told(site, |words| {
        words.contains("the flow key in Secret edgelb-system/edgelb-keys (") && words.contains("is refused")
    })
}

/// Waits until all agents say so, which are ready whatever they refuse.
fn told(site: &Site<'_>, is_it: impl Fn(&str) -> bool) -> Result<()> {
    soon("what agents say of the key", || {
        for pod in site.agents()?.values() {
            let said = site.kubectl(&["exec", "--namespace", SYSTEM, pod, "--", "/lb-agent", "health"])?;
            ensure!(said.contains("ready: ") && is_it(&said), "{pod}: {said}");
        }
        Ok(())
    })
}
