//! The history of memberships, edited by hand into nonsense: the last good one stays in force, everybody is told, and the
//! leader writes that one again.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use lb_tests::lab::wait::eventually;
use serde_json::{Value, json};

use super::site::Site;
use super::{ALL, soon};

const OBJECT: [&str; 2] = ["edgemembership", "edgelb"];

/// How often the leader looks at it, if nothing else has it look.
const LOOK: Duration = Duration::from_secs(5);

/// A flow key that nobody has.
const UNKNOWN: &str = "0badc0de";

/// What the API server takes, each kind with what is said of it.
fn nonsense(good: &Value) -> [(Value, &'static str); 7] {
    let number = good["number"].as_u64().unwrap_or_default();
    let (change, next) = (Change(good), Change(&next(good)));
    [
        (json!([]), "spec.generations: they are gone"),
        (change.set("/number", number - 1), "spec.generations[0].number: it is behind"),
        (change.weighing_nothing(), "spec.generations[0].members: those of generation"),
        (change.set("/flowKey", UNKNOWN), "spec.generations[0].flowKey: 0badc0de: that of generation"),
        (next.set("/members/1/id", good["members"][0]["id"].clone()), "spec.generations[0].members[1].id:"),
        (
            next.set("/members/2/address", good["members"][0]["address"].clone()),
            "spec.generations[0].members[2].address: two members have",
        ),
        (next.set("/members/0/address", "nowhere"), "spec: invalid IP address"),
    ]
}

/// What the API server refuses by itself.
fn refused(good: &Value) -> [(Value, &'static str); 6] {
    let next = Change(&next(good));
    let twin = json!([good["members"][0], good["members"][0]]);
    [
        (next.set("/step", "Sometime"), "Unsupported value"),
        (next.set("/number", 1_u64 << 53), "should be less than or equal to"),
        (next.set("/members/0/id", 0), "should be greater than or equal to"),
        (next.set("/members", twin), "Duplicate value"),
        (next.set("/flowKey", "none"), "should match"),
        (json!([good, good]), "Duplicate value"),
    ]
}

pub(super) fn stays_when_it_is_edited(site: &mut Site<'_>) -> Result<()> {
    let before = generations(site)?;
    let [good] = &before[..] else { anyhow::bail!("more than one generation: {before:?}") };
    let in_force = agreed(site)?;
    let (calls, kept) = (site.calls(), site.kept_calls());
    calls.some_more()?;
    kept.some_more()?;
    for (edit, words) in refused(good) {
        let said = put(site, &edit).err().with_context(|| format!("{edit} is taken"))?.to_string();
        ensure!(said.contains(words), "{words:?} is not in {said}");
    }
    for (edit, words) in nonsense(good) {
        is_told(site, &edit, words)?;
        let now = agreed(site)?;
        ensure!(now == in_force, "{words}: {now:?} after {in_force:?}");
        calls.some_more()?;
    }
    soon("the leader writes the good one again", || {
        let now = generations(site)?;
        ensure!(now == before, "{now:?} after {before:?}");
        Ok(())
    })?;
    soon("nobody complains", || {
        let said = complaints(site)?;
        ensure!(said.iter().all(Vec::is_empty), "{said:?}");
        Ok(())
    })?;
    ensure!(agreed(site)? == in_force, "{:?} after {in_force:?}", agreed(site)?);
    key_nobody_has(site, good)?;
    calls.some_more()?;
    kept.some_more()?;
    println!("  {} calls, none failed", calls.none_failed()?);
    println!("  {} calls by connections that stay, none failed", kept.none_failed()?);
    site.await_members(&ALL)
}

/// It fits what was before, and could be a change that a node has missed. The nodes go on attracting their VIPs until the
/// leader, which hears that all of them lack it, has begun anew with all of them.
fn key_nobody_has(site: &Site<'_>, good: &Value) -> Result<()> {
    let (mut doubting, mut edited) = (BTreeSet::new(), 0);
    attracting(site, "all lack the key", || {
        let now = generations(site)?;
        // The leader may have mended it before all were seen.
        if let [one] = &now[..]
            && one["flowKey"] == good["flowKey"]
        {
            let next = next(one);
            put(site, &Change(&next).set("/flowKey", UNKNOWN))?;
            edited = next["number"].as_u64().unwrap_or_default();
        }
        for (node, dump) in site.dumps()?.iter().enumerate() {
            let words = dump["memberships"]["flow_keys"]["words"].as_str().unwrap_or_default();
            doubting.extend((words.contains(UNKNOWN) && words.contains("goes on by")).then_some(node));
        }
        ensure!(doubting.len() == 3, "of the nodes, {doubting:?} lack it");
        Ok(())
    })?;
    attracting(site, "the leader begins anew", || {
        let now = generations(site)?;
        ensure!(now.iter().all(|one| one["flowKey"] == good["flowKey"]), "{now:?}");
        Ok(())
    })?;
    // In one step: nobody was taken out for a moment.
    site.await_members(&ALL)?;
    let (number, _) = site.members()?;
    ensure!(number == edited + 1, "generation {number} after {edited}");
    Ok(())
}

/// Waits for a condition, and fails at once if a node gives its VIPs up meanwhile, or is not ready.
fn attracting(site: &Site<'_>, what: &str, mut ask: impl FnMut() -> Result<()>) -> Result<()> {
    soon(what, || {
        for dump in site.dumps()? {
            let (vips, missing) = (&dump["attracted"], &dump["not_ready"]);
            let attracts = vips.as_array().is_some_and(|vips| !vips.is_empty());
            if !attracts || missing.as_array().is_none_or(|missing| !missing.is_empty()) {
                return Ok(Err(anyhow!("VIPs: {vips}; not ready: {missing}")));
            }
        }
        ask().map(Ok)
    })?
}

/// Waits until each agent says these words of it, and an Event does. It is put there again and again: the leader may look
/// at any moment, and mends it.
fn is_told(site: &Site<'_>, edit: &Value, words: &str) -> Result<()> {
    let is_said = |of: &Vec<String>| of.iter().any(|problem| problem.contains(words));
    let is_it = |(object, note): &(String, String)| object == "EdgeMembership edgelb" && note.contains(words);
    soon(&format!("all are told that {words:?}"), || {
        put(site, edit)?;
        eventually("each agent says so", LOOK, || {
            let said = complaints(site)?;
            ensure!(said.iter().all(is_said), "{said:?}");
            Ok(())
        })?;
        eventually("an Event says so", LOOK, || {
            let events = site.events("InvalidHistory")?;
            ensure!(events.iter().any(is_it), "{events:?}");
            Ok(())
        })
    })
}

fn put(site: &Site<'_>, generations: &Value) -> Result<()> {
    let patch = json!({ "spec": { "generations": generations } }).to_string();
    site.kubectl(&[&["patch"], &OBJECT[..], &["--type=merge", "--patch", &patch]].concat()).map(drop)
}

fn generations(site: &Site<'_>) -> Result<Vec<Value>> {
    Ok(site.read(&OBJECT)?["spec"]["generations"].as_array().context("generations")?.clone())
}

/// What is wrong with it by the word of each agent.
fn complaints(site: &Site<'_>) -> Result<Vec<Vec<String>>> {
    let all = site.dumps()?.into_iter().map(|dump| {
        let problems = dump["snapshot"]["problems"].as_array().context("problems")?;
        let of_it = problems.iter().filter(|problem| problem["object"] == "EdgeMembership edgelb");
        let words = |problem: &Value| {
            Some(format!("{}: {}", problem["field"].as_str()?, problem["message"].as_str()?))
        };
        Ok(of_it.filter_map(words).collect())
    });
    all.collect()
}

/// The memberships by which each node steers.
fn agreed(site: &Site<'_>) -> Result<Vec<Value>> {
    Ok(site.dumps()?.into_iter().map(|dump| dump["memberships"]["agreed"].clone()).collect())
}

/// The same members once more, as a change would bring them.
fn next(good: &Value) -> Value {
    let mut next = good.clone();
    next["number"] = json!(good["number"].as_u64().unwrap_or_default() + 1);
    next["step"] = json!("Switch");
    next
}

/// Histories of one generation that differs from this one.
struct Change<'a>(&'a Value);

impl Change<'_> {
    fn set(&self, pointer: &str, value: impl Into<Value>) -> Value {
        let mut changed = self.0.clone();
        if let Some(field) = changed.pointer_mut(pointer) {
            *field = value.into();
        }
        json!([changed])
    }

    fn weighing_nothing(&self) -> Value {
        let mut changed = self.0.clone();
        for member in changed["members"].as_array_mut().into_iter().flatten() {
            member["weight"] = json!(0);
        }
        json!([changed])
    }
}
