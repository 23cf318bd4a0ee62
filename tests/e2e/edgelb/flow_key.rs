//! A Secret with another flow key: it takes the place of the former one, and no connection breaks.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::site::{SYSTEM, Site};
use super::{ALL, soon};

const KEYS: [&str; 4] = ["secret", "edgelb-keys", "--namespace", SYSTEM];

/// 32 bytes that are not those of before, in base64.
const OTHER: &str = "YW5vdGhlciBrZXkgdGhhbiB0aGUgb25lIG9mIGJlZm9yZQ==";

pub(super) fn is_rolled(site: &mut Site<'_>) -> Result<()> {
    let before = keys(site)?;
    ensure!(before.len() == 1, "{before:?}");
    let (calls, kept) = (site.calls(), site.kept_calls());
    calls.some_more()?;
    kept.some_more()?;
    put(site, OTHER)?;
    soon("the other key is in force", || {
        let now = keys(site)?;
        ensure!(now.last() != before.last(), "{now:?} after {before:?}");
        Ok(())
    })?;
    calls.some_more()?;
    kept.some_more()?;
    println!("  {} calls, none failed", calls.none_failed()?);
    println!("  {} calls by connections that stay, none failed", kept.none_failed()?);
    site.await_members(&ALL)?;
    told(site, |words| !words.contains("flow key"))
}

/// The fingerprints that the history names, that of what is in force last.
fn keys(site: &Site<'_>) -> Result<Vec<String>> {
    let history = site.read(&["edgemembership", "edgelb"])?;
    let generations = history["spec"]["generations"].as_array().context("generations")?;
    let in_force = generations.iter().filter(|generation| generation["step"] != "Learn");
    let mut keys: Vec<_> = in_force.filter_map(|one| Some(one["flowKey"].as_str()?.to_owned())).collect();
    keys.dedup();
    Ok(keys)
}

fn put(site: &Site<'_>, key: &str) -> Result<()> {
    let patch = json!({ "data": { "flow": key } }).to_string();
    site.kubectl(&[&["patch"], &KEYS[..], &["--patch", &patch]].concat()).map(drop)
}

/// Waits until all agents say so, which are ready all the time.
fn told(site: &Site<'_>, is_it: impl Fn(&str) -> bool) -> Result<()> {
    soon("what agents say of the key", || {
        for pod in site.agents()?.values() {
            let said = site.kubectl(&["exec", "--namespace", SYSTEM, pod, "--", "/lb-agent", "health"])?;
            ensure!(said.contains("ready: ") && is_it(&said), "{pod}: {said}");
        }
        Ok(())
    })
}
